"""How often a task was started, counted in the scheduler; this is how deaths of workers are told from waits.

A worker may die of its task. Dask blames every task the worker held, those that only waited there too; so the
count is kept here, of starts, told to the scheduler before the work begins.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from distributed import Client, SchedulerPlugin, Worker, get_worker

from cluster.work import Task, find
from schemas.errors import WorkerError

PLUGIN = "skymill-starts"


@dataclass(frozen=True)
class _Start:
    """What a thread of this worker is at, and since when."""

    driver: str
    name: str
    at_s: float


_under_way: dict[str, _Start] = {}
"""By key, the tasks that this process performs."""


class StartsPlugin(SchedulerPlugin):
    """Count the starts of every client's tasks for as long as the client is there."""

    name = PLUGIN
    idempotent = True

    async def start(self, scheduler: Any) -> None:
        """Add the handlers when the plug-in is registered."""
        self._counts: dict[str, Counter[str]] = defaultdict(Counter)
        self._scheduler = scheduler
        scheduler.handlers.update(
            {
                "skymill_begin": self._begin,
                "skymill_take_back": self._take_back,
                "skymill_starts": self._starts,
                "skymill_wanted": self._wanted,
            }
        )

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Forget the counts of a client that left."""
        self._counts.pop(client, None)

    def transition(self, key: Any, start: str, finish: str, *args: Any, **others: Any) -> None:
        """Forget the start of a task that has ended well: if its result dies with the worker, it is not to blame."""
        if start == "processing" and finish == "memory":
            for counts in self._counts.values():
                counts.pop(key, None)

    def _begin(self, driver: str, name: str) -> int:
        self._counts[driver][name] += 1
        return self._counts[driver][name]

    def _take_back(self, driver: str, name: str) -> None:
        if self._counts[driver][name] > 0:
            self._counts[driver][name] -= 1

    def _starts(self, driver: str, name: str) -> int:
        return self._counts[driver][name]

    def _wanted(self, key: str) -> bool:
        return key in self._scheduler.tasks


def starts(client: Client, name: str) -> int:
    """Return how often the task `name` of this client was started."""
    return int(client.sync(client.scheduler.skymill_starts, driver=client.id, name=name))


def perform(task: Task, name: str, driver: str) -> Any:
    """Do a task in this worker, unless it was started as often as it may be.

    Raises
    ------
    WorkerError
        If no start is left: as many workers died at it.
    """
    if begin(driver, name) > task.starts:
        raise too_many_deaths(task.starts)
    key = get_worker().get_current_task()
    _under_way[key] = _Start(driver, name, time.monotonic())
    try:
        return find(task.work)(**task.arguments)
    finally:
        _under_way.pop(key, None)


async def take_back(worker: Worker, keys: Iterable[str], most_s: float) -> None:
    """Let the starts of tasks not count that this worker leaves to others in order, at its walltime.

    One that it was at for longer than `most_s` [s] counts: it would not be done by another one in time either.

    Raises
    ------
    OSError
        If the scheduler is gone.
    """
    for key in keys:
        start = _under_way.get(key)
        if start is not None and time.monotonic() - start.at_s < most_s:
            await worker.scheduler.skymill_take_back(driver=start.driver, name=start.name)


def begin(driver: str, name: str) -> int:
    """Count a start from a task's thread; return which one it is, from 1.

    Under the name of a Dask task it is forgotten when that task has ended well.
    """
    worker = get_worker()
    return int(_asked(worker, worker.scheduler.skymill_begin(driver=driver, name=name)))


def wanted() -> bool:
    """Say, in a task's thread, whether the scheduler still knows the task: else it was cancelled."""
    worker = get_worker()
    return bool(_asked(worker, worker.scheduler.skymill_wanted(key=worker.get_current_task())))


def _asked(worker: Worker, answer: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run_coroutine_threadsafe(answer, worker.loop.asyncio_loop).result()


def too_many_deaths(count: int) -> WorkerError:
    """Return the error of a task whose worker died again and again."""
    return WorkerError(
        f"its worker died {count} times while at it",
        "see the workers' logs in the run folder; if they ran out of memory, raise cluster.memory_gib; if they were at "
        "their walltime, ask for a longer one, or for smaller blocks",
    )
