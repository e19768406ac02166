"""Real Dask processes: workers that are killed, drivers that share a scheduler, and a scheduler that dies."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import dask
import pytest
from distributed import Future, LocalCluster

from cluster import joining
from cluster.flight import Flight
from cluster.session import DaskSession
from cluster.work import Outcome, Task
from schemas.config import Cluster
from schemas.errors import WorkerError


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory):
    scratch = tmp_path_factory.mktemp("scratch")
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        DaskSession(Cluster(workers=2, memory_gib=1.0), scratch=scratch) as session,
    ):
        yield session


def shell(key: str, command: str, **more) -> Task:
    return Task(key, "subprocess:check_call", {"args": command, "shell": True}, **more)


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


def test_tasks_are_taken_only_as_needed(session: DaskSession):
    taken = []

    def tasks():
        for number in range(40):
            taken.append(number)
            yield Task(f"t{number}", "builtins:dict")

    next(iter(session.run(tasks())))
    assert len(taken) <= 6


def test_values_and_errors_come_back_as_outcomes(session: DaskSession):
    tasks = [Task(f"v{n}", "builtins:dict", {"n": n}) for n in range(20)] + [
        Task("bad", "json:loads", {"s": "{"})
    ]
    outcomes = {outcome.task.key: outcome for outcome in session.run(tasks)}
    assert len(outcomes) == 21
    assert outcomes["v7"].value == {"n": 7}
    assert isinstance(outcomes["bad"].error, WorkerError)
    assert outcomes["bad"].starts == 1


def test_a_task_whose_worker_is_killed_is_done_by_another(session: DaskSession, tmp_path: Path):
    marks = tmp_path / "pids"
    outcomes = session.run([shell("slow", f"echo $PPID >> {marks}; sleep 2", starts=2)])

    def kill_first() -> None:
        wait_for(marks)
        os.kill(int(marks.read_text().split()[0]), signal.SIGKILL)

    killer = threading.Thread(target=kill_first)
    killer.start()
    outcome = next(outcomes)
    killer.join()
    assert outcome.value == 0
    assert len(set(marks.read_text().split())) == 2


def test_a_task_that_kills_its_worker_is_given_up_and_those_that_waited_there_are_not_blamed(
    session: DaskSession, tmp_path: Path
):
    marks = tmp_path / "pids"
    poison = shell("poison", f"echo $PPID >> {marks}; sleep 0.2; kill -9 $PPID", starts=2)
    waiting = [shell(f"w{n}", f"echo {n} >> {tmp_path}/done; sleep 0.1") for n in range(12)]
    outcomes = {outcome.task.key: outcome for outcome in session.run([poison, *waiting])}
    error = outcomes.pop("poison").error
    assert isinstance(error, WorkerError) and "died 2 times" in error.message
    assert len(marks.read_text().split()) == 2
    assert [outcome.error for outcome in outcomes.values()] == [None] * 12


def test_a_task_whose_result_dies_with_its_worker_is_not_blamed_for_that(
    session: DaskSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    marks = tmp_path / "pids"
    task = shell("done", f"echo $PPID >> {marks}", starts=1)

    settle = Flight.settle

    def after_a_death(flight: Flight, ended: list[Future]) -> list[Outcome]:
        if ended and marks.read_text().count("\n") == 1:
            os.kill(int(marks.read_text()), signal.SIGKILL)
            time.sleep(1.0)
        return settle(flight, ended)

    monkeypatch.setattr(Flight, "settle", after_a_death)
    (outcome,) = session.run([task])
    assert outcome.error is None
    assert len(set(marks.read_text().split())) == 2


def fails_to_load() -> None:
    raise ImportError("not on this worker")


class Unloadable:
    """Like a task's arguments of a package that the worker has not."""

    def __reduce__(self):
        return fails_to_load, ()


def test_a_task_that_fails_before_it_is_started_counts_as_started(session: DaskSession):
    (outcome,) = session.run([Task("odd", "builtins:dict", {"a": Unloadable()})])
    assert isinstance(outcome.error, WorkerError) and outcome.starts == 1


