"""Small pieces of HTML. Whatever comes from outside is escaped here."""

import html
import math
from collections.abc import Iterable, Sequence
from typing import Any

THIN = "\u202f"


class Raw(str):
    """Text that is HTML already."""


def text(value: Any) -> str:
    """Return `value` as HTML text; only `Raw` is trusted."""
    return str(value) if isinstance(value, Raw) else html.escape(str(value))


def count(number: float) -> str:
    """Return a whole number with thin spaces between thousands.

    >>> count(1234567).replace(THIN, "_")
    '1_234_567'
    """
    return f"{round(number):,}".replace(",", THIN)


def decimal(number: Any, *, digits: int = 4, signed: bool = False) -> str:
    """Return a number with `digits` decimals, a true minus sign, and a dash where there is none.

    >>> decimal(-0.00123), decimal(float("nan")), decimal(0.5, digits=2, signed=True)
    ('−0.0012', '–', '+0.50')
    """
    if number is None or not math.isfinite(float(number)):
        return "–"
    return f"{float(number):{'+' if signed else ''}.{digits}f}".replace("-", "−")


def significant(number: Any, *, digits: int = 4, signed: bool = False) -> str:
    """Return a number of any size with `digits` significant digits.

    >>> significant(-0.000123456), significant(165.0, signed=True), significant(1234567.0)
    ('−0.0001235', '+165', '1.235e+06')
    """
    if number is None or not math.isfinite(float(number)):
        return "–"
    return f"{float(number):{'+' if signed else ''}.{digits}g}".replace("-", "−")


def percent(share: Any) -> str:
    """Return a share as a percentage.

    >>> percent(0.0123).replace(THIN, "_"), percent(None)
    ('1.23_%', '–')
    """
    shown = decimal(None if share is None else 100 * float(share), digits=2)
    return shown if shown == "–" else f"{shown}{THIN}%"


def duration(seconds: float) -> str:
    """Return a time span in its two largest units.

    >>> [duration(s).replace(THIN, "_") for s in (0.42, 75, 3700, 200_000)]
    ['0.4_s', '1_min 15_s', '1_h 1_min', '2_d 7_h']
    """
    if seconds < 60:
        return f"{seconds:.1f}{THIN}s"
    whole = round(seconds)
    for size, name, small, small_name in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            return f"{whole // size}{THIN}{name} {whole % size // small}{THIN}{small_name}"
    return f"{whole}{THIN}s"


def head_of(page: str, title: str) -> Raw:
    """Return a page's beginning, style and all, up to its body, with another title."""
    head, _, _ = page.partition("<body>")
    before, _, rest = head.partition("<title>")
    return Raw(f"{before}<title>{text(title)}</title>{rest.partition('</title>')[2]}")


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], *, words: int = 1, note: str = "") -> Raw:
    """Return a table; the first `words` columns are text, the others numbers and aligned right."""

    def cells(values: Sequence[Any], tag: str) -> str:
        scope = ' scope="col"' if tag == "th" else ""
        return "".join(
            f"<{tag}{scope}{'' if place < words else ' class=number'}>{text(value)}</{tag}>"
            for place, value in enumerate(values)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    told = f'<p class="note">{text(note)}</p>' if note else ""  # a caption would be as wide as the table
    return Raw(
        f'<div class="wide"><table><thead><tr>{cells(head, "th")}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{told}"
    )


def figure(svg: str, caption: str, *, wide: bool = False) -> Raw:
    """Return a drawing with its caption."""
    kind = ' class="broad"' if wide else ""
    return Raw(f"<figure{kind}>{svg}<figcaption>{text(caption)}</figcaption></figure>")


def grid(pieces: Iterable[str], *, kind: str = "plots") -> Raw:
    """Return pieces side by side, as many as the page is wide enough for."""
    return Raw(f'<div class="{kind}">{"".join(pieces)}</div>')


def sentence(words: str, *, quiet: bool = False) -> Raw:
    """Return a paragraph; a quiet one stands where something is missing."""
    return Raw(f"<p{' class=missing' if quiet else ''}>{text(words)}</p>")


def section(anchor: str, title: str, *pieces: str) -> Raw:
    """Return a section with a heading that can be linked to."""
    return Raw(f'<section id="{anchor}"><h2>{text(title)}</h2>{"".join(pieces)}</section>')


def details(title: str, body: str, *, shown: bool = False) -> Raw:
    """Return a block that the reader may unfold."""
    return Raw(f"<details{' open' if shown else ''}><summary>{text(title)}</summary>{body}</details>")


def code(body: str) -> Raw:
    """Return preformatted text."""
    return Raw(f"<pre>{text(body)}</pre>")
