"""A run that classifies fields: killed in the midst of it and with more workers, it ends with the same catalogue."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

sys.path.insert(0, str(Path(__file__).parent))

from mill_run import MillRun, kill_driver

RUN_FILE = """
schema = 1
name = "mill"
output = "{folder}/runs"
[samples.windows]
sql = "SELECT windowid, ra, dec, field, y, x, kind FROM FieldWindows"
key = "windowid"
[images]
source = "mosaic"
bands = ["g", "r"]
pixels = 16
arcsec_per_pixel = 0.3
[cube]
rows_per_chunk = 8
rows_per_block = 16
[model]
preset = "morpheus"
[model.overrides]
head = {{ classes = ["source", "sky"], background = "sky" }}
network = {{ down = [3], up = [3], bottleneck = 3, operations = [1, 1, 1], dropout = 0.1 }}
[target]
column = "kind"
definition = "pixels"
[split]
train = 0.5
validation = 0.25
[training]
sample = "windows"
epochs = 3
batch = 8
[fields.mine]
bands = {{ g = "{folder}/g.fits", r = "{folder}/r.fits" }}
labels = "{folder}/classes.fits"
arcsec_per_pixel = 0.3
[maps]
stride = 3
margin = 2
tile = 24
votes = ["mean", "rank"]
sure_source = 0.45
sure_background = 0.55
apart_pixels = 6
[cluster]
workers = {workers}
[database]
directory = "{folder}/postgres"
[catalogue]
name = "mill"
"""


def a_run(folder: Path, *, workers: int) -> MillRun:
    """A run on a field of its own: blobs on noise in two bands, and which pixels they have."""
    random = np.random.default_rng(3)
    y, x = np.mgrid[:80, :96]
    light = np.zeros((80, 96))
    for at_y, at_x in random.uniform(4, 76, (14, 2)):
        light += 8 * np.exp(-((y - at_y) ** 2 + (x - at_x) ** 2) / 8)
    for band in ("g", "r"):
        plane = (light + random.normal(0, 0.5, light.shape)).astype("f4")
        fits.PrimaryHDU(plane).writeto(folder / f"{band}.fits")
    fits.PrimaryHDU((light < 1.5).astype("i2")).writeto(folder / "classes.fits")
    run = MillRun(folder)
    run.run_file.write_text(RUN_FILE.format(folder=folder, workers=workers))
    return run


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MillRun]:
    run = a_run(tmp_path_factory.mktemp("undisturbed"), workers=1)
    try:
        done = run.command("run")
        assert done.returncode == 0, done.stdout + done.stderr
        yield run
    finally:
        run.stop_database()


def test_sources_of_one_s_own_field_are_published_and_a_finished_run_has_nothing_to_do(undisturbed: MillRun):
    rows = undisturbed.query("SELECT count(*), count(DISTINCT class), min(ra) FROM catalogue.mill")
    assert rows[0][0] > 0 and rows[0][1] == 1 and rows[0][2] is None
    page = next(undisturbed.folder.glob("runs/mill/report.html")).read_text()
    assert 'id="fields"' in page and "data:image/png" in page
    before = undisturbed.attempts()
    again = undisturbed.command("run")
    assert again.returncode == 0 and "nothing to do" in again.stdout
    assert undisturbed.attempts() == before


def test_a_run_that_is_killed_twice_ends_with_the_same_maps_and_catalogue(
    undisturbed: MillRun, tmp_path: Path
):
    run = a_run(tmp_path, workers=1)
    try:
        run.start_and_kill("train", kill_driver, done=0)
        run.start_and_kill("classify", kill_driver, done=2)
        done = run.command("run")
        assert done.returncode == 0, done.stdout + done.stderr
        assert run.units("classify", "done") == 16
        assert maps(run).keys() == maps(undisturbed).keys()
        assert maps(run) == maps(undisturbed)
        assert sources(run) == sources(undisturbed)
    finally:
        run.stop_database()


def test_tiles_that_are_lost_are_classified_again_by_three_workers_to_the_same_bytes(undisturbed: MillRun):
    (folder,) = undisturbed.folder.glob("runs/mill/fields/mine/maps-*.zarr")
    before = {path: path.read_bytes() for path in sorted(folder.glob("*/c/**/*")) if path.is_file()}
    assert len(before) > 16
    for path in before:
        path.unlink()
    lost = undisturbed.command("run")
    assert lost.returncode == 5 and "verify" in lost.stderr
    assert undisturbed.command("verify", "--repair", "cluster.workers=3").returncode == 0
    done = undisturbed.command("run", "cluster.workers=3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path: path.read_bytes() for path in before} == before
    hosts = "SELECT count(DISTINCT worker) FROM skymill.receipt WHERE stage = 'classify'"
    assert undisturbed.query(hosts)[0][0] > 1


def maps(run: MillRun) -> dict[str, bytes]:
    """The content of the FITS maps, by name."""
    found = {}
    for path in sorted(run.folder.glob("runs/mill/fields/mine/sources-*/*.fits")):
        with fits.open(path) as hdus:
            found[path.name] = hdus[0].data.tobytes()
    return found


def sources(run: MillRun) -> list[tuple]:
    """The published sources, but for what names the run's files."""
    columns = "id, y_pixel, x_pixel, flux, area_pixels, source, class, confidence, flags"
    return run.query(f"SELECT {columns} FROM catalogue.mill ORDER BY id")
