"""FITS images from a real sandbox into a cube: several requests a row, faults, and every pixel as it was served."""

import io
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr
import zarr
from astropy.io import fits

from cluster.desk import Manners
from pipeline.sandbox.options import TRANSIENT_KINDS, Faults, SandboxOptions
from pipeline.sandbox.process import start
from pipeline.sources.choice import source_of
from pipeline.sources.verdicts import digest_of
from pipeline.stages.fetch import fetch_block
from pipeline.stores.cube import CubeSpec, content_digest, create_cube, read_block
from pipeline.stores.staging import Staging, place, verify
from schemas.config import RunFile
from schemas.errors import StoreError
from schemas.flags import Status
from schemas.records import Block, Receipt

pytest.importorskip("kcorrect", reason="the default sky is made of the galaxies in the kcorrect package")
from pipeline.sandbox.default_sky import DefaultSky

ELG = ["g", "r", "i", "z", "g-r", "r-i", "i-z", "W1", "W2", "W1-W2"]
ROWS = 48
BLOCK = Block("s", 0, 0, ROWS)
DATA = {
    "schema": 1,
    "name": "a",
    "samples": {"s": {"sql": "SELECT specobjid, ra, dec, z FROM SpecObj"}},
    "training": {"sample": "s"},
    "images": {"source": "legacy-fits", "bands": ELG, "pixels": 32, "arcsec_per_pixel": 0.262},
    "cube": {"dtype": "float32", "rows_per_block": 64, "rows_per_chunk": 16},
}


@pytest.fixture(scope="module")
def sky() -> DefaultSky:
    return DefaultSky(1998)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with start(SandboxOptions(), tmp_path_factory.mktemp("quiet") / "log") as sandbox:
        yield sandbox.url


def a_run(**images: object) -> RunFile:
    sections = {"images": {**DATA["images"], **images}, "politeness": {"read_timeout_s": 5.0}}
    return RunFile.model_validate({**DATA, **sections})


def a_cube(folder: Path, sky: DefaultSky, run: RunFile, rows: int = ROWS) -> Path:
    table = {
        "row": np.arange(rows),
        "id": np.arange(rows).astype(np.uint64),
        "ra": sky.objects.ra[:rows],
        "dec": sky.objects.dec[:rows],
        "label": sky.objects.z[:rows].astype(np.float32),
        "split": np.zeros(rows, np.uint8),
    }
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(table), folder / "rows.parquet")
    create_cube(folder / "s.zarr", folder / "rows.parquet", CubeSpec.of(run, "s"))
    return folder / "s.zarr"


def fetch(cube: Path, run: RunFile, url: str, *, rate: float = float("inf"), rows: int = ROWS) -> Receipt:
    source = source_of(run, url)
    object.__setattr__(source, "backoff_s", 0.1)
    manners = Manners(url, requests_per_second=rate, connections=4, give_up_after_s=5.0)
    block = Block("s", 0, 0, rows)
    staging = Staging(str(cube.parent / "staging"), "fetch", block.key)
    receipt = fetch_block(cube=str(cube), block=block, source=source, manners=manners, staging=staging)
    place(receipt)
    held = read_block(cube, block)
    assert not verify(receipt.products)
    assert content_digest(held.status, held.digest, held.image) == receipt.digest
    return receipt


def get(address: str) -> tuple[int, str, bytes]:
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as fault:
        with fault:
            return fault.code, fault.headers["Content-Type"], fault.read()


def stats(url: str) -> dict:
    return json.loads(get(f"{url}_stats")[2])


def cutout(url: str, ra: float, dec: float, **words: object) -> tuple[int, str, bytes]:
    more = "".join(f"&{name}={word}" for name, word in words.items())
    return get(f"{url}viewer/fits-cutout?ra={ra}&dec={dec}{more}")


