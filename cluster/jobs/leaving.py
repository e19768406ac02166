"""How a worker leaves without losing work: loaded into the worker's process as a Dask preload.

The scheduler gives it nothing more, what waits there goes elsewhere, what runs is finished, and receipts that the
driver has not fetched yet are waited for or moved. What still runs when the time is over is done again elsewhere.
"""

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

import click
from distributed import Worker
from distributed.core import Status

from cluster import starts
from cluster.jobs.departure import SIGNALS
from cluster.work import find

POLL_S = 0.05
FETCH_S = 5.0
"""The driver has so long [s] to fetch the last receipts before they are moved to other workers, if there are any."""
RESERVE_S = 3.0
"""What runs is left to others so long [s] before the end, so that receipts can still be had."""
AGAIN_S, LAST_S = 0.3, 0.3

logger = logging.getLogger(__name__)


class Leaving:
    """The departure of one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._until_s = float("inf")
        self._reserve_s = RESERVE_S
        self._life_s = 0.0
        self._task: asyncio.Task[None] | None = None

    async def ask(self, left_s: float, life_s: float) -> None:
        """Leave within `left_s` [s]; it was to live for `life_s` [s]. Asked again, it may have to hurry."""
        self._until_s = min(self._until_s, time.monotonic() + left_s)
        self._reserve_s = min(RESERVE_S, 0.3 * left_s)
        self._life_s = life_s
        if self._task is None:
            self._task = asyncio.create_task(self._leave())

    async def _leave(self) -> None:
        worker = self._worker
        worker.status = Status.closing_gracefully  # a paused one would be woken by its memory monitor
        retired = await self._finish()
        if worker.state.all_running_tasks:
            await self._abandon()
        if not retired:
            await self._retire()
        await worker.close(timeout=1.0, executor_wait=False, reason="skymill-leave")

    async def _finish(self) -> bool:
        """Wait until nothing runs and no receipt is left here; return whether receipts were moved elsewhere."""
        state = self._worker.state
        busy_s = time.monotonic()
        while (now := time.monotonic()) < self._until_s - LAST_S:
            self._give_back()
            urgent = now >= self._until_s - self._reserve_s
            if state.all_running_tasks:
                busy_s = now
                if urgent:
                    return False
            elif not self._worker.data:
                return False
            elif urgent or now - busy_s > FETCH_S:
                if await self._retire():
                    return True
                await asyncio.sleep(AGAIN_S)
            await asyncio.sleep(POLL_S)
        return False

    def _give_back(self) -> None:
        """Have what waits here done elsewhere."""
        state = self._worker.state
        for task in [*state.ready, *state.constrained]:
            message = {"op": "reschedule", "key": task.key, "stimulus_id": f"skymill-leave-{time.time()}"}
            self._worker.batched_send(message)

    async def _abandon(self) -> None:
        """Leave what runs to others; it is not their fault that it was started here."""
        keys = [task.key for task in self._worker.state.all_running_tasks]
        logger.warning("leaving before these tasks have ended: %s", ", ".join(map(str, keys)))
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(starts.take_back(self._worker, keys, 0.5 * self._life_s), 2.0)

    async def _retire(self) -> bool:
        """Have the scheduler move what is kept here, and forget this worker; return whether it did."""
        address, name = self._worker.address, f"skymill-leave-{time.time()}"
        answer = self._worker.scheduler.retire_workers(
            workers=[address], close_workers=False, remove=True, stimulus_id=name
        )
        with contextlib.suppress(OSError, TimeoutError):
            found: dict[str, Any] = await asyncio.wait_for(answer, RESERVE_S)
            return address in found
        return False


@click.command()
@click.argument("work", nargs=-1)
def dask_setup(worker: Worker, work: Sequence[str]) -> None:
    """Let the worker be asked to leave, and load what it will do before it joins.

    Signals to all of its job are its nanny's to understand.
    """
    worker.handlers["skymill_leave"] = Leaving(worker).ask
    for number in SIGNALS:
        signal.signal(number, _leave_it_to_the_nanny)  # a handler, not SIG_IGN: what tasks start is not deaf
    for name in work:
        try:
            find(name)
        except (ImportError, OSError):  # of a shared disk that is slow to have it: its task tries again
            logger.warning("%s could not be loaded yet", name, exc_info=True)


def _leave_it_to_the_nanny(number: int, frame: FrameType | None) -> None:
    del number, frame
