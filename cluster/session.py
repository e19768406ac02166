"""A session: some Dask workers, and a way to keep them busy with tasks.

The driver holds at most a few tasks a worker thread in flight, takes every outcome as it comes and lets
Dask forget it at once, so that neither the driver nor the scheduler grows with the survey.
"""

import contextlib
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path
from types import TracebackType

import dask
from distributed.client import ClosedClientError

from cluster import attendance, starts, tells
from cluster.attendance import Present
from cluster.bundles import Bundler, Supply
from cluster.flight import Flight
from cluster.joining import connect, start_workers
from cluster.rooms import check_rooms
from cluster.watch import GIVE_UP_AFTER_S, WARN_AFTER_S, Lack, Watch, no_worker_for
from cluster.work import Outcome, Task
from schemas.config import Cluster
from schemas.environment import MALLOC
from schemas.errors import SkymillError, WorkerError

AHEAD = 2
"""Tasks in flight for each worker thread, or bundles of tiny ones: one running, one waiting."""

SETTINGS = {
    "distributed.scheduler.worker-ttl": "60s",  # default 5 min: a cut-off worker would hold its block that long
    "distributed.worker.memory.target": False,  # products are on disk already; spilling would only hide a leak
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": 0.85,
    "distributed.worker.memory.terminate": 0.95,
    "distributed.comm.timeouts.connect": "30s",
    "distributed.admin.tick.limit": "10s",
    "distributed.deploy.lost-worker-timeout": "1 day",  # 15 s: a slow machine's nanny would be ended meanwhile
    **{f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in MALLOC.items()},
}

LOOK_S = 1.0
"""How often [s] it is looked who is there."""
FIRST_S = 120.0
"""How long [s] the first worker of a scheduler that is named is waited for."""
GONE = (OSError, CancelledError, ClosedClientError)


def _say_nothing(text: str) -> None:
    del text


class DaskSession:
    """Dask workers of a run.

    Parameters
    ----------
    cluster : Cluster
        The run file's section: local processes, jobs of a site, or a scheduler that is there already.
    scratch : Path
        Node-local folder for what workers may lose.
    logs : Path, optional
        Folder for the output of a site's jobs; by default `scratch`.
    say : callable
        Takes a warning to the user, as when all workers are gone; the log has it anyway.
    warn_after_s, give_up_after_s : float
        How long [s] to be without workers until that warning, and until `WorkerError`; jobs may wait in a queue for
        as long as they have to.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        scratch: Path,
        logs: Path | None = None,
        say: Callable[[str], None] = _say_nothing,
        warn_after_s: float = WARN_AFTER_S,
        give_up_after_s: float = GIVE_UP_AFTER_S,
    ) -> None:
        dask.config.set(SETTINGS)
        self._queued = cluster.pooled or cluster.site is not None
        self._pooled = cluster.pooled
        self._own = start_workers(cluster, scratch=scratch, logs=logs or scratch)
        self._address = cluster.address or cluster.site or "the local cluster"
        self._watch = partial(
            Watch,
            say,
            warn_after_s=warn_after_s,
            give_up_after_s=math.inf if self._queued else give_up_after_s,
        )
        self._watches: dict[str, Watch] = {}
        self._checked: set[str] = set()
        try:
            self._join()
        except BaseException:
            self.close()
            raise

    def _join(self) -> None:
        self.client = connect(self._own or self._address)
        if not self._queued:
            try:
                self.client.wait_for_workers(1, timeout=FIRST_S)
            except (OSError, TimeoutError) as error:
                raise WorkerError(
                    f"no Dask worker answers ({self._address}): {error}",
                    "check cluster.address, and that workers have joined that scheduler",
                ) from error
        self.client.register_plugin(attendance.AttendancePlugin(), name=attendance.PLUGIN)
        self.client.register_plugin(starts.StartsPlugin(), name=starts.PLUGIN)
        self.client.register_plugin(tells.TellsPlugin(), name=tells.PLUGIN)
        self.leaving: frozenset[str] = frozenset()
        self._present("")

    def watch(self, stage: str = "") -> Watch:
        """Return the watch for workers of a stage, or for any where they are not pooled."""
        stage = stage if self._pooled else ""
        if stage not in self._watches:
            self._watches[stage] = self._watch(no_worker_for(stage))
        return self._watches[stage]

    def watch_for(self, lack: Lack) -> Watch:
        """Return a watch for something else that may be lacking, as patient as the one for workers."""
        return self._watch(lack)

    def workers(self, stage: str = "") -> tuple[str, ...]:
        """Return the addresses of the workers that are for a stage: all of them, unless they are pooled.

        Raises
        ------
        WorkerError
            If the scheduler is gone.
        """
        return tuple(self._look(stage))

    def _look(self, stage: str) -> Mapping[str, Present]:
        with self.scheduler_answers():
            there = attendance.present(self.client)
        self.leaving = frozenset(address for address, worker in there.items() if worker.leaves)
        if not (stage and self._pooled):
            return there
        return {address: worker for address, worker in there.items() if stage in worker.resources}

    def _present(self, stage: str) -> Mapping[str, Present]:
        """Return the workers of a stage, after a look at those that came since the last time."""
        there = self._look(stage)
        self.watch(stage).see(len(there))
        self._same_everywhere([worker for worker in there if worker not in self._checked])
        return there

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

    def run(self, tasks: Iterable[Task] | Supply) -> Generator[Outcome]:
        """Run tasks of one stage, yielding each outcome as it comes.

        `tasks` is consumed only as fast as workers take it. A task that dies with its worker is started
        again, ``task.starts`` times in all, where there is more memory if some worker has more; one that only waited
        there is not blamed.

        Raises
        ------
        WorkerError
            If the scheduler is gone, there is no worker for too long, or one has another skymill.
        """
        with contextlib.closing(self.run_together(tasks)) as rounds:
            for outcomes in rounds:
                yield from outcomes

    def run_together(self, tasks: Iterable[Task] | Supply) -> Generator[list[Outcome]]:
        """Run tasks as `run` does, yielding those outcomes together that came together; never none.

        Workers have their next tasks before what they did is yielded.
        """
        bundler = Bundler(tasks)
        if (stage := bundler.stage()) is None:
            return
        flight = Flight(self.client, stage if self._pooled else "")
        try:
            while self._fill(bundler, flight):
                with self.scheduler_answers():
                    ended = flight.settle(flight.ended(LOOK_S))
                outcomes = [one for outcome in ended for one in bundler.open(outcome, flight.threads)]
                if outcomes:
                    self._fill(bundler, flight)
                    yield outcomes
        finally:
            flight.cancel()

    def _fill(self, bundler: Bundler, flight: Flight) -> bool:
        """Hand out as many tasks as there is room for; say whether any is under way."""
        if flight.blind_s >= LOOK_S:
            there = self._present(flight.stage)
            with self.scheduler_answers():
                flight.see(there)
        room = AHEAD * max(1, flight.threads) - len(flight)
        while room > 0 and (task := bundler.next()) is not None:
            with self.scheduler_answers():
                flight.submit(task)
            room -= 1
        return len(flight) > 0

    def close(self) -> None:
        """Let the workers go."""
        with contextlib.suppress(TimeoutError, OSError, AttributeError):
            self.client.close(timeout=5)
        if self._own is not None:
            with contextlib.suppress(TimeoutError, OSError):
                self._own.close(timeout=10)

    def __enter__(self) -> "DaskSession":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
