"""Groups on real Dask workers that are killed, stopped, late, deaf, or of another version."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import LocalCluster

from cluster.errands import Errands
from cluster.generation import Generation, Hub, Verdict
from cluster.groups import GroupTask, Limits, run_groups
from cluster.members import Membership, be_member
from cluster.roster import Roster
from cluster.session import DaskSession
from cluster.tells import heard
from cluster.work import Outcome
from schemas.config import Cluster
from schemas.errors import ModelError, PeerLost, StoreError, WorkerError
from schemas.records import Place

sys.path.insert(0, str(Path(__file__).parent))

from group_member import set_status, wait_for

HERE = Path(__file__).parent
QUICK = Limits(
    grace_s=0.0,
    words_s=2.0,
    ping_every_s=1.0,
    silent_s=3.0,
    alarmed_s=2.0,
    end_s=1.5,
    seat_s=6.0,
    busy_s=1.0,
    grow_after_s=0.0,
    settle_s=0.0,
)
KEEP_STEP, BE_DEAF, BE_MUTE = (f"group_member:{name}" for name in ("keep_step", "be_deaf", "be_mute"))


@contextmanager
def a_scheduler(folder: Path) -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=0, dashboard_address="127.0.0.1:0", local_directory=str(folder), silence_logs=50
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A scheduler without workers; each test has its own join."""
    with a_scheduler(tmp_path_factory.mktemp("scheduler")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskSession]:
    """A session of three workers, for the tests that leave them as they are."""
    folder = tmp_path_factory.mktemp("three")
    with a_scheduler(folder) as cluster, workers(cluster, folder, 3), session(cluster, folder, 3) as session_:
        yield session_


@pytest.fixture(scope="module")
def nannied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskSession]:
    """A session of two workers whose nannies start them again."""
    folder = tmp_path_factory.mktemp("nannied")
    with (
        a_scheduler(folder) as cluster,
        workers(cluster, folder, 2, "--nanny"),
        session(cluster, folder, 2) as session_,
    ):
        yield session_


@contextmanager
def workers(
    cluster: LocalCluster, folder: Path, count: int, *options: str, path: str = ""
) -> Iterator[list[subprocess.Popen]]:
    """Worker processes, without nannies unless ``--nanny`` is among the options; `path` goes first for imports."""
    command = [
        sys.executable,
        "-m",
        "distributed.cli.dask_worker",
        cluster.scheduler_address,
        "--nthreads",
        "1",
        "--memory-limit",
        "0",
    ]
    if "--nanny" not in options:
        options = (*options, "--no-nanny")
    names = [f"w{secrets.token_hex(4)}" for _ in range(count)]
    with ExitStack() as stack:
        log = stack.enter_context((folder / "workers.log").open("ab"))
        processes = [
            subprocess.Popen(
                [*command, *options, "--no-dashboard", "--local-directory", str(folder), "--name", name],
                env={**os.environ, "PYTHONPATH": f"{path}:{HERE}"},
                stdout=log,
                stderr=log,
            )
            for name in names
        ]
        try:
            yield processes
        finally:
            for process in processes:
                for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                    with contextlib.suppress(psutil.NoSuchProcess):  # a child that ended with its worker
                        each.kill()
            for process in processes:
                process.wait()
            until(lambda: not {state.name for state in cluster.scheduler.workers.values()} & {*names})


@contextmanager
def session(cluster: LocalCluster, folder: Path, count: int, **more: Any) -> Iterator[DaskSession]:
    with DaskSession(Cluster(address=cluster.scheduler_address), scratch=folder, **more) as session:
        session.client.wait_for_workers(count, timeout=30)
        yield session