def test_the_sandbox_answers_as_the_legacy_surveys_do(url, sky):
    ra, dec = float(sky.objects.ra[3]), float(sky.objects.dec[3])
    status, content_type, body = cutout(url, ra, dec, layer="ls-dr10", pixscale=0.262, bands="griz", size=64)
    assert (status, content_type) == (200, "image/fits")
    with fits.open(io.BytesIO(body)) as hdus:
        header, planes = hdus[0].header, hdus[0].data
    assert (planes.shape, planes.dtype.kind, planes.dtype.itemsize) == ((4, 64, 64), "f", 4)
    assert [header[f"BAND{k}"] for k in range(4)] == list(header["BANDS"]) == list("griz")
    flux = sky.objects.flux[3, 1:]
    # a galaxy is larger than the image: most of its light, and no more than all
    assert (planes.sum(axis=(1, 2)) > 0.5 * flux).all() and (planes.sum(axis=(1, 2)) < 1.1 * flux).all()
    one = cutout(url, ra, dec, layer="ls-dr10", pixscale=0.262, bands="r", size=64)[2]
    with fits.open(io.BytesIO(one)) as hdus:
        np.testing.assert_array_equal(hdus[0].data, planes[1])
    with fits.open(io.BytesIO(cutout(url, ra, dec, bands="grizy", size=700)[2])) as hdus:
        assert hdus[0].data.shape == (4, 512, 512) and hdus[0].header["BANDS"] == "griz"
    assert cutout(url, 90.0, -85.0)[::2] == (404, b"No overlap")
    assert cutout(url, ra, dec, layer="nothing")[0] == 400


def test_ten_channels_are_fetched_by_two_polite_requests_a_row(url, sky, tmp_path):
    run, before = a_run(), stats(url)["requests"].get("fits_cutout", 0)
    cube = a_cube(tmp_path, sky, run)
    receipt = fetch(cube, run, url, rate=100.0)
    assert receipt.facts["requests"] == 2 * ROWS == stats(url)["requests"]["fits_cutout"] - before
    assert receipt.facts["fetch_s"] > (2 * ROWS - 2) / 100.0
    assert not receipt.failures and receipt.facts["ok"] == ROWS
    with xr.open_zarr(cube) as dataset:
        image = dataset.image.load()
        assert list(image.band.values) == ELG and image.dtype == np.float32
        assert dataset.attrs["images"] == "legacy-fits sandbox"
        for first, second in (("g", "r"), ("i", "z"), ("W1", "W2")):
            difference = image.sel(band=first) - image.sel(band=second)
            np.testing.assert_array_equal(image.sel(band=f"{first}-{second}"), difference)
        row = 5
        addresses = source_of(run, url).addresses(
            {"ra": float(dataset.ra[row]), "dec": float(dataset.dec[row])}
        )
        bodies = [get(address)[2] for address in addresses]
        assert bytes(dataset.digest[row].values) == digest_of(bodies)
        with fits.open(io.BytesIO(bodies[1])) as hdus:
            np.testing.assert_array_equal(image[row].sel(band="W2"), hdus[0].data[1, ::-1])
        # brighter galaxies have brighter images, in the infrared too
        light = image.sel(band=["r", "W1"]).sum(["y", "x"])
        for band, least in (("r", 0.9), ("W1", 0.5)):
            order = np.corrcoef(np.log(light.sel(band=band)), np.log(sky.objects.flux[:ROWS, 2]))[0, 1]
            assert order > least


@pytest.mark.slow
@pytest.mark.parametrize(
    ("outside_as", "kinds"),
    [("404", TRANSIENT_KINDS), ("tile", ("black_200", "html_200", "truncated", "reset"))],
)
def test_faults_of_every_kind_cost_no_good_row_and_no_pixel(url, sky, tmp_path, outside_as, kinds):
    run = a_run()
    quiet = a_cube(tmp_path / "quiet", sky, run)
    fetch(quiet, run, url)
    faults = Faults(0.3, 0.1, seed=11, kinds=kinds, stall_s=1.0, outside_as=outside_as)
    options = SandboxOptions(faults=faults, rate_limit_per_s=60.0, connection_limit=4)
    cube = a_cube(tmp_path, sky, run)
    with start(options, tmp_path / "log") as sandbox:
        receipt = fetch(cube, run, sandbox.url, rate=60.0)
        found = stats(sandbox.url)
    assert found["violations"]["rate"]["count"] == found["violations"]["connections"]["count"] == 0
    assert receipt.facts["faults"].keys() >= {"blank", "error page", "truncated"}
    outside = {failure.row for failure in receipt.failures}
    assert {failure.status for failure in receipt.failures} == {Status.OUTSIDE_FOOTPRINT}
    assert 0 < len(outside) < ROWS / 3 and all(failure.detail for failure in receipt.failures)
    there, good = read_block(cube, BLOCK), read_block(quiet, BLOCK)
    for row in range(ROWS):
        if row in outside:
            assert np.isnan(there.image[row]).all() and not there.digest[row].any()
        else:
            np.testing.assert_array_equal(there.image[row], good.image[row])
            np.testing.assert_array_equal(there.digest[row], good.digest[row])


