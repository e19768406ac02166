"""Shards as this project writes them are Zarr's own, byte for byte."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import Crc32cCodec
from zarr.storage import MemoryStore

from pipeline.stores.shards import write_shard


def zarr_shard(values: np.ndarray, rows: int, chunk_rows: int, fill_value) -> bytes:
    store = MemoryStore()
    array = zarr.create_array(
        store,
        shape=values.shape,
        dtype=values.dtype,
        chunks=(chunk_rows, *values.shape[1:]),
        shards=(rows, *values.shape[1:]),
        compressors=[Crc32cCodec()],
        filters=None,
        fill_value=fill_value,
        config={"write_empty_chunks": True},
    )
    array[:] = values
    return store._store_dict["c/" + "/".join("0" * values.ndim)].to_bytes()


@settings(max_examples=30, deadline=None)
@given(
    chunk_rows=st.integers(1, 5),
    chunks=st.integers(1, 9),
    missing=st.integers(0, 8),
    dtype=st.sampled_from(["u1", "<f4", "<u8"]),
    rest=st.sampled_from([(), (3,), (2, 2, 3)]),
)
def test_a_shard_is_zarrs_own_byte_for_byte(tmp_path_factory, chunk_rows, chunks, missing, dtype, rest):
    rows = chunk_rows * chunks
    length = max(1, rows - missing)
    values = np.arange(length * int(np.prod(rest))).reshape(length, *rest).astype(dtype)
    path = tmp_path_factory.mktemp("shard") / "0"
    write_shard(path, values, rows=rows, chunk_rows=chunk_rows, fill_value=7)
    assert path.read_bytes() == zarr_shard(values, rows, chunk_rows, 7)


def test_a_shard_of_fill_values_has_all_its_chunks(tmp_path: Path):
    values = np.zeros((8, 2), np.uint8)
    write_shard(tmp_path / "0", values, rows=8, chunk_rows=4, fill_value=0)
    assert (tmp_path / "0").read_bytes() == zarr_shard(values, 8, 4, 0)
    assert (tmp_path / "0").stat().st_size == 16 + 2 * 4 + 2 * 16 + 4


@pytest.mark.parametrize("order", ["C", "F"])
def test_values_that_do_not_lie_in_order_are_written_in_order(tmp_path: Path, order):
    values = np.asarray(np.arange(24).reshape(8, 3), np.uint8, order=order)[::-1]
    write_shard(tmp_path / "0", values, rows=8, chunk_rows=4, fill_value=0)
    assert (tmp_path / "0").read_bytes() == zarr_shard(np.ascontiguousarray(values), 8, 4, 0)


def test_a_sparse_shard_leaves_chunks_of_fill_values_out_and_zarr_reads_it(tmp_path: Path):
    values = np.zeros((7, 3), np.float32)
    values[2] = 1, 0, np.nan
    array = zarr.create_array(
        tmp_path / "a",
        shape=values.shape,
        dtype=values.dtype,
        chunks=(1, 3),
        shards=(8, 3),
        compressors=[Crc32cCodec()],
        filters=None,
        fill_value=0,
    )
    path = tmp_path / "a" / "c" / "0" / "0"
    path.parent.mkdir(parents=True)
    write_shard(path, values, rows=8, chunk_rows=1, fill_value=0, sparse=True)
    assert path.stat().st_size == 3 * 4 + 4 + 8 * 16 + 4
    np.testing.assert_array_equal(array[:], values)