@contextmanager
def scheduler(folder: Path) -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=0, dashboard_address="127.0.0.1:0", local_directory=str(folder), silence_logs=50
    ) as cluster:
        yield cluster


@contextmanager
def worker(
    cluster: LocalCluster, folder: Path, *more: str, nanny: str = "--no-nanny", **environment: str
) -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.scheduler_address]
    options = [nanny, "--no-dashboard", "--nthreads", "2", "--local-directory", str(folder), *more]
    with (folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, *options],
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what its task has started too
        process.wait()


def resources(**values: float) -> tuple[str, str]:
    return "--resources", " ".join(f"{name}={value}" for name, value in values.items())


def restrictions(cluster: LocalCluster, key: str) -> dict[str, float] | None:
    """Return what the newest try of a task asks of its worker."""
    tries = [task for name, task in sorted(cluster.scheduler.tasks.items()) if str(name).startswith(key)]
    return tries[-1].resource_restrictions if tries else None


def test_workers_that_are_for_some_stages_take_tasks_of_those_only_and_what_killed_one_goes_where_is_more_memory(
    tmp_path: Path,
):
    said: list[str] = []
    small, large = resources(fetch=1e9, memory_gib=1), resources(fetch=1e9, memory_gib=4)
    with scheduler(tmp_path) as cluster, ExitStack() as stack:
        section = Cluster(address=cluster.scheduler_address, pooled=True)
        session = stack.enter_context(
            DaskSession(section, scratch=tmp_path, say=said.append, warn_after_s=0.5)
        )
        assert session.workers() == ()
        stack.enter_context(worker(cluster, tmp_path, *resources(train=1e9, memory_gib=64)))
        first = stack.enter_context(worker(cluster, tmp_path, *small))
        until(lambda: len(session.workers()) == 2)
        (fetcher,) = session.workers("fetch")
        (trainer,) = session.workers("train")
        assert fetcher != trainer

        marks = tmp_path / "pids"
        tasks = [shell(f"f{n}", f"echo $PPID >> {marks}", stage="fetch") for n in range(12)]
        assert [outcome.error for outcome in session.run(tasks)] == [None] * 12
        assert set(marks.read_text().split()) == {str(first.pid)}
        assert not list(session.run([]))

        begun, go, second = tmp_path / "begun", tmp_path / "go", []

        def grow() -> None:
            wait_for(begun)
            second.append(stack.enter_context(worker(cluster, tmp_path, *large)))
            until(lambda: len(session.workers("fetch")) == 2)
            time.sleep(1.5)  # the session looks every second who is there
            go.touch()
            until(lambda: restrictions(cluster, "hungry") == {"fetch": 1, "memory_gib": 4})
            (tmp_path / "seen").touch()

        await_ = "while [ ! -e {} ]; do sleep 0.05; done".format
        die = f"echo $PPID >> {begun}; {await_(go)}; [ $PPID = {first.pid} ] && kill -9 $PPID"
        helper = threading.Thread(target=grow)
        helper.start()
        hungry = shell("hungry", f"{die}; {await_(tmp_path / 'seen')}", stage="fetch", starts=3)
        (outcome,) = session.run([hungry])
        helper.join()
        assert (outcome.value, outcome.starts) == (0, 2)
        assert begun.read_text().split() == [str(first.pid), str(second[0].pid)]

        second[0].kill()
        until(lambda: session.workers("fetch") == ())
        rest = session.run([Task("late", "builtins:dict", stage="fetch")])
        joined = threading.Timer(2.0, lambda: stack.enter_context(worker(cluster, tmp_path, *small)))
        joined.start()
        assert next(rest).value == {}
        joined.join()
        assert any("no Dask worker for fetch for" in text for text in said)


