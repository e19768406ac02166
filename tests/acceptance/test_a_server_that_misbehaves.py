"""A whole run against a server with faults, a footprint and limits: every galaxy is had, or named."""

import io
import json
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import xarray
from PIL import Image

from pipeline.sandbox.options import TRANSIENT_KINDS, Faults, SandboxOptions
from pipeline.sandbox.process import start
from schemas.flags import Status

sys.path.insert(0, str(Path(__file__).parent))

from mill_run import MillRun

FAULTS = Faults(transient=0.1, outside=0.02, sql_transient=0.2, seed=5, stall_s=4.0, retry_after_s=1)
POLITENESS = (
    "politeness.requests_per_second=36",
    "politeness.connections=5",
    "politeness.queries_per_minute=600",
    "politeness.read_timeout_s=2",
    "samples.spectro.limit=200",
    "training.epochs=1",
)


def test_every_good_galaxy_is_in_the_cube_and_every_bad_one_is_named(tmp_path: Path):
    options = SandboxOptions(faults=FAULTS, rate_limit_per_s=40.0, connection_limit=6)
    run = MillRun(tmp_path)
    try:
        with start(options, tmp_path / "server.log") as server:
            done = run.command("run", f"source.url={server.url}", *POLITENESS)
            stats = json.load(urllib.request.urlopen(f"{server.url}_stats"))
        assert done.returncode == 0, done.stdout + done.stderr
        assert set(stats["faults"]) >= set(TRANSIENT_KINDS) - {"stall"}, stats["faults"]
        assert {limit: found["count"] for limit, found in stats["violations"].items()} == {
            "rate": 0,
            "connections": 0,
        }
        check_against_a_clean_sky(run, tmp_path)
    finally:
        run.stop_database()


def check_against_a_clean_sky(run: MillRun, folder: Path) -> None:
    named = {
        (sample, int(ident)): reason
        for sample, ident, reason in run.query("SELECT sample, id, reason FROM skymill.object_failure")
    }
    assert set(named.values()) == {"outside footprint"}
    asked = 0
    with start(SandboxOptions(), folder / "clean.log") as clean:
        for sample in ("spectro", "targets"):
            sky = xarray.open_zarr(run.folder / "runs" / "mill" / "cube" / f"{sample}.zarr").load()
            good = sky.status.values == Status.OK
            assert {(sample, int(i)) for i in sky.id.values[~good]} == {
                key for key in named if key[0] == sample
            }
            asked += good.size
            for row in np.flatnonzero(good)[::7]:
                assert np.array_equal(
                    sky.image.values[row], cutout(clean.url, sky.ra.values[row], sky.dec.values[row])
                )
    assert len(named) == pytest.approx(0.02 * asked, abs=8)


def cutout(url: str, ra: float, dec: float) -> np.ndarray:
    query = f"ra={ra!r}&dec={dec!r}&scale=0.396&width=64&height=64".replace("np.float64(", "").replace(
        ")", ""
    )
    body = urllib.request.urlopen(f"{url}dr17/SkyServerWS/ImgCutout/getjpeg?{query}").read()
    return np.asarray(Image.open(io.BytesIO(body)))
