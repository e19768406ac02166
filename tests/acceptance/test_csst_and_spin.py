"""CSST's hybrid with transfer and the spin network: whole runs of a few galaxies, from their run files."""

import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from mill_run import MillRun

SURVEYS = Path(__file__).parents[2] / "surveys"
SMALL = ("cluster.workers=1", "catalogue.name=mill", "name=mill", "politeness.connections=4")


def a_run(folder: Path, survey: str) -> tuple[MillRun, tuple[str, ...]]:
    run = MillRun(folder)
    run.run_file = SURVEYS / survey
    return run, (*SMALL, f"output={folder}/runs", f"database.directory={folder}/postgres")


def weights_of(folder: Path) -> bytes:
    (weights,) = (folder / "model").glob("*/weights.skt")
    return weights.read_bytes()


def pretrained_as(folder: Path, preset: str) -> Path:
    """Put a network that a run has trained for its own elsewhere, and return where."""
    for path in (folder / "runs" / "mill" / "pretrained").iterdir():
        if json.loads((path / "preset.json").read_text())["name"] == preset:
            return Path(shutil.copytree(path, folder / preset))
    raise AssertionError(f"no {preset}")


def test_csst_learns_from_images_and_fluxes_after_its_parts(tmp_path: Path):
    run, words = a_run(tmp_path, "csst.toml")
    words = (*words, "sandbox.csst_galaxies=70", "cube.rows_per_block=64", "training.epochs=1")
    words = (*words, "training.batch=8", "politeness.connections=4")
    try:
        refused = run.command("plan", *words, "sandbox.stamps=/nowhere/stamps", 'images.bands=["u", "NUV"]')
        assert refused.returncode == 3, refused.stderr
        assert "sandbox.stamps: expected a folder of HST stamps" in refused.stderr
        assert "bands: expected ['NUV', 'u', 'g', 'r', 'i', 'z', 'y'], found ['u', 'NUV']" in refused.stderr
        done = run.command("run", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "zhou_csst" in done.stdout
        assert (run.units("pretrain", "done"), run.units("train", "done")) == (2, 1)
        ((rows, predicted),) = run.query("SELECT count(*), count(z_phot) FROM catalogue.mill")
        assert 20 < rows == predicted < 70
        again = run.command("run", *words)
        assert (again.returncode, "nothing to do" in again.stdout) == (0, True), again.stdout + again.stderr
        alone = [str(pretrained_as(tmp_path, f"csst-{part}")) for part in ("mlp", "cnn")]
        other = ("name=begun", "catalogue.name=begun", f"model.begin_with={json.dumps(alone)}")
        begun = run.command("run", *words, *other)
        assert begun.returncode == 0, begun.stdout + begun.stderr
        assert (run.units("pretrain", "done"), run.units("train", "done")) == (2, 2)
        assert weights_of(tmp_path / "runs" / "begun") == weights_of(tmp_path / "runs" / "mill")
        nowhere = run.command("plan", *words, f'model.begin_with=["{tmp_path}"]')
        assert (nowhere.returncode, "holds no trained network" in nowhere.stderr) == (3, True), nowhere.stderr
    finally:
        run.stop_database()


def test_spin_is_predicted_for_galaxies_without_kinematics(tmp_path: Path):
    run, words = a_run(tmp_path, "spin.toml")
    words = (*words, "samples.kinematics.limit=24", "samples.galaxies.limit=6", "cube.rows_per_block=32")
    words = (*words, "training.epochs=1", "training.batch=8", "model.preset=spin-baseline")
    try:
        refused = run.command("plan", *words, "images.scale_column=reff")
        assert refused.returncode == 3 and "images.scale_column is 'reff'" in refused.stderr, refused.stderr
        done = run.command("run", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "(regression: Pearson r" in done.stdout
        counts = (
            "SELECT sample, count(lambda_r_label), count(lambda_r_predicted) FROM catalogue.mill GROUP BY 1 "
            "ORDER BY 1"
        )
        assert run.query(counts) == [("galaxies", 0, 6), ("kinematics", 24, 24)]
        assert "8.48 petroR50_r" in (tmp_path / "runs" / "mill" / "report.html").read_text()
        again = run.command("run", *words)
        assert (again.returncode, "nothing to do" in again.stdout) == (0, True), again.stdout + again.stderr
    finally:
        run.stop_database()
