"""Whatever dies, and whenever: running again ends with the same catalogue, byte for byte."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from mill_run import MillRun, database_killer, in_training, kill_driver, kill_worker

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


def test_driver_database_and_worker_are_killed_at_two_stages_and_the_catalogue_is_the_same(
    undisturbed: MillRun, tmp_path: Path
):
    run = MillRun(tmp_path)
    kills = [("driver", kill_driver), ("database", database_killer(run)), ("worker", kill_worker)]
    try:
        for done, (victim, kill) in enumerate(kills, 1):
            out = run.start_and_kill("fetch", kill, done=2 * done - 1, and_wait=victim != "worker")
            check_last_words(out, victim)
        for done, (victim, kill) in enumerate(kills, 1):
            out = run.start_and_kill("infer", kill, done=2 * done - 1, going=victim == "driver")
            check_last_words(out, victim)
        again = run.command("run")
        assert again.returncode == 0, again.stdout + again.stderr
        assert run.catalogue() == undisturbed.catalogue()
        redone_at_most(run, undisturbed, IN_FLIGHT * 2 * len(kills))
    finally:
        run.stop_database()


def test_trainer_worker_and_driver_are_killed_in_training_and_the_network_is_the_same(
    undisturbed: MillRun, tmp_path: Path
):
    run = MillRun(tmp_path)
    try:
        run.start_and_kill("train", in_training(1, "trainer"), done=0, and_wait=False)
        run.start_and_kill("train", in_training(2, "worker"), done=0, going=True, and_wait=False)
        out = run.start_and_kill("train", in_training(3, "driver"), done=0, going=True)
        assert out.count("; going on with ") == 2, out
        again = run.command("run")
        assert again.returncode == 0, again.stdout + again.stderr
        if run.members() == {2}:  # the nanny was in time: the same sums, in the same order
            assert run.catalogue() == undisturbed.catalogue()
        for mine, theirs in zip(run.history(), undisturbed.history(), strict=True):
            assert mine == pytest.approx(theirs, rel=1e-4)
    finally:
        run.stop_database()


def check_last_words(out: str, victim: str) -> None:
    assert "Traceback" not in out
    if victim == "database":
        assert "remedy" in out


def redone_at_most(run: MillRun, undisturbed: MillRun, limit: int) -> None:
    """Check that every unit was accepted once, and that no more attempts were lost than were in flight."""
    attempts, plain = run.attempts(), undisturbed.attempts()
    accepted = {stage: count for (stage, outcome), count in attempts.items() if outcome == "accepted"}
    assert accepted == {stage: count for (stage, outcome), count in plain.items() if outcome == "accepted"}
    assert sum(count for (_, outcome), count in attempts.items() if outcome != "accepted") <= limit
