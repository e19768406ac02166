"""Named arrays in one file, byte for byte the same for the same content.

Layout: 8 bytes magic, 8 bytes little-endian length of the header, the header (JSON: each array's name, type,
shape and offset, and the caller's own values), the arrays' bytes in the order of their names, and the SHA-256
of everything before it. A file that was cut off or changed is recognised when it is read.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from schemas.errors import ModelError

_MAGIC = b"SKYTENS1"
_DIGEST_BYTES = 32


def pack(arrays: Mapping[str, np.ndarray], values: Mapping[str, Any] | None = None) -> bytes:
    """Return `arrays` and the JSON-able `values` as the bytes of a file.

    >>> data = pack({"w": np.ones(3, "f4")}, {"epoch": 2})
    >>> arrays, values = unpack(data)
    >>> arrays["w"].tolist(), values
    ([1.0, 1.0, 1.0], {'epoch': 2})
    """
    entries, parts, offset = [], [], 0
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        data = array.tobytes()
        entries.append({"name": name, "dtype": array.dtype.str, "shape": list(array.shape), "offset": offset})
        parts.append(data)
        offset += len(data)
    header = json.dumps({"arrays": entries, "values": dict(values or {})}, sort_keys=True).encode()
    body = b"".join([_MAGIC, len(header).to_bytes(8, "little"), header, *parts])
    return body + hashlib.sha256(body).digest()


def unpack(data: bytes, *, name: str = "file") -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays and values of `pack`.

    Raises
    ------
    ModelError
        The bytes are not whole.
    """
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if not body.startswith(_MAGIC) or hashlib.sha256(body).digest() != digest:
        raise ModelError(
            f"{name} is damaged: its {len(data)} bytes do not have the SHA-256 they end with",
            "remove it and train again, or restore it from a copy",
        )
    start = 16 + int.from_bytes(body[8:16], "little")
    header = json.loads(body[16:start])
    arrays = {}
    for entry in header["arrays"]:
        dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
        count = int(np.prod(shape, dtype=np.int64))
        flat = np.frombuffer(body, dtype=dtype, count=count, offset=start + entry["offset"])
        arrays[entry["name"]] = flat.reshape(shape).copy()
    return arrays, header["values"]
