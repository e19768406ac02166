"""Presets that learn from columns alone: whole runs that ask for no image, and answer as those that have images."""

import json
import sys
import urllib.request
from pathlib import Path

import xarray

from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.process import start
from schemas.flags import Status

sys.path.insert(0, str(Path(__file__).parent))

from mill_run import MillRun

SURVEYS = Path(__file__).parents[2] / "surveys"
MAGNITUDES = "p.dered_u AS u, p.dered_g AS g, p.dered_r AS r, p.dered_i AS i, p.dered_z AS z_mag"
PHOTOMETRY = f'''
schema = 1
name = "mill"
[samples.spectro]
sql = """
SELECT s.specobjid, s.ra, s.dec, s.z, {MAGNITUDES} FROM SpecObj AS s JOIN PhotoObj AS p ON p.objID = s.bestObjID
WHERE s.class = 'GALAXY' AND s.zWarning = 0 AND s.z BETWEEN 0.01 AND 0.35
"""
limit = 150
[samples.targets]
sql = """
SELECT p.objID, p.ra, p.dec, {MAGNITUDES} FROM Galaxy AS p LEFT JOIN SpecObj AS s ON s.bestObjID = p.objID
WHERE s.specObjID IS NULL
"""
key = "objID"
limit = 30
[cube]
rows_per_chunk = 16
rows_per_block = 64
[model]
preset = "photometry"
[model.overrides.network]
trees = 5
'''
SMALL = (
    *("cluster.workers=1", "training.batch=16", "cube.rows_per_block=64"),
    *("politeness.requests_per_second=300", "politeness.connections=4", "politeness.queries_per_minute=600"),
)
ROWS = "SELECT sample, id, z_spec, z_phot, z_phot_err, flags, split FROM catalogue.{name} ORDER BY 1, 2"


def published(run: MillRun, name: str, *words: str, again: bool = False) -> tuple[list[tuple], set[str]]:
    """Do a run, and `again`, against a sandbox of its own; return its catalogue, and which services were asked."""
    verbs = [
        ("run", "published"),
        *([("run", "nothing to do"), ("verify", "as it was when")] if again else []),
    ]
    with start(SandboxOptions(csst_galaxies=70), run.folder / f"{name}.log") as server:
        own = (*SMALL, f"name={name}", f"catalogue.name={name}", f"output={run.folder}/runs")
        own = (*own, f"database.directory={run.folder}/postgres", f"source.url={server.url}")
        own = (*own, *(word.format(url=server.url) for word in words))
        for verb, said in verbs:
            done = run.command(verb, *own)
            assert (done.returncode, said in done.stdout) == (0, True), done.stdout + done.stderr
        asked = json.load(urllib.request.urlopen(f"{server.url}_stats"))["requests"]
    return run.query(ROWS.format(name=name)), set(asked)


def check_that_nothing_but_the_images_differs(run: MillRun, *words: str, images: str, service: str) -> None:
    try:
        bare, asked = published(run, "bare", *words, "images.source=none", again=True)
        seen, also_asked = published(run, "seen", *words, images)
        assert also_asked - asked == {service} and "unknown" not in asked
        assert len(bare) > 20 and None not in [z for _, _, _, z, *_ in bare]
        assert bare == seen
        pages = {name: (run.folder / "runs" / name / "report.html").read_text() for name in ("bare", "seen")}
        assert ["data:image/jpeg" in page for page in pages.values()] == [False, True]
        assert "This run has no images to show." in pages["bare"]
        for cube in (run.folder / "runs" / "bare" / "cube").glob("*.zarr"):
            sky = xarray.open_zarr(cube).load()
            assert sky.image.size == 0 and (sky.status == Status.OK).all()
        assert run.query("SELECT count(*) FROM skymill.object_failure") == [(0,)]
    finally:
        run.stop_database()


def test_a_forest_on_magnitudes_asks_for_no_image_and_predicts_the_same(tmp_path: Path):
    run = MillRun(tmp_path)
    run.run_file.write_text(PHOTOMETRY)
    check_that_nothing_but_the_images_differs(run, images="images.source=sdss-jpeg", service="cutout")


def test_a_perceptron_on_fluxes_is_switched_by_one_word_and_predicts_the_same(tmp_path: Path):
    run = MillRun(tmp_path)
    run.run_file = SURVEYS / "csst.toml"
    words = ("model.preset=csst-mlp", "training.epochs=2")
    check_that_nothing_but_the_images_differs(run, *words, images="images.url={url}", service="csst_cutout")
