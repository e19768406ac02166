"""Shards: one block of one array, as the bytes that Zarr's sharding codec gives for it.

Zarr holds a shard three times while it encodes it: the values, the encoded chunks, and these joined. Here each
chunk goes to the file as it is made, so a worker's memory is that of the values. The layout is that of Zarr v3's
``sharding_indexed`` codec: the chunks, each followed by its CRC-32C, then the index of their offsets and lengths,
followed by its own. A test compares the files with Zarr's own, byte for byte.
"""

from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

NO_CHUNK = 2**64 - 1
"""Offset and length of a chunk that lies outside the array, or was left out."""


def write_shard(
    path: Path, values: np.ndarray, *, rows: int, chunk_rows: int, fill_value: Any, sparse: bool = False
) -> None:
    """Write one shard of an array that is cut along its first axis only.

    Parameters
    ----------
    path : Path
        The shard's file.
    values : np.ndarray
        ``(n, ...)``, n at most `rows`: fewer only at the end of the array.
    rows : int
        Rows of a whole shard.
    chunk_rows : int
        Rows of a chunk.
    fill_value : scalar
        What stands behind the last row, up to the end of its chunk.
    sparse : bool
        Leave chunks of nothing but the fill value out, as Zarr does by default.
    """
    index = np.full((rows // chunk_rows, 2), NO_CHUNK, "<u8")
    with path.open("wb") as file:
        for place, start in enumerate(range(0, len(values), chunk_rows)):
            chunk = values[start : start + chunk_rows]
            if len(chunk) < chunk_rows:
                padded = np.full((chunk_rows, *values.shape[1:]), fill_value, values.dtype)
                padded[: len(chunk)] = chunk
                chunk = padded
            if sparse and not np.any(chunk != fill_value):
                continue
            offset = file.tell()
            _write_checked(file, np.ascontiguousarray(chunk, values.dtype.newbyteorder("<")))
            index[place] = offset, file.tell() - offset
        _write_checked(file, index)


def _write_checked(file: Any, values: np.ndarray) -> None:
    data = values.reshape(-1).view(np.uint8)
    file.write(data.data)
    file.write(google_crc32c.value(data).to_bytes(4, "little"))
