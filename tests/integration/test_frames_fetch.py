"""Frames from a real sandbox into a cube: each is asked for once a block, whatever is cut out of it."""

import json
import pickle
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.desk import Manners
from pipeline.sandbox.faults import FaultPlan
from pipeline.sandbox.options import Faults, SandboxOptions
from pipeline.sandbox.process import start
from pipeline.sources.choice import source_of
from pipeline.sources.frames import FrameSource
from pipeline.sources.images import Body
from pipeline.stages.fetch import fetch_block
from pipeline.stages.settle import place_of
from pipeline.stores.cube import BlockRows, CubeSpec, create_cube, read_block
from pipeline.stores.staging import Staging, place
from schemas.config import RunFile
from schemas.flags import Status
from schemas.records import Block, Receipt

pytest.importorskip("kcorrect", reason="the default sky is made of the galaxies in the kcorrect package")
from pipeline.sandbox.default_sky import DefaultSky

BANDS = ["u", "g", "r", "i", "z"]
FIELDS, EACH = 3, 8
ROWS = FIELDS * EACH
BLOCK = Block("s", 0, 0, ROWS)
RUN = RunFile.model_validate(
    {
        "schema": 1,
        "name": "a",
        "samples": {"s": {"sql": "SELECT objid, ra, dec, run, camcol, field FROM PhotoObj"}},
        "training": {"sample": "s"},
        "images": {"source": "sdss-frames", "bands": BANDS, "pixels": 32, "arcsec_per_pixel": 0.396},
        "cube": {"dtype": "float32", "rows_per_block": 32, "rows_per_chunk": 16},
        "politeness": {"read_timeout_s": 10.0},
    }
)
FETCH = """
import pickle, sys
from pathlib import Path
from pipeline.stages.fetch import fetch_block
fetch_block(**pickle.loads(Path(sys.argv[1]).read_bytes()))
"""


@pytest.fixture(scope="module")
def table() -> dict[str, np.ndarray]:
    """Rows of three fields, those of one never beside each other: places around the first object of each."""
    photo = DefaultSky(1998).tables["PhotoObjAll"]
    place = {name: photo[name].to_numpy() for name in ("ra", "dec", "run", "camcol", "field")}
    _, first = np.unique(np.stack([place[n] for n in ("run", "camcol", "field")]), axis=1, return_index=True)
    of = np.tile(np.sort(first)[:FIELDS], EACH)
    east, north = np.random.default_rng(3).uniform(-30, 30, (2, ROWS)) / 3600
    found = {f"feature_{name}": place[name][of].astype(np.float32) for name in ("run", "camcol", "field")}
    found["ra"] = place["ra"][of] + east / np.cos(np.radians(place["dec"][of]))
    found["dec"] = place["dec"][of] + north
    found |= {"id": np.arange(ROWS, dtype=np.uint64), "label": np.zeros(ROWS, np.float32)}
    return found | {"split": np.zeros(ROWS, np.uint8)}


@pytest.fixture(scope="module")
def quiet(table, tmp_path_factory) -> Iterator[tuple[str, BlockRows, Receipt]]:
    """A sandbox without a fault, and what is fetched from it."""
    folder = tmp_path_factory.mktemp("quiet")
    with start(SandboxOptions(), folder / "log") as sandbox:
        before = frames_asked(sandbox.url)
        receipt = fetch(a_cube(folder, table), sandbox.url)
        assert frames_asked(sandbox.url) - before == receipt.facts["requests"]
        yield sandbox.url, read_block(folder / "s.zarr", BLOCK, columns=source(sandbox.url).columns), receipt


def a_cube(folder: Path, table: dict[str, np.ndarray]) -> Path:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(table), folder / "rows.parquet")
    create_cube(folder / "s.zarr", folder / "rows.parquet", CubeSpec.of(RUN, "s"))
    return folder / "s.zarr"


def source(url: str, **settings: object) -> FrameSource:
    chosen = source_of(RUN, url)
    assert isinstance(chosen, FrameSource)
    return replace(chosen, backoff_s=0.1, **settings)


def words(cube: Path, url: str, **settings: object) -> dict[str, Any]:
    """What `fetch_block` is told."""
    manners = Manners(url, requests_per_second=float("inf"), connections=4, give_up_after_s=5.0)
    staging = Staging(str(cube.parent / "staging"), "fetch", BLOCK.key)
    asked = {"source": source(url, **settings), "manners": manners, "staging": staging}
    return {"cube": str(cube), "block": BLOCK} | asked


def fetch(cube: Path, url: str, **settings: object) -> Receipt:
    receipt = fetch_block(**words(cube, url, **settings))
    place(receipt)
    return receipt


