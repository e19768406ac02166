"""Cubes on disk: created whole, written by block, opened by xarray, damage seen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr

from pipeline.stores.cube import (
    CubeSpec,
    blocks,
    check_cube,
    content_digest,
    create_cube,
    read_block,
    verify_block,
    write_block,
)
from pipeline.stores.staging import Staging, place, verify
from schemas.errors import StoreError
from schemas.records import Block, Receipt

SPEC = CubeSpec("spectro", 16, 0.4, ("i", "r", "g"), 64, 16, 17, "http://sky", "z")
ROWS = 100


@pytest.fixture
def cube(tmp_path: Path) -> Path:
    table = {
        "row": np.arange(ROWS),
        "id": np.arange(ROWS).astype(np.uint64) + 2**63,
        "ra": np.linspace(0, 359, ROWS),
        "dec": np.linspace(-80, 80, ROWS),
        "label": np.linspace(0, 1, ROWS).astype(np.float32),
        "split": np.zeros(ROWS, np.uint8),
        "feature_zErr": np.linspace(0, 1, ROWS),
    }
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    create_cube(tmp_path / "spectro.zarr", tmp_path / "rows.parquet", SPEC)
    return tmp_path / "spectro.zarr"


def arrays(rows: int, value: int = 0) -> dict[str, np.ndarray]:
    return {
        "image": np.full((rows, 16, 16, 3), value, np.uint8),
        "status": np.full(rows, value, np.uint8),
        "digest": np.full((rows, 16), value, np.uint8),
    }


def commit(cube: Path, block: Block, values: dict[str, np.ndarray]) -> Receipt:
    with Staging(str(cube.parent / "staging"), "fetch", block.key).opened() as folder:
        products = write_block(cube, block, values, folder)
    digest = content_digest(values["status"], values["digest"], values["image"])
    receipt = Receipt(block.rows, 0, 0.0, digest, products)
    place(receipt)
    return receipt


def test_xarray_opens_a_cube_as_a_labelled_dataset_without_a_warning(cube):
    with xr.open_zarr(cube) as dataset:
        assert dataset.image.dims == ("row", "y", "x", "band")
        assert list(dataset.band.values) == ["i", "r", "g"]
        assert dataset.id.dtype == np.uint64 and int(dataset.id[-1]) == 2**63 + ROWS - 1
        assert dataset.ra.attrs["units"] == "deg" and dataset.ra.attrs["ucd"]
        assert {"id", "ra", "dec", "split", "band", "x", "y"} <= set(dataset.coords)
        assert dataset.feature_zErr.dtype == np.float64
        assert dataset.attrs["arcsec_per_pixel"] == 0.4 and dataset.attrs["release"] == 17


def test_blocks_are_whole_shards_and_cover_every_row(cube):
    assert [(b.start, b.stop) for b in blocks(cube)] == [(0, 64), (64, 100)]


def test_a_block_of_fill_values_has_files_all_the_same(cube):
    receipt = commit(cube, blocks(cube)[1], arrays(36))
    assert len(receipt.products) == 3 and all(Path(product.final).is_file() for product in receipt.products)


def test_writing_one_block_leaves_the_other_alone(cube):
    first, second = blocks(cube)
    one = commit(cube, first, arrays(64, 7))
    two = commit(cube, second, arrays(36, 9))
    assert not verify_block(cube, first, one.digest) and not verify_block(cube, second, two.digest)
    assert verify_block(cube, first, two.digest)


def test_nothing_is_seen_in_the_cube_before_it_is_placed(cube):
    block = blocks(cube)[0]
    with Staging(str(cube.parent / "staging"), "fetch", block.key).opened() as folder:
        write_block(cube, block, arrays(64, 7), folder)
    assert not (cube / "image" / "c").exists()


def test_a_flipped_bit_is_found_by_file_and_by_content(cube):
    block = blocks(cube)[0]
    receipt = commit(cube, block, arrays(64, 7))
    victim = next(product for product in receipt.products if "/image/" in product.final)
    content = bytearray(Path(victim.final).read_bytes())
    content[100] ^= 1
    Path(victim.final).write_bytes(content)
    assert verify(receipt.products) == [victim]
    assert verify_block(cube, block, receipt.digest)
    with pytest.raises(StoreError, match="cannot be read"):
        read_block(cube, block)


def test_a_cube_of_another_geometry_is_refused_with_every_difference(cube):
    with pytest.raises(StoreError, match=r"pixels: expected 32, found 16; rows_per_chunk") as caught:
        check_cube(cube, replace(SPEC, pixels=32, rows_per_chunk=32))
    assert caught.value.remedy


def test_a_cube_of_other_rows_is_refused(cube):
    rows = pq.read_table(cube.parent / "rows.parquet").slice(1)
    pq.write_table(rows, cube.parent / "other.parquet")
    with pytest.raises(StoreError, match="rows_sha256"):
        create_cube(cube, cube.parent / "other.parquet", SPEC)


def test_half_a_shard_is_refused(cube):
    with pytest.raises(StoreError, match="not one shard"):
        write_block(cube, Block("spectro", 0, 0, 32), arrays(32), cube.parent / "staging")


def test_placing_again_after_an_interruption_finishes_the_work(cube):
    block = blocks(cube)[0]
    receipt = commit(cube, block, arrays(64, 3))
    place(receipt)
    assert not verify(receipt.products)


def test_a_product_that_is_missing_stops_the_move_before_it_begins(cube):
    block = blocks(cube)[0]
    with Staging(str(cube.parent / "staging"), "fetch", block.key).opened() as folder:
        products = write_block(cube, block, arrays(64, 3), folder)
    Path(products[-1].staged).unlink()
    with pytest.raises(StoreError, match="found nothing"):
        place(Receipt(64, 0, 0.0, "x", products))
    assert not any(Path(product.final).exists() for product in products)