def test_a_scheduler_file_that_does_not_come_or_is_left_behind_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(joining, "CONNECT_S", 0.3)
    monkeypatch.setattr(joining, "STALE_S", 0.3)
    path = tmp_path / "scheduler.json"
    section = Cluster(address=str(path), pooled=True)
    with pytest.raises(WorkerError, match="is not there"):
        DaskSession(section, scratch=tmp_path)
    path.write_text("{")
    with pytest.raises(WorkerError, match="does not hold the address"):
        DaskSession(section, scratch=tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        path.write_text(json.dumps({"address": f"tcp://127.0.0.1:{taken.getsockname()[1]}"}))
        with pytest.raises(WorkerError, match="is stale: nobody answers at tcp://127") as caught:
            DaskSession(section, scratch=tmp_path)
    assert str(path) in caught.value.message and "remove the file" in caught.value.remedy
    monkeypatch.setattr(joining, "CONNECT_S", 60.0)
    with scheduler(tmp_path) as cluster:
        path.write_text(json.dumps({"address": cluster.scheduler_address}))
        with DaskSession(section, scratch=tmp_path) as session:
            assert session.workers("fetch") == ()


def test_two_drivers_of_one_scheduler_get_each_their_own_result(tmp_path: Path):
    with scheduler(tmp_path) as cluster, worker(cluster, tmp_path):
        section = Cluster(address=cluster.scheduler_address)
        with DaskSession(section, scratch=tmp_path) as one, DaskSession(section, scratch=tmp_path) as two:
            wait = f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done"
            running = one.run([shell("unit", f"echo > {tmp_path}/begun; {wait}; exit 3")])
            with ThreadPoolExecutor(1) as pool:
                first = pool.submit(next, running)
                try:
                    wait_for(tmp_path / "begun")
                    second = next(two.run([Task("unit", "builtins:dict", {"value": 2})]))
                    assert not first.done()
                finally:
                    (tmp_path / "go").touch()
    assert second.value == {"value": 2}
    assert "exit status 3" in first.result().error.message


def test_without_workers_the_user_is_told_and_the_run_ends(tmp_path: Path):
    said: list[str] = []
    with scheduler(tmp_path) as cluster, worker(cluster, tmp_path) as process:
        section = Cluster(address=cluster.scheduler_address)
        with DaskSession(
            section, scratch=tmp_path, say=said.append, warn_after_s=0.5, give_up_after_s=3.0
        ) as session:
            outcomes = session.run([shell("long", f"echo > {tmp_path}/begun; exec sleep 60", starts=2)])
            threading.Thread(target=lambda: (wait_for(tmp_path / "begun"), process.kill())).start()
            with pytest.raises(WorkerError, match="no Dask worker was there for"):
                next(outcomes)
    assert len(said) == 1


def test_a_worker_of_another_version_that_joins_late_ends_the_run(tmp_path: Path):
    other = tmp_path / "other" / "skymill-0.0.0.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: skymill\nVersion: 0.0.0\n")
    with scheduler(tmp_path) as cluster, worker(cluster, tmp_path):
        section = Cluster(address=cluster.scheduler_address)
        with DaskSession(section, scratch=tmp_path) as session:
            outcomes = session.run([shell("long", "exec sleep 120")])
            with (
                worker(cluster, tmp_path, PYTHONPATH=str(other.parent)),
                pytest.raises(WorkerError, match=r"has skymill 0\.0\.0 .*, the driver"),
            ):
                next(outcomes)


def test_a_scheduler_that_dies_ends_the_run_with_clear_words(tmp_path: Path):
    with scheduler(tmp_path) as cluster, worker(cluster, tmp_path):
        session = DaskSession(Cluster(address=cluster.scheduler_address), scratch=tmp_path)
        outcomes = session.run([shell("long", f"echo > {tmp_path}/begun; exec sleep 5")])
        closer = threading.Thread(target=lambda: (wait_for(tmp_path / "begun"), cluster.close()))
        closer.start()
        with pytest.raises(WorkerError, match=r"scheduler .* is gone"):
            next(outcomes)
        closer.join()
        with suppress(WorkerError):
            session.close()
