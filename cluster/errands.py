"""Ask workers something without waiting for the answer: one that does not answer holds nobody up."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from distributed import Client, Future


class Errand:
    """Something under way; ``answer`` is its value, or the exception it ended with."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], client: Client, wake: Callable[[], None]) -> None:
        self._begun_s = time.monotonic()
        self._future = asyncio.run_coroutine_threadsafe(coroutine, client.loop.asyncio_loop)
        self._future.add_done_callback(lambda future: wake())

    @property
    def done(self) -> bool:
        """Whether there is an answer."""
        return self._future.done()

    @property
    def age_s(self) -> float:
        """How long [s] it is under way."""
        return time.monotonic() - self._begun_s

    @property
    def answer(self) -> Any:
        """Value or exception; only once it is done."""
        if self._future.cancelled():
            return OSError("cancelled")
        return self._future.exception() or self._future.result()


class Errands:
    """Errands of one driver, and a way to wait until any of them is done.

    Parameters
    ----------
    client : Client
        The driver's.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self._event = threading.Event()

    def wait(self, seconds: float) -> None:
        """Wait until something is done, `seconds` at most."""
        self._event.wait(seconds)
        self._event.clear()

    def wake(self, *_: Any) -> None:
        """End a wait."""
        self._event.set()

    def ask(self, worker: str, function: Callable[..., Any], **arguments: Any) -> Errand:
        """Have `function` called in a worker, beside its tasks; it may be a coroutine function."""
        return Errand(self._ask(worker, function, arguments), self.client, self.wake)

    async def _ask(self, worker: str, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        found = await self.client.run(function, workers=[worker], on_error="return", **arguments)
        return found[worker]

    def fetch(self, future: Future) -> Errand:
        """Fetch the value of a task that has ended."""
        return Errand(self._fetch(future), self.client, self.wake)

    async def _fetch(self, future: Future) -> Any:
        return await self.client.gather(future, asynchronous=True)

    def restart(self, worker: str, within_s: float) -> Errand:
        """Have a worker restarted by its nanny; one without a nanny is left as it is."""
        return Errand(self._restart(worker, within_s), self.client, self.wake)

    async def _restart(self, worker: str, within_s: float) -> Any:
        return await self.client.restart_workers([worker], timeout=within_s, raise_for_error=False)
