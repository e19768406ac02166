"""What running tasks tell their driver: small events, kept in the scheduler until the driver asks for them.

They travel on the stream a worker has with its scheduler anyway, so telling never waits, and events of one task
stay in order. The scheduler keeps a bounded number a driver, and none of a driver that left.
"""

import contextlib
import json
from collections import defaultdict, deque
from collections.abc import Mapping
from functools import partial
from typing import Any

from distributed import Client, SchedulerPlugin, Worker

PLUGIN = "skymill-tells"
MOST = 10_000
"""Events kept for a driver that does not ask; older ones are dropped."""


class TellsPlugin(SchedulerPlugin):
    """Keep what tasks tell for their driver."""

    name = PLUGIN
    idempotent = True

    async def start(self, scheduler: Any) -> None:
        """Add the handlers when the plug-in is registered."""
        self._scheduler = scheduler
        self._kept: dict[str, deque[str]] = defaultdict(partial(deque, maxlen=MOST))
        scheduler.stream_handlers["skymill-tell"] = self._tell
        scheduler.handlers["skymill_heard"] = self._heard

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Forget the events for a client that left."""
        self._kept.pop(client, None)

    def _tell(self, driver: str, text: str, worker: str = "") -> None:
        if driver in self._scheduler.clients:
            self._kept[driver].append(text)

    def _heard(self, driver: str) -> list[str]:
        return list(self._kept.pop(driver, ()))


def tell(worker: Worker, driver: str, event: Mapping[str, Any]) -> None:
    """Tell the driver an event, from any thread of a worker; it does not wait.

    Parameters
    ----------
    worker : Worker
        The one that runs the task.
    driver : str
        Name of the driver's client.
    event : mapping
        What JSON can hold.
    """
    message = {"op": "skymill-tell", "driver": driver, "text": json.dumps(dict(event))}
    with contextlib.suppress(RuntimeError):  # the worker is closing
        worker.loop.add_callback(worker.batched_send, message)


def heard(client: Client) -> list[dict[str, Any]]:
    """Return the events told to this client since the last time, in order."""
    return [json.loads(text) for text in client.sync(client.scheduler.skymill_heard, driver=client.id)]
