"""A session: some Dask workers, and a way to keep them busy with tasks.

The driver holds at most a few tasks a worker thread in flight, takes every outcome as it comes and lets
Dask forget it at once, so that neither the driver nor the scheduler grows with the survey.
"""

import contextlib
import logging
import queue
import secrets
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path
from types import TracebackType

import dask
from distributed import Client, Future, LocalCluster
from distributed.client import ClosedClientError
from distributed.scheduler import KilledWorker

from cluster import starts, tells
from cluster.rooms import check_rooms
from cluster.watch import GIVE_UP_AFTER_S, WARN_AFTER_S, Lack, Watch
from cluster.work import Outcome, Task
from schemas.config import Cluster
from schemas.environment import MALLOC
from schemas.errors import SkymillError, WorkerError

AHEAD = 2
"""Tasks in flight for each worker thread: one running, one waiting."""

SETTINGS = {
    "distributed.scheduler.worker-ttl": "60s",  # default 5 min: a cut-off worker would hold its block that long
    "distributed.worker.memory.target": False,  # products are on disk already; spilling would only hide a leak
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": 0.85,
    "distributed.worker.memory.terminate": 0.95,
    "distributed.comm.timeouts.connect": "30s",
    "distributed.admin.tick.limit": "10s",
    **{f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in MALLOC.items()},
}

LOOK_S = 1.0
"""How often [s] the workers are counted while no task ends."""
RESULT_S = 30.0
"""A result that does not come within this time [s] is lost with its worker, and made again."""
MOST_SUBMISSIONS = 10
"""Dask gives a task up when workers die where it only waits; it is handed in again, but not for ever."""
GONE = (OSError, CancelledError, ClosedClientError)

logger = logging.getLogger(__name__)


def _say_nothing(text: str) -> None:
    del text