def get(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=30) as answer:
        return answer.read()


def frames_asked(url: str) -> int:
    return json.loads(get(f"{url}_stats"))["requests"].get("frame", 0)


def test_a_block_asks_once_for_each_frame_and_cuts_what_each_row_alone_would_give(quiet):
    url, held, receipt = quiet
    assert receipt.facts["requests"] == 5 * FIELDS
    assert receipt.facts["ok"] == ROWS and not receipt.failures
    chosen = source(url)
    for row in range(0, ROWS, 5):
        address = place_of(held, row)
        alone = chosen.judge(address, [Body(get(url)) for url in chosen.addresses(address)])
        np.testing.assert_array_equal(held.image[row], alone.pixels)
        assert bytes(held.digest[row]) == alone.digest
    assert len({image.tobytes() for image in held.image[:ROWS]}) == ROWS


@pytest.mark.slow
def test_a_block_that_is_killed_on_its_way_comes_out_like_an_undisturbed_one(quiet, table, tmp_path):
    cube = a_cube(tmp_path, table)
    with start(SandboxOptions(latency_s=0.2), tmp_path / "log") as sandbox:
        (tmp_path / "words").write_bytes(pickle.dumps(words(cube, sandbox.url)))
        worker = subprocess.Popen([sys.executable, "-c", FETCH, str(tmp_path / "words")])
        try:
            deadline = time.monotonic() + 240
            while frames_asked(sandbox.url) < 7 and worker.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
        finally:
            worker.kill()
            assert worker.wait() == -9, "it was done before it was killed"
        before = frames_asked(sandbox.url)
        assert 7 <= before < 5 * FIELDS and not read_block(cube, BLOCK).status.any()
        again = fetch(cube, sandbox.url)
        assert frames_asked(sandbox.url) - before == again.facts["requests"] == 5 * FIELDS
    assert again.digest == quiet[2].digest


def test_fields_that_failed_for_now_are_asked_for_again_alone(quiet, table, tmp_path):
    cube = a_cube(tmp_path, table)
    names = names_of(quiet[1])
    faults = next(
        faults
        for faults in (Faults(0.1, seed=seed, kinds=("truncated",)) for seed in range(1000))
        if sum(FaultPlan(faults).of_file(name) is not None for name in names.values()) == 1
    )
    (broken,) = (key for key, name in names.items() if FaultPlan(faults).of_file(name))
    with start(SandboxOptions(faults=faults), tmp_path / "log") as sandbox:
        first = fetch(cube, sandbox.url, retries=0)
        assert {failure.row % FIELDS for failure in first.failures} == {broken[0]}
        assert len(first.failures) == EACH and first.facts["ok"] == ROWS - EACH
        assert {Status(failure.status) for failure in first.failures} == {Status.TRUNCATED}
        again = fetch(cube, sandbox.url, retries=2)
    assert not again.failures and again.facts["requests"] in (5, 6)
    assert again.digest == quiet[2].digest


def test_a_frame_that_is_missing_costs_its_own_objects_only_and_each_says_why(quiet, table, tmp_path):
    names = names_of(quiet[1])
    faults = next(
        faults
        for faults in (Faults(outside=0.1, seed=seed) for seed in range(1000))
        if sum(map(FaultPlan(faults).is_missing, names.values())) == 1
    )
    ((field, band),) = (key for key, name in names.items() if FaultPlan(faults).is_missing(name))
    cube = a_cube(tmp_path, table)
    with start(SandboxOptions(faults=faults), tmp_path / "log") as sandbox:
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(source(sandbox.url).addresses(place_of(quiet[1], field))[band]).close()
        receipt = fetch(cube, sandbox.url)
    assert receipt.facts["requests"] == 5 * (FIELDS - 1) + band + 1
    assert [(failure.row, failure.status) for failure in receipt.failures] == [
        (row, Status.NOT_FOUND) for row in range(field, ROWS, FIELDS)
    ]
    assert {failure.detail for failure in receipt.failures} == {"HTTP 404"}
    held, good = read_block(cube, BLOCK), np.arange(ROWS) % FIELDS != field
    np.testing.assert_array_equal(held.image[good], quiet[1].image[good])
    assert np.isnan(held.image[~good]).all() and (held.status[good] == Status.OK).all()


def names_of(held: BlockRows) -> dict[tuple[int, int], str]:
    """What the sandbox calls the frames of the block, by field and band."""
    chosen = source("http://sky/")
    return {
        (field, band): address.rpartition("/frame-")[2].removesuffix(".fits.bz2")
        for field in range(FIELDS)
        for band, address in enumerate(chosen.addresses(place_of(held, field)))
    }
