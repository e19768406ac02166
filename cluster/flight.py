"""The tasks of one call of `DaskSession.run` that are under way: handed to Dask, followed, and handed in again."""

import asyncio
import contextlib
import logging
import math
import queue
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from distributed import Client, Future
from distributed.scheduler import KilledWorker

from cluster import starts
from cluster.attendance import MEMORY, Present, more_memory, offered, threads
from cluster.work import Outcome, Task
from schemas.errors import SkymillError, WorkerError

RESULT_S = 30.0
"""A result that does not come within this time [s] is lost with its worker, and made again."""
MOST_WAITS = 10
"""Dask gives a task up when workers die where it only waits; it is handed in again, but not for ever."""
STRANDED_S = 60.0
"""A task that asks for memory [GiB] that nobody offers any more for so long [s] asks for less."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Try:
    """A task as it is under way: its name in Dask, the deaths behind it, and the memory [GiB] it asks for."""

    task: Task
    name: str
    number: int = 1
    deaths: int = 0
    waits: int = 0
    memory_gib: float = 0.0
    since_s: float = math.inf


class Flight:
    """Tasks that are under way.

    Each time a task is handed to Dask it has another name, under which it may be started once: so a death always
    comes back here, where it is decided which worker may take the task next. The names are unlike those of any
    other driver: Dask gives the same future to all who use one key.

    Parameters
    ----------
    client : Client
        The driver's.
    stage : str
        What workers must be for; any will do if empty.
    """

    def __init__(self, client: Client, stage: str) -> None:
        self._client = client
        self.stage = stage
        self._nonce = secrets.token_hex(8)
        self._running: dict[Future, _Try] = {}
        self._ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._present: Mapping[str, Present] = {}
        self._seen_s = -math.inf
        self._offered_gib: list[float] = []
        self._least_gib = math.inf

    @property
    def blind_s(self) -> float:
        """How long ago [s] it was told who is there."""
        return time.monotonic() - self._seen_s

    @property
    def threads(self) -> int:
        """How many of the tasks can be worked on together."""
        return threads(self._present.values())

    def __len__(self) -> int:
        return len(self._running)

    def submit(self, task: Task) -> None:
        """Hand a task to Dask."""
        self._hand_in(_Try(task, f"{task.key}-a{task.attempt}-{self._nonce}"))

    def _hand_in(self, this: _Try) -> None:
        key = f"{this.name}-{this.number}"
        resources = {self.stage: 1.0} if self.stage else {}
        if this.memory_gib:
            resources[MEMORY] = this.memory_gib
        once = replace(this.task, starts=1)
        future = self._client.submit(
            starts.perform, once, key, self._client.id, key=key, pure=False, resources=resources or None
        )
        self._running[future] = this
        future.add_done_callback(self._ended.put)

    def see(self, present: Mapping[str, Present]) -> None:
        """Note which workers may take these tasks; what waits for memory that is gone for long asks for less."""
        self._present, self._seen_s = present, time.monotonic()
        self._offered_gib, now = offered(present.values()), self._seen_s
        self._least_gib = min([self._least_gib, *self._offered_gib])
        most_gib = max(self._offered_gib, default=0.0)
        for future, this in list(self._running.items()):
            if this.memory_gib <= most_gib:
                if this.since_s != math.inf:
                    self._running[future] = replace(this, since_s=math.inf)
            elif this.since_s == math.inf:
                self._running[future] = replace(this, since_s=now)
            elif now - this.since_s > STRANDED_S:
                del self._running[future]
                future.cancel(force=True)
                self._hand_in(replace(this, number=this.number + 1, memory_gib=most_gib, since_s=math.inf))

    def ended(self, within_s: float) -> list[Future]:
        """Return the tasks whose end came meanwhile; wait `within_s` at most for the first one."""
        found: list[Future] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._ended.get(timeout=within_s))
            while True:
                found.append(self._ended.get_nowait())
        return [future for future in dict.fromkeys(found) if future in self._running]

    def settle(self, futures: list[Future]) -> list[Outcome]:
        """Return what became of tasks that ended; what is under way again has no outcome yet."""
        outcomes: list[Outcome | None] = []
        fetched = self._client.sync(self._fetch, [future for future in futures if future.status != "error"])
        for future in futures:
            this, (value, error) = self._running[future], fetched.get(future, (None, None))
            if future.status == "error":
                outcomes.append(self._judge(this, future))
            elif isinstance(error, TimeoutError):
                future.add_done_callback(self._ended.put)  # its result was lost, and Dask makes it again
                continue
            elif error is not None:
                raise error
            else:
                outcomes.append(Outcome(this.task, value=value, starts=this.deaths + 1))
            del self._running[future]
            future.release()
        return [outcome for outcome in outcomes if outcome is not None]

    async def _fetch(self, futures: list[Future]) -> dict[Future, tuple[Any, Exception | None]]:
        """Return the value or the error of each task; Dask fetches together what is asked for together."""

        async def fetch(future: Future) -> tuple[Any, Exception | None]:
            try:
                return await asyncio.wait_for(self._client.gather(future, asynchronous=True), RESULT_S), None
            except Exception as error:
                return None, error

        found = await asyncio.gather(*map(fetch, futures))
        return dict(zip(futures, found, strict=True))

    def _judge(self, this: _Try, future: Future) -> Outcome | None:
        """Return what became of a task that ended with an error; None if it is under way again."""
        task, error = this.task, future.exception()
        count = starts.starts(self._client, f"{this.name}-{this.number}")
        if not isinstance(error, KilledWorker) and count < 2:
            return self._failure(task, error, this.deaths + 1)
        this = replace(this, deaths=this.deaths + (count > 0), waits=this.waits + (count == 0))
        if this.deaths < task.starts and this.waits < MOST_WAITS:
            if count:
                more_gib = more_memory(self._offered_gib, this.memory_gib or self._least_gib)
                this = replace(this, memory_gib=more_gib)
            self._hand_in(replace(this, number=this.number + 1, since_s=math.inf))
            return None
        died = starts.too_many_deaths(this.deaths or this.waits)
        return self._failure(task, died, task.starts, killed=this.deaths >= task.starts)

    def _failure(self, task: Task, error: BaseException, count: int, *, killed: bool = False) -> Outcome:
        logger.warning("task %s failed: %s: %s", task.key, type(error).__name__, error)
        if not isinstance(error, SkymillError):
            error = WorkerError(f"{type(error).__name__}: {error}", "see the workers' logs in the run folder")
        if isinstance(error, WorkerError):
            error = WorkerError(f"{task.key}: {error.message}", error.remedy)
        return Outcome(task, error=error, starts=count, killed=killed)

    def cancel(self) -> None:
        """Let go of all that is under way; the scheduler may be gone, then it is lost anyway."""
        if self._running:
            with contextlib.suppress(Exception):
                self._client.cancel(list(self._running), force=True)
