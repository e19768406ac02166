"""Whatever dies, and whenever: running again ends with the same catalogue, byte for byte."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from mill_run import MillRun, database_killer, kill_driver, kill_driver_in_training, kill_worker

IN_FLIGHT = 4
"""Two workers, each with one task running and one waiting."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MillRun]:
    run = MillRun(tmp_path_factory.mktemp("undisturbed"))
    done = run.command("run")
    assert done.returncode == 0, done.stdout + done.stderr
    yield run
    run.stop_database()


def test_a_finished_run_has_nothing_to_do(undisturbed: MillRun):
    before = undisturbed.attempts()
    again = undisturbed.command("run")
    assert again.returncode == 0
    assert "nothing to do" in again.stdout
    assert undisturbed.attempts() == before


def test_whatever_is_killed_at_three_stages_the_catalogue_is_the_same(undisturbed: MillRun, tmp_path: Path):
    run = MillRun(tmp_path)
    try:
        kill_at("fetch", run)
        run.start_and_kill("train", kill_driver_in_training, done=0)
        kill_at("infer", run)
        again = run.command("run")
        assert again.returncode == 0, again.stdout + again.stderr
        assert run.members() == [2, 2]
        assert run.history() == undisturbed.history()
        assert run.catalogue() == undisturbed.catalogue()
        redone_at_most(run, undisturbed, 4 * IN_FLIGHT + 2)
    finally:
        run.stop_database()


def kill_at(stage: str, run: MillRun) -> None:
    """Kill a worker, the driver and the database while a stage is under way."""
    run.start_and_kill(stage, kill_worker, done=1, and_wait=False)
    out = run.start_and_kill(stage, kill_driver, done=3, going=True)
    assert "Traceback" not in out
    out = run.start_and_kill(stage, database_killer(run), done=5)
    assert "Traceback" not in out and "remedy" in out


def redone_at_most(run: MillRun, undisturbed: MillRun, limit: int) -> None:
    """Check that every unit was accepted once, and that no more attempts were lost than were in flight."""
    attempts, plain = run.attempts(), undisturbed.attempts()
    accepted = {stage: count for (stage, outcome), count in attempts.items() if outcome == "accepted"}
    assert accepted == {stage: count for (stage, outcome), count in plain.items() if outcome == "accepted"}
    assert sum(count for (_, outcome), count in attempts.items() if outcome != "accepted") <= limit