def test_a_body_that_is_broken_is_asked_for_again_alone(sky, tmp_path):
    run = a_run()
    cube = a_cube(tmp_path, sky, run, rows=16)
    options = SandboxOptions(faults=Faults(1.0, kinds=("truncated",), seed=3))
    with start(options, tmp_path / "log") as sandbox:
        receipt = fetch(cube, run, sandbox.url, rows=16)
        broken = stats(sandbox.url)["faults"]["truncated"]
    assert not receipt.failures
    assert receipt.facts["requests"] >= 2 * 16 + broken  # and what a busy machine was too slow for


def test_a_cube_of_other_bands_is_not_filled(url, sky, tmp_path):
    cube = a_cube(tmp_path, sky, a_run(), rows=4)
    with pytest.raises(
        StoreError, match=r"expected images of float32 \(32, 32, 10\) for this cube"
    ) as caught:
        fetch(cube, a_run(bands=["g"]), url, rows=4)
    assert caught.value.remedy


FRAMES = {"source": "sdss-frames", "bands": ["u", "g", "r", "u-g"], "pixels": 32, "arcsec_per_pixel": 0.396}


def a_frame_cube(folder: Path, sky: DefaultSky, run: RunFile, chosen: np.ndarray) -> Path:
    photo = sky.tables["PhotoObjAll"]
    table = {name: photo[name].to_numpy()[chosen] for name in ("ra", "dec")}
    table |= {f"feature_{name}": photo[name].to_numpy()[chosen] for name in ("run", "camcol", "field")}
    table |= {"id": np.arange(len(chosen), dtype=np.uint64), "label": np.zeros(len(chosen), np.float32)}
    table |= {"split": np.zeros(len(chosen), np.uint8)}
    pq.write_table(pa.table(table), folder / "rows.parquet")
    create_cube(folder / "s.zarr", folder / "rows.parquet", CubeSpec.of(run, "s"))
    return folder / "s.zarr"


def test_frames_are_fetched_by_the_columns_of_the_sample_and_missing_ones_are_named(sky, tmp_path):
    run, chosen = a_run(**FRAMES), np.arange(0, 240, 10)
    cube = a_frame_cube(tmp_path, sky, run, chosen)
    zarr.open_group(cube, mode="r+")["feature_field"][3] = np.nan
    options = SandboxOptions(
        faults=Faults(0.3, 0.04, seed=2, kinds=("truncated", "black_200", "error_500")), connection_limit=4
    )
    with start(options, tmp_path / "log") as sandbox:
        receipt = fetch(cube, run, sandbox.url, rows=len(chosen))
    failed = {failure.row: failure.status for failure in receipt.failures}
    assert failed.pop(3) == Status.BAD_POSITION
    assert failed and set(failed.values()) == {Status.NOT_FOUND}
    assert receipt.facts["faults"].keys() >= {"truncated", "blank", "server error"}
    held = read_block(cube, Block("s", 0, 0, len(chosen)))
    good = held.status == Status.OK
    assert 10 < good.sum() == len(chosen) - 1 - len(failed)
    np.testing.assert_array_equal(
        held.image[good][..., 3], held.image[good][..., 0] - held.image[good][..., 1]
    )
    light = held.image[good][:, 10:22, 10:22, 2].sum(axis=(1, 2))
    assert np.corrcoef(np.log(light), np.log(sky.objects.flux[chosen[good], 2]))[0, 1] > 0.8


def test_a_recorded_sky_says_that_it_has_no_fits_images(tmp_path):
    (tmp_path / "jpeg").mkdir()
    (tmp_path / "jpeg" / "a.jpg").write_bytes(b"")
    (tmp_path / "cutouts.csv").write_text("ra,dec,scale,width,height,file\n1,2,0.2,64,64,a.jpg\n")
    (tmp_path / "photoobj.csv").write_text("objID,ra,dec\n1,1,2\n")
    (tmp_path / "specobj.csv").write_text("specObjID,ra,dec\n1,1,2\n")
    with start(SandboxOptions(sky=str(tmp_path)), tmp_path / "log") as sandbox:
        status, _, body = cutout(sandbox.url, 1.0, 2.0)
        frame = get(f"{sandbox.url}sas/dr17/eboss/photoObj/frames/301/94/3/frame-u-000094-3-0011.fits.bz2")
    assert status == frame[0] == 400 and b"JPEGs only" in body and b"JPEGs only" in frame[2]
