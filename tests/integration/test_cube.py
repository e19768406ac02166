"""Cubes on disk: created whole, written by block, opened by xarray, damage seen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr
import zarr

from pipeline.stores.cube import (
    CubeSpec,
    check_cube,
    content_digest,
    create_cube,
    read_block,
    write_block,
)
from pipeline.stores.staging import Staging, place, verify
from schemas.config import RunFile
from schemas.errors import StoreError
from schemas.records import Block, Receipt, blocks_of

SPEC = CubeSpec("spectro", 16, 0.4, ("i", "r", "g"), 64, 16, 17, "http://sky", "z")
FLUXES = replace(SPEC, bands=("g", "r", "g-r", "W1"), unit="nanomaggy", images="legacy-fits sandbox")
ROWS = 100
FIRST, SECOND = blocks_of("spectro", ROWS, rows_per_block=64)


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


@pytest.fixture
def flux_cube(cube: Path) -> Path:
    """A cube of FITS images beside the other."""
    create_cube(cube.parent / "fluxes.zarr", cube.parent / "rows.parquet", FLUXES)
    return cube.parent / "fluxes.zarr"


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


def content(cube: Path, block: Block) -> str:
    rows = read_block(cube, block)
    return content_digest(rows.status, rows.digest, rows.image)


def test_xarray_opens_a_cube_as_a_labelled_dataset_without_a_warning(cube):
    with xr.open_zarr(cube) as dataset:
        assert dataset.image.dims == ("row", "y", "x", "band")
        assert list(dataset.band.values) == ["i", "r", "g"]
        assert dataset.id.dtype == np.uint64 and int(dataset.id[-1]) == 2**63 + ROWS - 1
        assert dataset.ra.attrs["units"] == "deg" and dataset.ra.attrs["ucd"]
        assert "units" not in dataset.image.attrs
        assert {"id", "ra", "dec", "split", "band", "x", "y"} <= set(dataset.coords)
        assert dataset.feature_zErr.dtype == np.float64
        assert dataset.attrs["arcsec_per_pixel"] == 0.4 and dataset.attrs["release"] == 17


def test_a_cube_of_fluxes_says_its_unit_and_bands_and_is_nan_where_nothing_was_fetched(flux_cube):
    random = np.random.default_rng(1)
    fluxes = random.normal(0, 1, (64, 16, 16, 4)).astype(np.float32)
    receipt = commit(flux_cube, FIRST, arrays(64, 1) | {"image": fluxes})
    assert not verify(receipt.products) and content(flux_cube, FIRST) == receipt.digest
    with xr.open_zarr(flux_cube) as dataset:
        assert (dataset.image.dtype, dataset.image.dims) == (np.float32, ("row", "y", "x", "band"))
        assert list(dataset.band.values) == ["g", "r", "g-r", "W1"]
        assert dataset.attrs["unit"] == dataset.image.attrs["units"] == "nanomaggy"
        assert dataset.attrs["images"] == "legacy-fits sandbox"
        np.testing.assert_array_equal(dataset.image[:64], fluxes)
        assert np.isnan(dataset.image[64:]).all()
    assert np.isnan(read_block(flux_cube, SECOND).image).all()


def test_a_cube_of_levels_is_no_cube_of_fluxes(cube, flux_cube):
    with pytest.raises(
        StoreError, match=r"unit: expected 'nanomaggy', found 'level'; images: expected 'legacy"
    ):
        check_cube(cube, replace(FLUXES, bands=SPEC.bands), cube.parent / "rows.parquet")
    with pytest.raises(StoreError, match="images: expected 'legacy-fits http://elsewhere'"):
        check_cube(
            flux_cube, replace(FLUXES, images="legacy-fits http://elsewhere"), cube.parent / "rows.parquet"
        )


def test_a_cube_from_before_units_were_said_holds_levels(cube):
    group = zarr.open_group(cube, mode="r+")
    for name in ("unit", "images"):
        del group.attrs[name]
    check_cube(cube, SPEC, cube.parent / "rows.parquet")
    assert commit(cube, FIRST, arrays(64, 7)).digest == content(cube, FIRST)


def test_a_block_can_be_read_with_columns_of_the_sample(cube):
    rows = read_block(cube, SECOND, columns=("zerr",))
    np.testing.assert_array_equal(rows.columns["zerr"], np.linspace(0, 1, ROWS)[64:])


def test_a_block_of_fill_values_has_files_all_the_same(cube):
    receipt = commit(cube, SECOND, arrays(36))
    assert len(receipt.products) == 3 and all(Path(product.final).is_file() for product in receipt.products)


def test_writing_one_block_leaves_the_other_alone(cube):
    one = commit(cube, FIRST, arrays(64, 7))
    two = commit(cube, SECOND, arrays(36, 9))
    assert content(cube, FIRST) == one.digest != two.digest == content(cube, SECOND)


def test_nothing_is_seen_in_the_cube_before_it_is_placed(cube):
    with Staging(str(cube.parent / "staging"), "fetch", FIRST.key).opened() as folder:
        write_block(cube, FIRST, arrays(64, 7), folder)
    assert not (cube / "image" / "c").exists()


def test_a_flipped_bit_is_found_by_file_and_by_content(cube):
    receipt = commit(cube, FIRST, arrays(64, 7))
    victim = next(product for product in receipt.products if "/image/" in product.final)
    content = bytearray(Path(victim.final).read_bytes())
    content[100] ^= 1
    Path(victim.final).write_bytes(content)
    assert verify(receipt.products) == [victim]
    with pytest.raises(StoreError, match="cannot be read"):
        read_block(cube, FIRST)


@pytest.mark.parametrize("name", ["image", "digest", "status"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_block_that_lost_a_shard_holds_nothing(cube, name, damage):
    receipt = commit(cube, FIRST, arrays(64, 7))
    damage(next(Path(product.final) for product in receipt.products if f"/{name}/" in product.final))
    rows = read_block(cube, FIRST)
    assert not rows.status.any() and not rows.digest.any() and not rows.image.any()


def test_positions_that_are_lost_are_no_positions_outside_the_sky(cube):
    (cube / "ra" / "c" / "0").unlink()
    with pytest.raises(StoreError, match="no shard of ra") as caught:
        read_block(cube, FIRST, fetched=False)
    assert "--repair" in caught.value.remedy


def test_a_cube_of_another_geometry_is_refused_with_every_difference(cube):
    with pytest.raises(StoreError, match=r"pixels: expected 32, found 16; rows_per_chunk") as caught:
        check_cube(cube, replace(SPEC, pixels=32, rows_per_chunk=32), cube.parent / "rows.parquet")
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"url": "http://other"}, "url: expected 'http://other', found 'http://sky'"),
        ({"url": "sandbox", "sky": "default"}, "sky: expected 'default', found ''"),
    ],
)
def test_a_cube_that_another_server_fills_is_refused_and_kept(cube, changed, words):
    commit(cube, FIRST, arrays(64, 1))
    with pytest.raises(StoreError, match=words) as caught:
        create_cube(cube, cube.parent / "rows.parquet", replace(SPEC, **changed))
    assert "name" in caught.value.remedy and "move that cube away" in caught.value.remedy
    assert read_block(cube, FIRST).status.all()


DATA = {"schema": 1, "name": "a", "samples": {"s": {"sql": "SELECT specobjid, ra, dec FROM SpecObj"}}}


def test_the_images_of_a_run_file_decide_unit_and_origin():
    images = {"source": "legacy-fits", "bands": ["g", "W1"]}
    chosen = {**DATA, "training": {"sample": "s"}, "images": images, "cube": {"dtype": "float32"}}
    spec = CubeSpec.of(RunFile.model_validate(chosen), "s")
    assert (spec.unit, spec.images, spec.bands) == ("nanomaggy", "legacy-fits sandbox", ("g", "W1"))


def test_the_sky_counts_where_the_sandbox_shows_it():
    run_files = [
        RunFile.model_validate({**DATA, "training": {"sample": "s"}, "sandbox": {"sky": "/a"}, **source})
        for source in ({}, {"source": {"url": "http://sky/"}})
    ]
    origins = [(spec.url, spec.sky) for spec in (CubeSpec.of(run_file, "s") for run_file in run_files)]
    assert origins == [("sandbox", "/a"), ("http://sky", "")]


def test_a_cube_of_other_rows_is_refused(cube):
    rows = pq.read_table(cube.parent / "rows.parquet").slice(1)
    pq.write_table(rows, cube.parent / "other.parquet")
    with pytest.raises(StoreError, match="objects"):
        create_cube(cube, cube.parent / "other.parquet", SPEC)


def test_another_split_or_label_is_written_and_what_was_fetched_stays(cube):
    receipt = commit(cube, FIRST, arrays(64, 1))
    rows = pq.read_table(cube.parent / "rows.parquet")
    label = pa.array(np.linspace(1, 2, len(rows)), pa.float32())
    rows = rows.set_column(rows.schema.get_field_index("label"), "label", label)
    features = [name for name in rows.column_names if name.startswith("feature_")]
    pq.write_table(rows.drop_columns(features), cube.parent / "other.parquet")
    create_cube(cube, cube.parent / "other.parquet", replace(SPEC, label="photoz"))
    group = zarr.open_group(cube, mode="r")
    assert np.array_equal(group["label"][:], label.to_numpy())
    assert group.attrs["label"] == "photoz"
    assert features == ["feature_zErr"]
    assert not [path for path in (cube / "feature_zErr").rglob("*") if path.is_file()]
    assert not verify(receipt.products)


def test_half_a_shard_is_refused(cube):
    with pytest.raises(StoreError, match="not one shard"):
        write_block(cube, Block("spectro", 0, 0, 32), arrays(32), cube.parent / "staging")


def test_placing_again_after_an_interruption_finishes_the_work(cube):
    receipt = commit(cube, FIRST, arrays(64, 3))
    place(receipt)
    assert not verify(receipt.products)


def test_a_product_that_is_missing_stops_the_move_before_it_begins(cube):
    with Staging(str(cube.parent / "staging"), "fetch", FIRST.key).opened() as folder:
        products = write_block(cube, FIRST, arrays(64, 3), folder)
    Path(products[-1].staged).unlink()
    with pytest.raises(StoreError, match="found nothing"):
        place(Receipt(64, 0, 0.0, "x", products))
    assert not any(Path(product.final).exists() for product in products)
