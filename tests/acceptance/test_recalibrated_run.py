"""A run with a calibration part: killed while it calibrates, with other workers, it ends with the same bytes."""

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from mill_run import MillRun, kill_driver

PARTS = """
[split]
train = 0.5
validation = 0.1
calibration = 0.25
[recalibration]
kind = "auto"
rows = 30
"""
WORDS = (
    "samples.spectro.limit=160",
    "samples.targets.limit=20",
    "training.epochs=1",
    "model.passes=2",
    "model.overrides.network.dropout=0.3",
)

NAMES = ("spectro", "targets")


@pytest.mark.timeout(1800)
def test_a_calibration_that_is_killed_twice_ends_with_the_same_bytes_whoever_works(tmp_path: Path):
    run = MillRun(tmp_path, latency_s=0.0)
    run.run_file.write_text(run.run_file.read_text() + PARTS)
    folder = tmp_path / "runs" / "mill"
    made = [folder / "calibration.json", *(folder / f"predictions/{name}/00000.parquet" for name in NAMES)]
    try:
        done = run.command("run", *WORDS)
        assert done.returncode == 0, done.stdout + done.stderr
        said = json.loads(made[0].read_text())
        assert said["rows"] == 40 and said["made_from"]["passes"] == 2
        assert "Recalibration" in (folder / "report.html").read_text()
        whole = "SELECT provenance FROM skymill.catalogue_version"
        ((provenance,),) = run.query(whole)
        assert provenance["calibration"]["fitted"] == said["fitted"]
        told = json.loads(pq.read_schema(made[1]).metadata[b"skymill"])
        assert ("recalibration" in told) == said["applied"]
        before, catalogue = [path.read_bytes() for path in made], run.catalogue()

        made[0].write_text("{}")
        made[1].unlink()
        said = run.start_and_kill("calibrate", kill_driver, done=0, words=[*WORDS, "--repair"], verb="verify")
        assert "damaged: calibrate calibration" in said
        assert not made[0].exists() and not made[1].exists()
        run.start_and_kill("calibrate", kill_driver, done=0, words=[*WORDS, "cluster.workers=1"])
        assert not made[0].exists()
        last = run.command("run", *WORDS, "cluster.workers=1")
        assert last.returncode == 0, last.stdout + last.stderr
        assert [path.read_bytes() for path in made] == before
        assert run.catalogue() == catalogue
        again = run.command("run", *WORDS)
        assert (again.returncode, "nothing to do" in again.stdout) == (0, True), again.stdout + again.stderr
    finally:
        run.stop_database()
