"""Read the primary image of a FITS file, and trust none of it.

A header is read by hand: it is a few cards of 80 characters (FITS Standard 4.0, section 4), and what is wrong with a
body must be told apart, where a forgiving reader would warn and guess.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.sources.verdicts import Verdict, digest_of, judge_words
from schemas.flags import Status

BLOCK, CARD = 2880, 80
FLOAT_BITS = -32
COVERED_SHARE = 0.5
"""A band of which fewer pixels than this were seen is not covered. Decided here: half an image is worth having."""

ABSURD = 1e18
"""A flux that no pixel has, in nanomaggies or in counts; decided here: the difference of two is finite then, too."""

Value = str | int | float | bool | None


class BadImageError(Exception):
    """A body can not be used; a source makes it a verdict, so it never leaves this room."""

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


@dataclass(frozen=True)
class FitsImage:
    """A primary image: its header's cards, and ``planes`` ``(plane, y, x)`` of float32, y as stored."""

    cards: Mapping[str, Value]
    planes: np.ndarray

    def number(self, key: str) -> float:
        """Return the number of a card.

        Raises
        ------
        BadImageError
            If it is not there, or no finite number.
        """
        value = self.cards.get(key)
        if isinstance(value, str | None) or not math.isfinite(value):
            raise BadImageError(Status.WRONG_HEADER, f"expected a number as {key}, found {value!r}")
        return float(value)


def read_fits(body: bytes, content_type: str = "") -> FitsImage:
    """Read the primary image of a FITS file, of two or three axes and 32-bit floats.

    Raises
    ------
    BadImageError
        If the body is no FITS file, is cut off, or contradicts itself.
    """
    if not body.startswith(b"SIMPLE  ="):
        told = judge_words(body, content_type)
        raise BadImageError(told.status, told.detail)
    cards, begin = _read_cards(body)
    axes = [_whole(cards, f"NAXIS{k + 1}") for k in range(_whole(cards, "NAXIS", most=9))]
    if len(axes) not in (2, 3) or not all(axes):
        found = "x".join(map(str, axes)) or "none"
        raise BadImageError(Status.WRONG_SIZE, f"expected an image of two or three axes, found {found}")
    if cards.get("BITPIX") != FLOAT_BITS or cards.get("BSCALE", 1) != 1 or cards.get("BZERO", 0) != 0:
        raise BadImageError(
            Status.WRONG_HEADER,
            f"expected unscaled 32-bit floats (BITPIX -32), found BITPIX {cards.get('BITPIX')}",
        )
    shape = tuple(reversed(axes))
    _check_length(body, begin, 4 * math.prod(shape))
    stored = np.frombuffer(body, ">f4", math.prod(shape), begin)
    return FitsImage(cards, stored.reshape(shape[-3:] if len(shape) == 3 else (1, *shape)).astype(np.float32))


def _check_length(body: bytes, begin: int, needed: int) -> None:
    have, padded = max(0, len(body) - begin), -(-needed // BLOCK) * BLOCK
    if have < needed:
        raise BadImageError(
            Status.TRUNCATED, f"the header says {needed:,} bytes of pixels, there are {have:,}"
        )
    if have > padded and not body.startswith(b"XTENSION", begin + padded):
        raise BadImageError(
            Status.WRONG_HEADER, f"the header says {needed:,} bytes of pixels, there are {have:,}"
        )


def _read_cards(body: bytes) -> tuple[dict[str, Value], int]:
    """Return the cards of the primary header, and where the data begin."""
    cards: dict[str, Value] = {}
    for begin in range(0, len(body) - CARD + 1, CARD):
        card = body[begin : begin + CARD].decode("ascii", "replace")
        key = card[:8].rstrip()
        if key == "END":
            return cards, (begin // BLOCK + 1) * BLOCK
        if card[8:10] == "= ":
            cards.setdefault(key, _value(card[10:]))
    raise BadImageError(Status.TRUNCATED, f"no end of header in {len(body):,} bytes")


def _value(text: str) -> Value:
    """Read the value of a card: text in quotes, T or F, a number, or nothing.

    Examples
    --------
    >>> _value("'it''s    ' / a comment"), _value("   T / so"), _value(" -32"), _value(" 1.5D2 /"), _value("")
    ("it's", True, -32, 150.0, None)
    """
    if text.lstrip().startswith("'"):
        inner = text.lstrip()[1:].replace("''", "\\0").partition("'")[0]
        return inner.replace("\\0", "'").rstrip()
    plain = text.partition("/")[0].strip()
    if plain in ("T", "F"):
        return plain == "T"
    for kind in (int, float):
        try:
            return kind(plain.upper().replace("D", "E") if kind is float else plain)
        except ValueError:
            continue
    return plain or None


def _whole(cards: Mapping[str, Value], key: str, most: int = 100_000) -> int:
    value = cards.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise BadImageError(Status.WRONG_HEADER, f"expected a whole number as {key}, found {value!r}")
    return value


def nothing_seen(images: Mapping[str, np.ndarray], body: bytes, request: int) -> Verdict | None:
    """Judge the images of one answer in which every pixel is 0: nothing was observed, or the server is not ready.

    None means that there is something.
    """
    if any(image.any() for image in images.values()):
        return None
    return Verdict(
        Status.BLANK,
        f"every pixel of {', '.join(images)} is 0",
        digest=digest_of([body]),
        request=request,
        if_same=Status.OUTSIDE_FOOTPRINT,
    )


def check_seen(plane: np.ndarray, band: str) -> None:
    """Refuse an image that shows no sky where one was asked for.

    A pixel that no exposure saw is exactly 0 in the surveys' coadded images, and noise never is.

    Parameters
    ----------
    plane : numpy.ndarray, ``(y, x)``
        Its pixels.
    band : str
        Its name, for the reason.

    Raises
    ------
    BadImageError
        If pixels are not finite, all are the same, or too few were seen, or the middle one was not.
    """
    _check_finite(plane, band)
    seen = plane != 0
    middle = seen[
        (len(plane) - 1) // 2 : len(plane) // 2 + 1, (plane.shape[1] - 1) // 2 : plane.shape[1] // 2 + 1
    ]
    if seen.mean() < COVERED_SHARE or not middle.all():
        raise BadImageError(
            Status.OUTSIDE_FOOTPRINT, f"{band}: {seen.mean():.0%} of the image is covered by the survey"
        )
    _check_varied(plane, band)


def check_exposed(plane: np.ndarray, band: str) -> None:
    """Refuse an image out of one exposure whose pixels ``(y, x)`` are not finite, or all the same.

    What the exposure covers is known from its bounds. Its pixels are rounded: 0 is a value like others.

    Raises
    ------
    BadImageError
        If pixels are not finite, or all are the same.
    """
    _check_finite(plane, band)
    _check_varied(plane, band)


def _check_finite(plane: np.ndarray, band: str) -> None:
    finite = np.abs(plane) < ABSURD
    if not finite.all():
        wrong = "no pixel is" if not finite.any() else f"{finite.size - finite.sum():,} pixels are not"
        raise BadImageError(Status.BLANK, f"{band}: {wrong} finite")


def _check_varied(plane: np.ndarray, band: str) -> None:
    if np.ptp(plane) == 0:
        raise BadImageError(Status.BLANK, f"{band}: every pixel is {plane.flat[0]:g}")
