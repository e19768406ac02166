import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stores.copy_binary import HEADER, TRAILER, Column, CopyStream, block_dtype, encode


def drain(stream: CopyStream) -> bytes:
    return b"".join(iter(lambda: stream.read(100), b""))


def fields(stream: bytes) -> list[list[bytes]]:
    """Read a stream field by field, as Postgres does."""
    assert stream.startswith(HEADER) and stream.endswith(TRAILER)
    body, rows = io.BytesIO(stream[len(HEADER) :]), []
    while (count := struct.unpack(">h", body.read(2))[0]) != -1:
        rows.append([body.read(struct.unpack(">i", body.read(4))[0]) for _ in range(count)])
    assert body.read() == b""
    return rows


def numeric(raw: bytes) -> int:
    count, weight, sign, scale, *digits = struct.unpack(f">hhhh{(len(raw) - 8) // 2}h", raw)
    assert (count, sign, scale) == (len(digits), 0, 0)
    return sum(digit * 10_000 ** (weight - i) for i, digit in enumerate(digits))


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20))
def test_an_id_is_the_same_number_on_the_wire(ids):
    block = encode([Column("id", "numeric20")], {"id": np.array(ids, "u8")}, len(ids))
    assert [numeric(row[0]) for row in fields(drain(CopyStream([block])))] == ids


def test_numbers_are_big_endian_and_bytes_are_left_alone():
    columns = [
        Column("a", "int2"),
        Column("b", "int8"),
        Column("c", "float4"),
        Column("d", "float8"),
        Column("e", "bool"),
        Column("f", "bytea", 8),
        Column("g", "text", 5),
    ]
    values = {
        "a": np.array([-2], "i1"),
        "b": np.array([2**63 - 1]),
        "c": np.array([0.1], "f4"),
        "d": np.array([np.nan]),
        "e": np.array([True]),
        "f": np.array([[1, 2]], "<f4"),
        "g": "späт"[:3] + "x",
    }
    row = fields(drain(CopyStream([encode(columns, values, 1)])))[0]
    assert row[:5] == [
        struct.pack(">h", -2),
        struct.pack(">q", 2**63 - 1),
        struct.pack(">f", np.float32(0.1)),
        struct.pack(">d", np.nan),
        b"\x01",
    ]
    assert row[5] == struct.pack("<ff", 1, 2) and row[6].decode() == "späx"


@pytest.mark.parametrize("size", [1, 7, 64, 10_000, -1])
def test_the_stream_is_the_same_whatever_size_it_is_read_in(size):
    columns = [Column("a", "int4")]
    blocks = [encode(columns, {"a": np.arange(n)}, n) for n in (3, 0, 50)]
    stream, whole = CopyStream(iter(blocks)), b""
    while taken := stream.read(size):
        assert size < 0 or len(taken) <= size
        whole += taken
    assert whole == HEADER + b"".join(block.tobytes() for block in blocks) + TRAILER
    assert stream.read(size) == b""


def test_a_row_is_as_wide_as_its_type_says():
    assert (
        block_dtype([Column("id", "numeric20"), Column("pdf", "bytea", 720)]).itemsize == 2 + 4 + 18 + 4 + 720
    )


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (Column("x", "int2"), np.array([40_000])),
        (Column("x", "int8"), np.array([2**63], "u8")),
        (Column("x", "int4"), np.array([1.5])),
        (Column("x", "numeric20"), np.array([1])),
        (Column("x", "numeric20"), np.array([1.0])),
        (Column("x", "bytea", 4), np.zeros((1, 5), "u1")),
        (Column("x", "bytea", 4), np.zeros(4, "u1")),
        (Column("x", "text", 3), "ab"),
        (Column("x", "text", 3), "a\0b"),
    ],
)
def test_a_value_that_does_not_fit_its_column_is_refused(column, value):
    with pytest.raises(ValueError, match="expected"):
        encode([column], {"x": value}, 1)