def until(true: Callable[[], Any], within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def steps(folder: Path, count: int, key: str = "group", **more: Any) -> GroupTask:
    settings = {name: more.pop(name) for name in ("attempts", "first_generation", "growable") if name in more}
    return GroupTask(key, KEEP_STEP, {"folder": str(folder / key), "steps": count, **more}, **settings)


class Drive:
    """A call of `run_groups` in a thread of its own, and what it said."""

    def __init__(self, session: DaskSession, tasks: list[GroupTask], limits: Limits = QUICK) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.outcomes: list[Outcome] = []
        self.error: BaseException | None = None
        self._generator = run_groups(
            session, iter(tasks), regroup=self._regroup, on_event=self._hear, limits=limits
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.outcomes.extend(self._generator)
        except BaseException as error:
            self.error = error

    def _regroup(self, task: GroupTask, generation: int) -> None:
        Path(task.arguments["folder"], f"regroup-{generation}").touch()

    def _hear(self, task: GroupTask, event: Any) -> None:
        self.events.append((task.key, {**event, "at": time.monotonic()}))

    def heard(self, event: str, **like: Any) -> list[dict[str, Any]]:
        return [
            found
            for _, found in list(self.events)
            if found["event"] == event and like.items() <= found.items()
        ]

    def pid(self, generation: int, rank: int) -> int:
        until(lambda: self.heard("begun", generation=generation, rank=rank))
        return self.heard("begun", generation=generation, rank=rank)[0]["pid"]

    def end(self, within_s: float = 60.0) -> list[Outcome]:
        self._thread.join(within_s)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.outcomes


def test_all_workers_are_members_with_ranks_and_addresses_of_their_own(three: DaskSession, tmp_path: Path):
    drive = Drive(three, [steps(tmp_path, 20, first_generation=7)])
    (outcome,) = drive.end()
    assert outcome.error is None and outcome.value.last == 20
    place = outcome.value.place
    assert (place.rank, place.size, place.generation) == (0, 3, 7)
    members = [line.split() for line in (tmp_path / "group" / "members").read_text().splitlines()]
    assert sorted(int(rank) for _, rank, *_ in members) == [0, 1, 2]
    assert len({pid for *_, pid, _ in members}) == 3
    assert {address for *_, address in members} == set(place.members) and len(set(place.members)) == 3
    assert all(address.startswith("127.0.0.1:") for address in place.members)
    assert [event["step"] for event in drive.heard("checkpoint")] == [5, 10, 15, 20]
    (begun,) = drive.heard("generation")
    assert (begun["generation"], begun["members"], begun["why"]) == (7, 3, "")


def test_without_a_replacement_those_that_are_left_go_on_from_the_last_durable_step(
    scheduler, tmp_path: Path
):
    with workers(scheduler, tmp_path, 2), session(scheduler, tmp_path, 2) as dask_session:
        drive = Drive(dask_session, [steps(tmp_path, 10**6)])
        until(lambda: drive.heard("checkpoint", step=20))
        killed = time.monotonic()
        os.kill(drive.pid(1, 1), signal.SIGKILL)
        until(lambda: drive.heard("checkpoint", generation=2))
        (tmp_path / "group" / "enough").touch()
        (outcome,) = drive.end()
    second = drive.heard("generation", generation=2)[0]
    assert second["members"] == 1 and "is gone" in second["why"]
    assert second["at"] - killed < 15
    assert outcome.value.first >= 20 and outcome.value.place.size == 1
    assert outcome.starts == 2


def test_a_stopped_worker_is_left_out_and_a_member_again_once_it_wakes_up(scheduler, tmp_path: Path):
    with workers(scheduler, tmp_path, 2), session(scheduler, tmp_path, 2) as dask_session:
        drive = Drive(dask_session, [steps(tmp_path, 10**6)])
        until(lambda: drive.heard("checkpoint", step=20))
        sleeper, stopped = drive.pid(1, 1), time.monotonic()
        os.kill(sleeper, signal.SIGSTOP)
        until(lambda: drive.heard("generation", generation=2))
        second = drive.heard("generation", generation=2)[0]
        assert second["members"] == 1 and "does not answer" in second["why"]
        assert second["at"] - stopped < 12
        until(lambda: drive.heard("checkpoint", generation=2))
        os.kill(sleeper, signal.SIGCONT)
        assert drive.pid(3, 0) == sleeper or drive.pid(3, 1) == sleeper
        (tmp_path / "group" / "enough").touch()
        (outcome,) = drive.end()
    assert outcome.value.place.size == 2


def test_tasks_work_side_by_side_on_workers_of_their_own(three: DaskSession, tmp_path: Path):
    tasks = [steps(tmp_path, 30, key=f"t{n}") for n in range(2)]
    two = Drive(three, tasks).end()
    assert sorted(outcome.value.place.size for outcome in two) in ([1, 2], [2, 3], [1, 3])
    pids = [
        {line.split()[3] for line in (tmp_path / f"t{n}/members").read_text().splitlines() if line[0] == "1"}
        for n in range(2)
    ]
    assert len(pids[0] | pids[1]) == 3 and not pids[0] & pids[1]
    taken: list[int] = []

    def many() -> Iterator[GroupTask]:
        for n in range(7):
            taken.append(n)
            yield steps(tmp_path, 5, key=f"m{n}")

    outcomes = run_groups(three, many(), regroup=lambda *_: None, on_event=lambda *_: None, limits=QUICK)
    first = next(outcomes)
    assert len(taken) <= 6
    assert {first.task.key, *(outcome.task.key for outcome in outcomes)} == {f"m{n}" for n in range(7)}


def test_an_error_with_a_remedy_ends_the_task_though_a_peer_spoke_first(three: DaskSession, tmp_path: Path):
    tasks = [steps(tmp_path, 20, fails={0: "PeerLost", 1: "ModelError"})]
    drive = Drive(three, tasks)
    (outcome,) = drive.end()
    assert isinstance(outcome.error, ModelError) and outcome.error.remedy == "mend it"
    assert [event["members"] for event in drive.heard("generation")] == [3, 2]


def test_an_error_that_all_members_meet_ends_the_task_at_once(three: DaskSession, tmp_path: Path):
    drive = Drive(three, [steps(tmp_path, 20, fails=dict.fromkeys(range(3), "ModelError"))])
    (outcome,) = drive.end()
    assert isinstance(outcome.error, ModelError)
    assert len(drive.heard("generation")) == 1


def test_a_full_disk_of_rank_0_costs_one_generation_more(three: DaskSession, tmp_path: Path):
    drive = Drive(three, [steps(tmp_path, 20, fails={0: "StoreError"})])
    (outcome,) = drive.end()
    assert isinstance(outcome.error, StoreError)
    assert len(drive.heard("generation")) == 2


@pytest.mark.parametrize("kind", ["WorkerError", "StoreError"])
def test_a_worker_whose_members_fail_is_left_out(three: DaskSession, tmp_path: Path, kind: str):
    bad = next(iter(three.client.nthreads()))
    drive = Drive(
        three,
        [steps(tmp_path, 40, bad={bad: kind}, attempts=2)],
        replace(QUICK, bar_s=0.5),
    )
    (outcome,) = drive.end()
    assert outcome.error is None and outcome.value.last == 40
    sizes = [event["members"] for event in drive.heard("generation")]
    assert sizes[:2] == [3, 2] and bad in drive.heard("generation")[1]["why"]


def test_generations_without_a_new_step_are_bounded_and_progress_renews_them(
    three: DaskSession, tmp_path: Path
):
    stuck = Drive(three, [steps(tmp_path, 20, fails={1: "WorkerError"}, attempts=2)])
    (outcome,) = stuck.end()
    assert isinstance(outcome.error, WorkerError)
    assert (
        "given up after 2 generations" in outcome.error.message and "rank 1 failed" in outcome.error.message
    )
    assert len(stuck.heard("generation")) == 2
    slow = Drive(
        three,
        [steps(tmp_path, 7, key="slow", fails={1: "WorkerError"}, attempts=2, every=1)],
        replace(QUICK, bar_s=0.0),
    )
    (outcome,) = slow.end()
    assert outcome.value.last == 7 and len(slow.heard("generation")) > 2


def test_the_orphan_of_a_killed_driver_is_ended_and_a_new_one_goes_on(scheduler, tmp_path: Path):
    driver = f"""
import sys; sys.path.insert(0, {str(HERE)!r})
from pathlib import Path
from cluster.groups import run_groups
from cluster.session import DaskSession
from schemas.config import Cluster
from cluster.groups import GroupTask
task = GroupTask("group", {KEEP_STEP!r}, {{"folder": {str(tmp_path / "group")!r}, "steps": 10**6}})
with DaskSession(Cluster(address={scheduler.scheduler_address!r}), scratch=Path({str(tmp_path)!r})) as session:
    list(run_groups(session, [task], regroup=lambda *_: None, on_event=lambda *_: None))
"""
    with workers(scheduler, tmp_path, 1), session(scheduler, tmp_path, 1) as dask_session:
        first = subprocess.Popen([sys.executable, "-c", driver])
        step = tmp_path / "group" / "step"
        try:
            until(step.exists)
        finally:
            first.kill()
            first.wait()
        at = int(step.read_text())
        drive = Drive(dask_session, [steps(tmp_path, at + 200, first_generation=2)])
        (outcome,) = drive.end()
        assert outcome.value.place.generation == 2 and outcome.value.first >= at
        assert (tmp_path / "group" / "ended-1-0").exists()


def other_keras(folder: Path) -> str:
    """Path to put before others for a worker that is to have another Keras."""
    home = folder / "other"
    (home / "keras-3.0.1.dist-info").mkdir(parents=True)
    (home / "keras-3.0.1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: keras\nVersion: 3.0.1\n"
    )
    return str(home)


def test_workers_of_two_versions_are_not_made_a_group(scheduler, tmp_path: Path):
    with (
        workers(scheduler, tmp_path, 1),
        workers(scheduler, tmp_path, 1, path=other_keras(tmp_path)),
        session(scheduler, tmp_path, 2) as dask_session,
        pytest.raises(WorkerError, match=r"keras 3\.0\.1") as caught,
    ):
        Drive(dask_session, [steps(tmp_path, 5)]).end()
    assert caught.value.message.count("worker tcp://") == 2 and caught.value.message.count("keras 3.") == 2
    assert "install the same versions" in caught.value.remedy


def test_a_late_worker_gets_in_at_the_next_boundary_but_not_one_of_another_version(
    scheduler, tmp_path: Path, caplog
):
    with workers(scheduler, tmp_path, 1), session(scheduler, tmp_path, 1) as dask_session:
        drive = Drive(dask_session, [steps(tmp_path, 10**6)])
        until(lambda: drive.heard("checkpoint", step=20))
        with workers(scheduler, tmp_path, 1, path=other_keras(tmp_path)):
            until(lambda: "is left out: keras 3.0.1 against keras" in caplog.text)
            assert not list((tmp_path / "group").glob("regroup-*"))
            with workers(scheduler, tmp_path, 1):
                until(lambda: drive.heard("checkpoint", generation=2))
                (tmp_path / "group" / "enough").touch()
                (outcome,) = drive.end()
    assert [event["members"] for event in drive.heard("generation")] == [1, 2]
    assert outcome.value.first % 5 == 0 and outcome.value.first >= 20
    assert len((tmp_path / "group" / "members").read_text().splitlines()) == 3


def test_leaving_early_ends_the_members(three: DaskSession, tmp_path: Path):
    tasks = [steps(tmp_path, 50, key="short"), steps(tmp_path, 10**6, key="long")]
    limits = replace(QUICK, end_s=20.0)
    outcomes = run_groups(three, tasks, regroup=lambda *_: None, on_event=lambda *_: None, limits=limits)
    with contextlib.closing(outcomes):
        assert next(outcomes).task.key == "short"
        until((tmp_path / "long" / "step").exists)
    assert list((tmp_path / "long").glob("ended-*"))
    until(lambda: not any(three.client.processing().values()))


def test_a_nannys_replacement_is_waited_for(nannied: DaskSession, tmp_path: Path):
    drive = Drive(nannied, [steps(tmp_path, 10**6)], Limits(grace_s=60.0))
    until(lambda: drive.heard("checkpoint", step=20))
    os.kill(drive.pid(1, 0), signal.SIGKILL)  # rank 0 itself
    until(lambda: drive.heard("checkpoint", generation=2), within_s=90)
    (tmp_path / "group" / "enough").touch()
    (outcome,) = drive.end()
    assert [event["members"] for event in drive.heard("generation")] == [2, 2]
    assert outcome.value.first >= 20 and outcome.value.place.size == 2


def test_a_member_that_does_not_end_costs_its_worker_and_no_more(nannied: DaskSession, tmp_path: Path):
    nannied.client.wait_for_workers(2, timeout=30)
    drive = Drive(nannied, [GroupTask("deaf", BE_DEAF, {"folder": str(tmp_path)})], replace(QUICK, bar_s=0.1))
    (outcome,) = drive.end()
    assert outcome.value == 1  # the other member
    deaf = drive.pid(1, 1)
    until(lambda: not psutil.pid_exists(deaf))


def test_without_workers_it_waits_and_in_the_end_gives_up(scheduler, tmp_path: Path):
    said: list[str] = []
    more = {"say": said.append, "warn_after_s": 0.5, "give_up_after_s": 5.0}
    with workers(scheduler, tmp_path, 1), session(scheduler, tmp_path, 1, **more) as dask_session:
        drive = Drive(dask_session, [steps(tmp_path, 10**6)])
        os.kill(drive.pid(1, 0), signal.SIGKILL)
        with pytest.raises(WorkerError, match="no Dask worker was there"):
            drive.end()
    assert sum("no Dask worker" in text for text in said) == 1


def test_paused_workers_have_no_room_and_the_user_hears_of_it(three: DaskSession, tmp_path: Path):
    said: list[str] = []
    with DaskSession(
        Cluster(address=three.client.scheduler.address),
        scratch=tmp_path,
        say=said.append,
        warn_after_s=0.5,
        give_up_after_s=2.0,
    ) as impatient:
        three.client.run(set_status, "paused")
        try:
            drive = Drive(impatient, [steps(tmp_path, 5)])
            with pytest.raises(WorkerError, match="no worker had room for a trainer"):
                drive.end(within_s=15)
        finally:
            three.client.run(set_status, "running")
    assert len(said) == 1 and "no worker has room for a trainer" in said[0]
    assert not drive.heard("generation") and not (tmp_path / "group").exists()


def test_a_generation_with_a_member_that_does_not_begin_is_ended(three: DaskSession, tmp_path: Path):
    errands, limits = Errands(three.client), replace(QUICK, begin_s=3.0)
    roster = Roster(errands, limits)
    hub = Hub(errands, roster, limits, "nonce", lambda *_: None, three.scheduler_answers)
    works, waits, _ = three.client.nthreads()
    roster.update([works, waits], time.monotonic())
    three.client.run(set_status, "paused", workers=[waits])
    try:
        seats = {works: "127.0.0.1:0", waits: "127.0.0.1:0"}
        generation = Generation(steps(tmp_path, 5), 1, seats=seats, devices=dict.fromkeys(seats), hub=hub)
        verdicts: list[Verdict | None] = []

        def judged() -> Verdict | None:
            for event in heard(three.client):
                generation.hear(event["rank"])
            verdicts.append(generation.judge(time.monotonic()))
            return verdicts[-1]

        until(judged, within_s=10)
        generation.dismiss("it is over")
        until(lambda: generation.dismissed)
        generation.close()
    finally:
        three.client.run(set_status, "running", workers=[waits])
    verdict = verdicts[-1]
    assert verdict is not None and verdict.unbegun == (waits,) and not verdict.failed


def test_two_drivers_that_take_the_same_seats_both_come_to_their_end(three: DaskSession, tmp_path: Path):
    with DaskSession(Cluster(address=three.client.scheduler.address), scratch=tmp_path) as other:
        drives = [
            Drive(session_, [steps(tmp_path, 10, key=key)], replace(QUICK, begin_s=3.0))
            for key, session_ in (("one", three), ("two", other))
        ]
        outcomes = [outcome for drive in drives for outcome in drive.end()]
    assert [outcome.value.last for outcome in outcomes] == [10, 10]


def test_a_member_that_is_never_heard_again_is_left_out(three: DaskSession):
    drive = Drive(three, [GroupTask("mute", BE_MUTE)], replace(QUICK, mute_s=3.0))
    (outcome,) = drive.end()
    assert outcome.value == 2
    assert "member 1" in drive.heard("generation")[1]["why"]


def test_a_group_that_cannot_grow_is_not_asked_to(three: DaskSession, tmp_path: Path):
    tasks = [steps(tmp_path, 5, key="short"), steps(tmp_path, 150, key="long", growable=False)]
    assert len(Drive(three, tasks).end()) == 2
    assert not list((tmp_path / "long").glob("regroup-*"))


def test_a_busy_worker_keeps_no_idle_one_out_and_a_young_generation_is_let_be(scheduler, tmp_path: Path):
    enough = tmp_path / "group" / "enough"
    limits = replace(QUICK, grow_after_s=2.5)
    with workers(scheduler, tmp_path, 2), session(scheduler, tmp_path, 2) as dask_session:
        busy = next(iter(dask_session.client.nthreads()))
        task = dask_session.client.submit(wait_for, str(enough), workers=[busy])
        until(lambda: any(dask_session.client.processing([busy]).values()))
        drive = Drive(dask_session, [steps(tmp_path, 10**6)], limits)
        until(lambda: drive.heard("checkpoint"))
        with workers(scheduler, tmp_path, 1):
            until(lambda: drive.heard("checkpoint", generation=2))
            enough.touch()
            drive.end()
        task.release()
    first, second, *_ = drive.heard("generation")
    assert (first["members"], second["members"]) == (1, 2)
    assert second["at"] - first["at"] >= 2.5


def test_a_cancelled_member_of_a_worker_that_wakes_up_starts_nothing(scheduler, tmp_path: Path):
    with workers(scheduler, tmp_path, 1) as (process,), session(scheduler, tmp_path, 1) as dask_session:
        client, task = dask_session.client, steps(tmp_path, 5)
        membership = Membership(task.key, "nonce", client.id, Place(0, ("127.0.0.1:0",), 1, None))
        os.kill(process.pid, signal.SIGSTOP)
        future = client.submit(be_member, task.work, task.arguments, membership, key=membership.name)
        until(lambda: any(client.processing().values()))
        future.cancel(force=True)
        until(lambda: not any(client.processing().values()))
        os.kill(process.pid, signal.SIGCONT)
        assert client.submit(len, "abc").result(timeout=30) == 3
    assert not (tmp_path / "group").exists()


def test_a_member_whose_result_dies_with_its_worker_is_not_begun_again(scheduler, tmp_path: Path):
    with workers(scheduler, tmp_path, 1) as (process,), session(scheduler, tmp_path, 1) as dask_session:
        client, task = dask_session.client, steps(tmp_path, 5)
        membership = Membership(task.key, "nonce", client.id, Place(0, ("127.0.0.1:0",), 1, None))
        future = client.submit(be_member, task.work, task.arguments, membership, key=membership.name)
        until(lambda: future.status == "finished")
        with workers(scheduler, tmp_path, 1), pytest.raises(PeerLost, match="begun before"):
            process.kill()
            until(lambda: future.status == "error")
            future.result(timeout=30)
    assert len((tmp_path / "group" / "members").read_text().splitlines()) == 1
