"""One small run, treated as users treat runs: stopped, retried, damaged, repaired, edited, rolled back."""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from mill_run import MillRun, wait_for

WORDS = (
    "samples.spectro.limit=80",
    "samples.targets.limit=20",
    "training.epochs=1",
    "sandbox.transient=0.15",
)
IMPATIENT = (*WORDS, "politeness.retries=0", "politeness.read_timeout_s=1")
PATIENT = (*WORDS, "politeness.read_timeout_s=1")


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MillRun]:
    run = MillRun(tmp_path_factory.mktemp("edges"), latency_s=0.0, workers=1)
    yield run
    run.stop_database()


def flip(path: Path) -> None:
    """Change one byte in the middle of a file."""
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 0xFF
    path.write_bytes(body)


def test_sigterm_ends_a_run_with_a_word_and_another_driver_is_told_that_it_is_busy(mill: MillRun):
    with mill.start(*IMPATIENT) as process:
        try:
            wait_for(lambda: mill.units("pull", "running") or mill.units("pull", "done"), "pull", process)
            busy = mill.command("run", *IMPATIENT)
            assert (busy.returncode, "another driver" in busy.stderr) == (9, True)
            assert "pull" in mill.command("status").stdout
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 143, out
    assert "interrupted; nothing is lost" in out
    assert "Traceback" not in out


def test_retry_wins_what_may_be_won_and_does_nothing_twice(mill: MillRun):
    done = mill.command("run", *IMPATIENT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert mill.query("SELECT count(*) FROM skymill.object_failure WHERE NOT permanent")[0][0] > 5
    pulled = mill.units("pull", "done")
    again = mill.command("retry", *PATIENT)
    assert again.returncode == 0, again.stdout + again.stderr
    assert mill.query("SELECT count(*) FROM skymill.object_failure") == [(0,)]
    assert mill.query("SELECT count(*) FROM catalogue.mill") == [(100,)]
    assert mill.attempts()["pull", "accepted"] == pulled
    nothing = mill.command("retry", *PATIENT)
    assert (nothing.returncode, "nothing to retry" in nothing.stdout) == (0, True)


def test_what_is_damaged_is_found_and_repaired_to_the_same_catalogue(mill: MillRun):
    catalogue, before = mill.catalogue(), mill.attempts()
    folder = mill.folder / "runs" / "mill"
    flip(folder / "cube" / "spectro.zarr" / "image" / "c" / "1" / "0" / "0" / "0")
    flip(folder / "cube" / "spectro.zarr" / "ra" / "c" / "0")
    flip(folder / "predictions" / "targets" / "00000.parquet")
    for weights in (folder / "model").glob("*/weights*"):
        flip(weights)
    found = mill.command("verify", *PATIENT)
    assert found.returncode == 5
    assert found.stdout.count("damaged:") == 4
    assert "--repair" in found.stderr
    unreadable = mill.command("report", *PATIENT)
    assert (unreadable.returncode, "verify --repair" in unreadable.stderr) == (5, True), unreadable.stderr
    repaired = mill.command("verify", "--repair", *PATIENT)
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    assert mill.catalogue() == catalogue
    assert mill.attempts()["fetch", "accepted"] == before["fetch", "accepted"] + 1
    assert mill.command("verify", *PATIENT).returncode == 0


def test_a_folder_that_was_moved_or_lost_is_missed_before_anything_is_done(mill: MillRun):
    folder, away = mill.folder / "runs" / "mill", mill.folder / "away"
    catalogue = mill.catalogue()
    folder.rename(away)
    lost = mill.command("run", *PATIENT)
    assert lost.returncode == 5
    assert "are gone" in lost.stderr
    elsewhere = mill.command("run", *PATIENT, f"output={mill.folder}/other")
    assert elsewhere.returncode == 5
    assert "elsewhere" in elsewhere.stderr
    for path in away.iterdir():
        if path.name != "logs":
            path.rename(folder / path.name)
    back = mill.command("run", *PATIENT)
    assert "nothing to do" in back.stdout
    assert mill.catalogue() == catalogue


def test_the_report_is_written_again_and_nothing_else(mill: MillRun):
    before = mill.attempts()
    report, metrics = (mill.folder / "runs" / "mill" / name for name in ("report.html", "metrics.json"))
    report.unlink()
    told = json.loads(metrics.read_text())
    metrics.unlink()
    assert mill.command("report", *PATIENT).returncode == 0
    assert report.stat().st_size > 10_000
    assert json.loads(metrics.read_text()) == told and told["n"] > 0
    changed = {key for key, count in mill.attempts().items() if before.get(key) != count}
    assert {stage for stage, _ in changed} <= {"report", "publish"}


def test_an_edited_run_file_makes_a_new_version_which_can_be_rolled_back_and_dropped(mill: MillRun):
    first = mill.catalogue()
    old = mill.query("SELECT max(version) FROM skymill.catalogue_version")[0][0]
    before = mill.attempts()
    assert mill.command("run", *PATIENT, "split.train=0.6").returncode == 0
    assert mill.catalogue() != first
    assert mill.attempts()["fetch", "accepted"] == before["fetch", "accepted"]
    refused = mill.catalog("drop", "--version", str(old + 1))
    assert refused.returncode == 6
    assert mill.catalog("rollback").returncode == 0
    assert mill.catalogue() == first
    assert mill.catalog("drop", "--version", str(old + 1)).returncode == 0
    assert f"v{old + 1}" not in mill.catalog("list").stdout
    assert mill.catalog("show", "--version", "99").returncode == 6
    again = mill.command("run", *PATIENT, "split.train=0.6")
    assert (again.returncode, "nothing to do" in again.stdout) == (0, False)
    assert f"v{old + 2}" in mill.catalog("list").stdout
