"""Images of the CSST mock, and pictures whose scale follows each object, from a real sandbox into cubes."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

from cluster.desk import Manners
from pipeline.sandbox.csst.sky import CsstSky
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.process import start
from pipeline.sources.choice import source_of
from pipeline.stages.fetch import fetch_block
from pipeline.stores.cube import CubeSpec, create_cube, read_block
from pipeline.stores.staging import Staging, place
from schemas.config import RunFile
from schemas.errors import SourceError, StoreError
from schemas.flags import Status
from schemas.imaging import CSST, FILTERS
from schemas.records import Block, Receipt

pytest.importorskip("kcorrect", reason="the default sky is made of the galaxies in the kcorrect package")
from pipeline.sandbox.default_sky import DefaultSky

GALAXIES = 12
MOCK = CsstSky(1998, GALAXIES, None)
CSST_IMAGES = {"source": "csst-fits", "pixels": 32, "arcsec_per_pixel": 0.075, "bands": FILTERS[CSST]}
SPIN_IMAGES = {"scale_column": "PetroR50_r", "asked_pixels": 212, "pixels": 80, "arcsec_per_pixel": 0.04}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    options = SandboxOptions(csst_galaxies=GALAXIES)
    with start(options, tmp_path_factory.mktemp("quiet") / "log") as sandbox:
        yield sandbox.url


def a_run(images: dict) -> RunFile:
    data = {"schema": 1, "name": "a", "samples": {"s": {"sql": "SELECT id, ra, dec FROM Csst", "key": "id"}}}
    return RunFile.model_validate({**data, "images": images, "training": {"sample": "s"}})


def a_cube(folder: Path, run: RunFile, ra: list, dec: list, **features: list) -> Path:
    rows = len(ra)
    table = {
        "row": np.arange(rows),
        "id": np.arange(rows).astype(np.uint64),
        "ra": np.array(ra, float),
        "dec": np.array(dec, float),
        "label": np.zeros(rows, np.float32),
        "split": np.zeros(rows, np.uint8),
    }
    table |= {f"feature_{name}": np.array(values, float) for name, values in features.items()}
    pq.write_table(pa.table(table), folder / "rows.parquet")
    create_cube(folder / "s.zarr", folder / "rows.parquet", CubeSpec.of(run, "s"))
    return folder / "s.zarr"


def fetch(cube: Path, run: RunFile, url: str, rows: int) -> Receipt:
    block = Block("s", 0, 0, rows)
    receipt = fetch_block(
        cube=str(cube),
        block=block,
        source=source_of(run, url),
        manners=Manners(url, requests_per_second=float("inf"), connections=4, give_up_after_s=5.0),
        staging=Staging(str(cube.parent / "staging"), "fetch", block.key),
    )
    place(receipt)
    return receipt


def get(address: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as fault:
        with fault:
            return fault.code, fault.read()


def test_the_mocks_table_is_there_when_a_query_names_it(url):
    words = urllib.parse.urlencode({"cmd": "SELECT id, z, flux_nuv, err_y FROM csst WHERE flags = 0"})
    status, body = get(f"{url}dr17/SkyServerWS/SearchTools/SqlSearch?{words}&format=json")
    rows = json.loads(body)[0]["Rows"]
    kept = [row for row in MOCK.table().to_pylist() if row["flags"] == 0]
    assert status == 200 and [row["id"] for row in rows] == [row["id"] for row in kept]
    assert rows[0]["flux_nuv"] == pytest.approx(
        kept[0]["flux_nuv"], rel=1e-14, abs=0
    )  # 15 digits are printed
    assert rows[-1]["err_y"] == pytest.approx(kept[-1]["err_y"], rel=1e-14, abs=0)


def test_the_mocks_images_are_of_its_galaxies_in_its_one_geometry(url):
    ra, dec = MOCK.position(3)
    address = f"{url}csst/fits-cutout?ra={ra!r}&dec={dec!r}"
    assert get(address) == (200, MOCK.fits(3)) == get(f"{address}&size=32&pixscale=0.075")
    status, words = get(f"{address}&size=64")
    assert status == 400 and b"asked for size=64" in words
    assert get(f"{url}csst/fits-cutout?ra={ra + 0.001}&dec={dec}") == (404, b"No overlap")


def test_stamps_that_are_not_there_are_told_when_the_sandbox_starts(tmp_path):
    with pytest.raises(SourceError, match="no HST stamps"):
        start(SandboxOptions(stamps=tmp_path), tmp_path / "log")


def test_a_cube_of_the_mock_holds_its_counts_with_north_up(url, tmp_path):
    run = a_run(CSST_IMAGES)
    ra, dec = zip(*(MOCK.position(n) for n in range(4)), strict=True)
    cube = a_cube(tmp_path, run, [*ra, 10.0], [*dec, 10.0])
    receipt = fetch(cube, run, url, 5)
    held = read_block(cube, Block("s", 0, 0, 5))
    assert held.status.tolist() == [Status.OK] * 4 + [Status.OUTSIDE_FOOTPRINT]
    for n in range(4):
        assert np.array_equal(held.image[n], MOCK.image(n)[::-1])
    assert np.isnan(held.image[4]).all() and receipt.facts["requests"] == 5
    assert zarr.open_group(cube, mode="r").attrs["unit"] == "count"


def test_each_pictures_scale_is_its_own_and_a_bad_one_is_a_flagged_row(url, tmp_path):
    sky, run = DefaultSky(1998), a_run(SPIN_IMAGES)
    radii = [2.0, 4.0, np.nan, 0.1, -9999.0]
    ra, dec = sky.objects.ra[:5], sky.objects.dec[:5]
    cube = a_cube(tmp_path, run, ra, dec, petroR50_r=radii)
    receipt = fetch(cube, run, url, 5)
    held = read_block(cube, Block("s", 0, 0, 5))
    assert held.status.tolist() == [Status.OK] * 2 + [Status.BAD_SCALE] * 3
    source = source_of(run, url)
    for row in range(2):
        body = sky.jpeg(float(ra[row]) % 360, float(dec[row]), 0.04 * radii[row], 212, 212)
        expected = source.judge({}, [(body, "image/jpeg")]).pixels
        assert np.array_equal(held.image[row], expected)
    words = {failure.row: failure.detail for failure in receipt.failures}
    assert words[3] == "PetroR50_r is 0.1: 0.004 arcsec a pixel, and the server takes 0.015 to 60"
    assert receipt.facts["requests"] == 2
    group = zarr.open_group(cube, mode="r")
    assert group.attrs["arcsec_per_pixel"] == 0 and group["x"].attrs["units"] == "PetroR50_r"
    assert np.ptp(group["x"][:]) == pytest.approx(0.04 * 212 * 79 / 80)


def test_a_cube_belongs_to_the_scales_it_was_fetched_with(tmp_path):
    run = a_run(SPIN_IMAGES)
    a_cube(tmp_path, run, [1.0], [1.0], petroR50_r=[2.0])
    a_cube(tmp_path, run, [1.0], [1.0], petroR50_r=[2.0])
    with pytest.raises(StoreError, match="is of another run: objects"):
        a_cube(tmp_path, run, [1.0], [1.0], petroR50_r=[2.1])
    with pytest.raises(StoreError, match=r"arcsec_per_pixel: expected 0\.106\d*, found 0"):
        a_cube(tmp_path, a_run({**SPIN_IMAGES, "scale_column": ""}), [1.0], [1.0], petroR50_r=[2.0])
