"""Whatever dies, and whenever: running again ends with the same catalogue, byte for byte."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from mill_run import MillRun, database_killer, kill_driver, kill_worker, learning_driver_killer

BLOCK = 20
"""Rows of a block: 17 units of fetch and of infer."""
IN_FLIGHT = 4
"""Two workers, each with one task running and one waiting."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MillRun]:
    run = MillRun(tmp_path_factory.mktemp("undisturbed"), rows_per_block=BLOCK)
    try:
        done = run.command("run")
        assert done.returncode == 0, done.stdout + done.stderr
        yield run
    finally:
        run.stop_database()


def test_a_finished_run_has_nothing_to_do(undisturbed: MillRun):
    before = undisturbed.attempts()
    again = undisturbed.command("run")
    assert again.returncode == 0
    assert "nothing to do" in again.stdout
    assert undisturbed.attempts() == before


@pytest.mark.timeout(1800)
def test_driver_database_and_worker_are_killed_and_the_catalogue_is_the_same(
    undisturbed: MillRun, tmp_path: Path
):
    run = MillRun(tmp_path, rows_per_block=BLOCK)
    try:
        run.start_and_kill("fetch", kill_driver, done=1)
        run.start_and_kill("fetch", kill_worker, done=6, and_wait=False)
        check_last_words(run.start_and_kill("fetch", database_killer(run), done=8, going=True))
        run.start_and_kill("train", learning_driver_killer(run), done=0)
        run.start_and_kill("infer", kill_driver, done=1)
        check_last_words(run.start_and_kill("infer", database_killer(run), done=1))
        out = run.start_and_kill("infer", kill_worker, done=1)
        assert "published" in out, out
        assert run.members() == [2, 2]
        assert run.history() == undisturbed.history()
        assert run.catalogue() == undisturbed.catalogue()
        redone_at_most(run, undisturbed, 4 * IN_FLIGHT + 2)
    finally:
        run.stop_database()


def check_last_words(out: str) -> None:
    assert "Traceback" not in out and "remedy" in out and "skymill: unexpected" not in out, out


def redone_at_most(run: MillRun, undisturbed: MillRun, limit: int) -> None:
    """Check that every unit was accepted once, and that no more attempts were lost than were in flight."""
    attempts, plain = run.attempts(), undisturbed.attempts()
    accepted = {stage: count for (stage, outcome), count in attempts.items() if outcome == "accepted"}
    assert accepted == {stage: count for (stage, outcome), count in plain.items() if outcome == "accepted"}
    assert sum(count for (_, outcome), count in attempts.items() if outcome != "accepted") <= limit
