"""A session: some Dask workers, and a way to keep them busy with tasks.

The driver holds at most a few tasks a worker thread in flight, takes every outcome as it comes and lets
Dask forget it at once, so that neither the driver nor the scheduler grows with the survey.
"""

import contextlib
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

import dask
from distributed import Client, Future, LocalCluster, as_completed

from cluster.rooms import check_rooms
from cluster.work import Outcome, Task, perform
from schemas.config import Cluster
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
}

logger = logging.getLogger(__name__)


class DaskSession:
    """Dask workers of a run.

    Parameters
    ----------
    cluster : Cluster
        The run file's section: local processes, or the address of a scheduler.
    scratch : Path
        Node-local folder for what workers may lose.
    """

    def __init__(self, cluster: Cluster, *, scratch: Path) -> None:
        self._section = cluster
        dask.config.set({**SETTINGS, "distributed.scheduler.allowed-failures": cluster.attempts})
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
        self.client = self._connect(cluster.address)
        self._same_everywhere()

    def _connect(self, address: str | None) -> Client:
        try:
            client = Client(self._local or address, timeout="60s", set_as_default=False)
            client.wait_for_workers(1, timeout=120)
        except (OSError, TimeoutError) as error:
            raise WorkerError(
                f"no Dask worker answers at {address or 'the local cluster'}: {error}",
                "check cluster.address, and that workers have joined that scheduler",
            ) from error
        return client

    def _same_everywhere(self) -> None:
        here = check_rooms()
        for worker, there in self.client.run(check_rooms).items():
            if there != here:
                raise WorkerError(
                    f"worker {worker} has skymill {there}, the driver {here}",
                    "install the same version on both",
                )

    @property
    def threads(self) -> int:
        """Number of worker threads there are now."""
        return max(1, sum(self.client.nthreads().values()))

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Run tasks, yielding each outcome as it comes.

        `tasks` is consumed only as fast as workers take it. A task that dies with its worker is tried
        again by Dask, up to ``cluster.attempts`` times.
        """
        pending = as_completed([], loop=self.client.loop)
        running: dict[Future, Task] = {}
        source = iter(tasks)
        try:
            while self._fill(source, running, pending) or running:
                future = next(pending)
                task = running.pop(future)
                yield _outcome(task, future)
                future.release()
        finally:
            if running:
                with contextlib.suppress(
                    Exception
                ):  # the scheduler may be gone; what is in flight is lost anyway
                    self.client.cancel(list(running), force=True)

    def _fill(self, source: Iterator[Task], running: dict[Future, Task], pending: as_completed) -> bool:
        added = False
        while len(running) < AHEAD * self.threads:
            task = next(source, None)
            if task is None:
                break
            future = self.client.submit(
                perform, task.work, task.arguments, key=f"{task.key}-a{task.attempt}", pure=False
            )
            running[future] = task
            pending.add(future)
            added = True
        return added

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


def _outcome(task: Task, future: Future) -> Outcome:
    if future.status == "finished":
        return Outcome(task, value=future.result())
    error = future.exception() if future.status == "error" else None
    if isinstance(error, SkymillError):
        return Outcome(task, error=error)
    what = f"{type(error).__name__}: {error}" if error else f"the task was {future.status}"
    logger.warning("task %s failed: %s", task.key, what)
    return Outcome(task, error=WorkerError(f"{task.key}: {what}", "see the workers' logs in the run folder"))
