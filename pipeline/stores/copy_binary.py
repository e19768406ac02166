"""A NumPy structured array that *is* a stream of Postgres's binary COPY.

Every row has the same width, so rows are never touched one by one: a column is one strided assignment.
That is why there are no NULLs here: a NULL is a field without bytes and breaks the width. Floats that
are not known are stored as NaN (views turn them into NULL), text and bytes have a fixed length.

Format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format"; numeric as `numeric_send`
writes it: counts of base-10000 digits, weight of the first, sign, scale, digits.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
NUMERIC_DIGITS = 5
"""Base-10000 digits of a uint64, which has up to 20 decimal ones."""

NUMBERS = {"bool": "?", "int2": ">i2", "int4": ">i4", "int8": ">i8", "float4": ">f4", "float8": ">f8"}
NUMERIC20 = np.dtype(
    [
        ("count", ">i2"),
        ("weight", ">i2"),
        ("sign", ">i2"),
        ("scale", ">i2"),
        ("digits", ">i2", (NUMERIC_DIGITS,)),
    ]
)


@dataclass(frozen=True)
class Column:
    """One column of a block.

    ``kind`` is bool, int2, int4, int8, float4, float8, numeric20 (from uint64), bytea or text; the last
    two have a fixed ``width`` in bytes.
    """

    name: str
    kind: str
    width: int = 0

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the column's bytes on the wire."""
        if self.kind == "numeric20":
            return NUMERIC20
        if self.kind in ("bytea", "text"):
            return np.dtype(f"V{self.width}")
        return np.dtype(NUMBERS[self.kind])


def block_dtype(columns: Sequence[Column]) -> np.dtype[Any]:
    """Return the type of one row on the wire: the count of fields, then length and value of each."""
    fields: list[tuple[str, Any]] = [("fields", ">i2")]
    for column in columns:
        fields += [(f"length {column.name}", ">i4"), (column.name, column.dtype)]
    return np.dtype(fields)


def encode(columns: Sequence[Column], values: Mapping[str, Any], rows: int) -> NDArray[np.void]:
    """Lay out `rows` rows as binary COPY.

    Parameters
    ----------
    columns : sequence of Column
        In the order of the COPY statement.
    values : mapping
        One array of length `rows` a column; text may be one str for all rows, and bytea a
        two-dimensional array whose rows have the column's width in bytes, taken in their byte order.
    rows : int
        Number of rows.

    Returns
    -------
    ndarray
        Structured, contiguous, shape ``(rows,)``; its bytes are the body of the stream.

    Raises
    ------
    ValueError
        If a value does not fit its column.
    """
    block = np.empty(rows, block_dtype(columns))
    block["fields"] = len(columns)
    for column in columns:
        block[f"length {column.name}"] = column.dtype.itemsize
        if column.kind == "numeric20":
            _put_numeric(block[column.name], values[column.name])
        elif column.kind in ("bytea", "text"):
            block[column.name] = _fixed_bytes(column, values[column.name])
        else:
            block[column.name] = _number(column, values[column.name])
    return block


def _number(column: Column, values: ArrayLike) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or not np.can_cast(array.dtype, column.dtype, "same_kind"):
        raise ValueError(f"column {column.name}: expected {column.kind}, received {array.dtype}")
    limits = np.iinfo(column.dtype) if column.dtype.kind == "i" and array.size else None
    if limits and (int(array.max()) > limits.max or int(array.min()) < limits.min):
        raise ValueError(
            f"column {column.name}: expected {limits.min} to {limits.max}, "
            f"received {array.min()} to {array.max()}"
        )
    return array


def _put_numeric(field: NDArray[np.void], values: ArrayLike) -> None:
    array = np.asarray(values)
    if array.dtype != np.uint64:
        raise ValueError(f"expected uint64 for numeric(20), received {array.dtype}")
    field["count"], field["weight"] = NUMERIC_DIGITS, NUMERIC_DIGITS - 1
    field["sign"] = field["scale"] = 0
    rest = array
    for position in reversed(range(NUMERIC_DIGITS)):
        rest, field["digits"][:, position] = np.divmod(rest, np.uint64(10_000))


def _fixed_bytes(column: Column, values: Any) -> Any:
    if isinstance(values, str):
        encoded = values.encode()
        if len(encoded) != column.width or "\0" in values:
            raise ValueError(f"column {column.name}: expected {column.width} bytes, received {values!r}")
        return np.void(encoded)
    array = np.ascontiguousarray(values)
    if array.ndim != 2 or array.shape[1] * array.itemsize != column.width:
        raise ValueError(
            f"column {column.name}: expected rows of {column.width} bytes, "
            f"received {array.dtype} of shape {array.shape}"
        )
    return array.view(column.dtype).reshape(len(array))


def ahead(blocks: Iterator[NDArray[np.void]]) -> Iterator[NDArray[np.void]]:
    """Draw each block in a thread while the one before it is being sent."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = thread.submit(next, blocks, None)
            yield block


class CopyStream:
    """What ``copy_expert`` reads: header, blocks, trailer. Blocks are drawn one at a time, and not joined."""

    def __init__(self, blocks: Iterable[NDArray[np.void]]) -> None:
        self._parts = self._views(blocks)
        self._part = memoryview(b"")
        self._offset = 0

    @staticmethod
    def _views(blocks: Iterable[NDArray[np.void]]) -> Iterator[memoryview]:
        yield memoryview(HEADER)
        for block in blocks:
            yield memoryview(block.view(np.uint8).data) if len(block) else memoryview(b"")
        yield memoryview(TRAILER)

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; none at the end."""
        while self._offset == len(self._part):
            part = next(self._parts, None)
            if part is None:
                return b""
            self._part, self._offset = part, 0
        stop = len(self._part) if size < 0 else min(self._offset + size, len(self._part))
        taken = self._part[self._offset : stop]
        self._offset = stop
        return bytes(taken)

    def readline(self, size: int = -1) -> bytes:
        """Exist because psycopg2 asks for it; COPY from a stream never calls it."""
        return self.read(size)