class DaskSession:
    """Dask workers of a run.

    Parameters
    ----------
    cluster : Cluster
        The run file's section: local processes, or the address of a scheduler.
    scratch : Path
        Node-local folder for what workers may lose.
    say : callable
        Takes a warning to the user, as when all workers are gone; the log has it anyway.
    warn_after_s, give_up_after_s : float
        How long [s] to be without workers until that warning, and until `WorkerError`.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        scratch: Path,
        say: Callable[[str], None] = _say_nothing,
        warn_after_s: float = WARN_AFTER_S,
        give_up_after_s: float = GIVE_UP_AFTER_S,
    ) -> None:
        dask.config.set(SETTINGS)
        self._local: LocalCluster | None = None
        if cluster.address is None:
            scratch.mkdir(parents=True, exist_ok=True)
            self._local = LocalCluster(
                n_workers=cluster.workers,
                threads_per_worker=cluster.threads,
                processes=True,
                memory_limit=f"{cluster.memory_gib}GiB",
                dashboard_address="127.0.0.1:0",  # None would take, and complain of, port 8787
                local_directory=str(scratch),
                silence_logs=logging.ERROR,
            )
        self._address = cluster.address or "the local cluster"
        self.client = self._connect()
        self.client.register_plugin(starts.StartsPlugin(), name=starts.PLUGIN)
        self.client.register_plugin(tells.TellsPlugin(), name=tells.PLUGIN)
        self._watch = partial(Watch, say, warn_after_s=warn_after_s, give_up_after_s=give_up_after_s)
        self.watch = self._watch()
        self._checked: set[str] = set()
        self._count_threads()

    def watch_for(self, lack: Lack) -> Watch:
        """Return a watch for something else that may be lacking, as patient as the one for workers."""
        return self._watch(lack)

    def _connect(self) -> Client:
        try:
            client = Client(self._local or self._address, timeout="60s", set_as_default=False)
            client.wait_for_workers(1, timeout=120)
        except (OSError, TimeoutError) as error:
            raise WorkerError(
                f"no Dask worker answers ({self._address}): {error}",
                "check cluster.address, and that workers have joined that scheduler",
            ) from error
        return client

    def _count_threads(self) -> int:
        """Return the worker threads there are now, after a look at the workers that came since the last time."""
        with self.scheduler_answers():
            threads: dict[str, int] = self.client.nthreads()
        self.watch.see(len(threads))
        self._same_everywhere([worker for worker in threads if worker not in self._checked])
        return sum(threads.values())

    def _same_everywhere(self, workers: list[str]) -> None:
        if not workers:
            return
        here = check_rooms()
        with self.scheduler_answers():
            found = self.client.run(check_rooms, workers=workers, on_error="return")
        for worker, there in found.items():
            if isinstance(there, OSError):  # it is gone already
                continue
            if isinstance(there, SkymillError):
                raise WorkerError(f"worker {worker}: {there.message}", there.remedy)
            if there != here:
                raise WorkerError(
                    f"worker {worker} has skymill {there}, the driver {here}",
                    "install the same version on both",
                )
            self._checked.add(worker)

    @contextlib.contextmanager
    def scheduler_answers(self) -> Iterator[None]:
        """Turn the loss of the scheduler into a `WorkerError` that says so."""
        try:
            yield
        except GONE as error:
            raise self._gone(str(error)) from error

    def _gone(self, why: str) -> WorkerError:
        return WorkerError(
            f"the Dask scheduler ({self._address}) is gone: {why}",
            "start it and its workers, then run the same command again; what is done stays done",
        )

    def run(self, tasks: Iterable[Task]) -> Generator[Outcome]:
        """Run tasks, yielding each outcome as it comes.

        `tasks` is consumed only as fast as workers take it. A task that dies with its worker is started
        again, ``task.starts`` times in all; one that only waited there is not blamed.

        Raises
        ------
        WorkerError
            If the scheduler is gone, there is no worker for too long, or one has another skymill.
        """
        flight = _Flight(self.client)
        source = iter(tasks)
        try:
            while self._fill(source, flight) or flight.running:
                future = self._next(flight)
                task = flight.running[future]
                with self.scheduler_answers():
                    outcome = self._outcome(task, future, flight)
                if outcome is not None:
                    del flight.running[future]
                    yield outcome
                    future.release()
        finally:
            flight.cancel()

    def _fill(self, source: Iterator[Task], flight: "_Flight") -> bool:
        room = AHEAD * max(1, self._count_threads()) - len(flight.running)
        added = False
        while room > 0 and (task := next(source, None)) is not None:
            with self.scheduler_answers():
                flight.submit(task)
            room, added = room - 1, True
        return added

    def _next(self, flight: "_Flight") -> Future:
        while True:
            try:
                return flight.ended.get(timeout=LOOK_S)
            except queue.Empty:
                self._count_threads()

    def _outcome(self, task: Task, future: Future, flight: "_Flight") -> Outcome | None:
        """Return what became of a task; None if it is under way again."""
        if future.status != "error":  # a result that was lost is made again by Dask
            try:
                return Outcome(task, value=future.result(timeout=RESULT_S))
            except TimeoutError:
                flight.follow(future)
                return None
        error = future.exception()
        count = starts.starts(self.client, flight.name(task))
        if isinstance(error, KilledWorker):
            if count < task.starts and flight.submissions(task) < MOST_SUBMISSIONS:
                del flight.running[future]
                flight.submit(task)
                return None
            error = starts.too_many_deaths(count or flight.submissions(task))
            count = task.starts
        logger.warning("task %s failed: %s: %s", task.key, type(error).__name__, error)
        if not isinstance(error, SkymillError):
            error = WorkerError(f"{type(error).__name__}: {error}", "see the workers' logs in the run folder")
        if isinstance(error, WorkerError):
            error = WorkerError(f"{task.key}: {error.message}", error.remedy)
        return Outcome(task, error=error, starts=max(1, count))

    def close(self) -> None:
        """Let the workers go."""
        with contextlib.suppress(TimeoutError, OSError):
            self.client.close(timeout=5)
        if self._local is not None:
            with contextlib.suppress(TimeoutError, OSError):
                self._local.close(timeout=10)

    def __enter__(self) -> "DaskSession":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Flight:
    """The tasks of one call of `DaskSession.run` that are under way.

    Their names are unlike those of any other driver: Dask gives the same future to all who use one key.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._nonce = secrets.token_hex(8)
        self._submissions: Counter[str] = Counter()
        self.running: dict[Future, Task] = {}
        self.ended: queue.SimpleQueue[Future] = queue.SimpleQueue()

    def name(self, task: Task) -> str:
        """Return the name of an attempt, by which its starts are counted."""
        return f"{task.key}-a{task.attempt}-{self._nonce}"

    def submissions(self, task: Task) -> int:
        """Return how often an attempt was handed to Dask."""
        return self._submissions[self.name(task)]

    def submit(self, task: Task) -> None:
        """Hand a task to Dask."""
        name = self.name(task)
        self._submissions[name] += 1
        future = self._client.submit(
            starts.perform, task, name, self._client.id, key=f"{name}-{self._submissions[name]}", pure=False
        )
        self.running[future] = task
        self.follow(future)

    def follow(self, future: Future) -> None:
        """Have a future put into `ended` once its status is settled."""
        future.add_done_callback(self.ended.put)

    def cancel(self) -> None:
        """Let go of all that is under way; the scheduler may be gone, then it is lost anyway."""
        if self.running:
            with contextlib.suppress(Exception):
                self._client.cancel(list(self.running), force=True)
