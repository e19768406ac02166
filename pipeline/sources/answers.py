"""What SkyServer's SQL service answered: a table, or words that say why there is none."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.desk import Answer

_FINAL = re.compile(
    r"invalid column name|invalid object name|incorrect syntax|syntax error|could not be bound"
    r"|ambiguous column|permission was denied|not a recognized|conversion failed|arithmetic overflow"
    r"|divide by zero|must declare|binder error|parser error|catalog error|maxquerystringlength"
    r"|no such column|no such table|does not exist|request url too long",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(r"maxquerystringlength|request url too long", re.IGNORECASE)
_PASSING = re.compile(
    r"time.?out|timed out|deadlock|network|transport|connection|unavailable|try again|busy|too many|temporar",
    re.IGNORECASE,
)
_NULLS = {"", "null", "nan", "none", "--"}


@dataclass(frozen=True)
class Trouble:
    """Why a query has no usable answer; a ``final`` one would come again, so it is not asked again."""

    words: str
    answer: Answer = Answer.GOOD
    retry_after_s: float = 0.0
    final: bool = False
    remedy: str = ""


def trouble_in_text(text: str) -> Trouble:
    """Judge words that came in place of a table.

    Examples
    --------
    >>> trouble_in_text("Invalid column name 'zz'.").final, trouble_in_text("<html>Oops</html>").final
    (True, False)
    """
    words = " ".join(html.unescape(re.sub(r"<[^>]*>|[{}\[\]\"]", " ", text)).split())
    if _TOO_LONG.search(text):
        return Trouble(
            f"the query is too long for this server: {words[:200]}",
            final=True,
            remedy="shorten the sample's SQL, or lower `source.max_query_chars` so that it is seen at plan time",
        )
    if found := _FINAL.search(text):
        at = max(0, words.lower().find(found.group(0).lower()) - 80)
        return Trouble(
            f"the server refuses the query: {words[at : at + 300]}",
            final=True,
            remedy="mend the sample's SQL; names of tables and columns are those of the survey's schema browser",
        )
    if re.search(r"<html|<!doctype|<body", text, re.IGNORECASE):
        return Trouble(f"a page of HTML in place of a table: {words[:120]}")
    if "error_message" in text and not _PASSING.search(text):
        return Trouble(
            f"the server refuses the query: {words[:300]}", final=True, remedy="mend the sample's SQL"
        )
    return Trouble(f"an answer that is no table: {words[:160]}")


def read_table(table: Any, columns: Sequence[str]) -> pa.Table | Trouble:
    """Turn astroquery's table into an Arrow table with exactly `columns`, or say what is wrong with it.

    Parameters
    ----------
    table : astropy.table.Table or None
        None is an answer without rows.
    columns : sequence of str
        Columns asked for.
    """
    if table is None:
        return pa.table({name: pa.nulls(0) for name in columns})
    found = {name.lower(): name for name in table.colnames}
    missing = [name for name in columns if name.lower() not in found]
    if missing and (len(found) == 1 or any("<" in name for name in found)):
        return trouble_in_text(
            "\n".join([*table.colnames, *(str(cell) for row in table[:20] for cell in row)])
        )
    if missing:
        return Trouble(
            f"the answer lacks {', '.join(missing)}; it has {', '.join(table.colnames)}",
            final=True,
            remedy="mend the sample's SQL",
        )
    return pa.table({name: _column(table[found[name.lower()]]) for name in columns})


def _column(column: Any) -> pa.Array:
    mask = np.ma.getmaskarray(column) if hasattr(column, "mask") else np.zeros(len(column), bool)
    if mask.all():
        return pa.nulls(len(mask))  # of any type: that of the other partitions counts
    values = np.asarray(np.ma.getdata(column))
    if values.dtype.kind in "iub":
        if values.dtype.kind == "b":
            values = values.astype(np.int64)
        return pa.array(values, mask=mask)
    if values.dtype.kind == "f":
        return pa.array(values.astype(np.float64), mask=mask)
    return _from_text(
        [None if hidden else str(value).strip() for value, hidden in zip(values, mask, strict=True)]
    )


def _from_text(values: list[str | None]) -> pa.Array:
    """Read a column of text: exact integers where all are such, numbers where all are such, else text.

    Without any value it has the type null, which is that of any column.
    """
    known = [None if value is None or value.lower() in _NULLS else value for value in values]
    if not any(known):
        return pa.nulls(len(known))
    try:
        numbers = [None if value is None else int(value) for value in known]
        low = min(number for number in numbers if number is not None)
        return pa.array(numbers, pa.uint64() if low >= 0 else pa.int64())
    except (ValueError, OverflowError, pa.ArrowInvalid):
        pass
    try:
        # NaN and NULL are told apart only where the server does.
        floats = [
            None if value is None or (value.lower() in _NULLS and value.lower() != "nan") else float(value)
            for value in values
        ]
        return pa.array(floats, pa.float64())
    except ValueError:
        return pa.array(values, pa.string())
