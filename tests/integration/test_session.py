"""A real local Dask cluster, whose workers are killed."""

import os
import signal
import time
from pathlib import Path

import pytest

from cluster.session import DaskSession
from cluster.work import Task
from schemas.config import Cluster
from schemas.errors import WorkerError


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory):
    scratch = tmp_path_factory.mktemp("scratch")
    with DaskSession(Cluster(workers=2, memory_gib=1.0), scratch=scratch) as session:
        yield session


def test_outcomes_come_for_every_task_and_tasks_are_taken_only_as_needed(session: DaskSession):
    taken = []

    def tasks():
        for number in range(40):
            taken.append(number)
            yield (
                Task(f"t{number}", "operator:mul", {}, 1) if False else Task(f"t{number}", "math:prod", {}, 1)
            )

    first = next(iter(session.run(tasks())))
    assert first.error is not None  # math.prod without arguments: an error is an outcome, not an exception
    assert len(taken) <= 6


def test_values_and_errors_come_back_as_outcomes(session: DaskSession):
    tasks = [Task(f"v{n}", "builtins:dict", {"n": n}) for n in range(20)] + [
        Task("bad", "json:loads", {"s": "{"})
    ]
    outcomes = {outcome.task.key: outcome for outcome in session.run(tasks)}
    assert len(outcomes) == 21
    assert outcomes["v7"].value == {"n": 7}
    assert isinstance(outcomes["bad"].error, WorkerError)


def test_a_task_whose_worker_is_killed_is_done_by_another(session: DaskSession, tmp_path: Path):
    marks = tmp_path / "pids"
    tasks = [
        Task("slow", "subprocess:check_call", {"args": f"echo $PPID >> {marks}; sleep 3", "shell": True})
    ]
    outcomes = session.run(iter(tasks))

    def kill_first() -> None:
        deadline = time.monotonic() + 20
        while not marks.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(int(marks.read_text().split()[0]), signal.SIGKILL)

    import threading

    killer = threading.Thread(target=kill_first)
    killer.start()
    outcome = next(outcomes)
    killer.join()
    assert outcome.value == 0
    assert len(set(marks.read_text().split())) == 2
