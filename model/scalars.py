"""Numbers over steps in a file that TensorBoard reads, written without it.

The format is public: TFRecords (length, its masked CRC-32C, the bytes, theirs) of ``tensorflow.Event`` messages
(tensorflow/core/util/event.proto) in the encoding of Protocol Buffers. Only the fields used here are written:
``wall_time`` = 1, ``step`` = 2, ``file_version`` = 3, ``summary`` = 5 with ``value`` = 1, of that ``tag`` = 1 and
``simple_value`` = 2.
"""

import struct
import time
from collections.abc import Mapping
from pathlib import Path

import google_crc32c

from model.files import disk_errors

_MASK = 0xA282EAD8


class Scalars:
    """An event file of its own in `folder`; every number is on disk when the call returns.

    Raises
    ------
    StoreError
        The file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            now = time.time()
            self._path = folder / f"events.out.tfevents.{int(now * 1e6):017d}.skymill"
            self._write(_field(3, b"brain.Event:2"))

    def put(self, step: int, values: Mapping[str, float]) -> None:
        """Append `values`, each under its name, at `step`."""
        entries = (_field(1, name.encode()) + b"\x15" + struct.pack("<f", x) for name, x in values.items())
        summary = b"".join(_field(1, entry) for entry in entries)
        with disk_errors(self._path):
            self._write(b"\x10" + _varint(step) + _field(5, summary))

    def _write(self, event: bytes) -> None:
        data = b"\x09" + struct.pack("<d", time.time()) + event
        length = struct.pack("<Q", len(data))
        with self._path.open("ab") as file:
            file.write(length + _masked(length) + data + _masked(data))


def _masked(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF)


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])
