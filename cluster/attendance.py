"""Who is there: the workers of a scheduler, and what each says that it offers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distributed import Client, SchedulerPlugin
from distributed.core import Status

PLUGIN = "skymill-attendance"
MEMORY = "memory_gib"
"""The resource by which a worker says how much memory [GiB] it has."""


@dataclass(frozen=True)
class Present:
    """A worker that is there; ``takes`` says that it begins tasks: it is neither paused nor about to leave, which
    ``leaves`` tells apart.

    ``resources`` are what it announced: the stages it is for, and its memory [GiB].
    """

    threads: int
    takes: bool = True
    resources: Mapping[str, float] = field(default_factory=dict)
    leaves: bool = False


class AttendancePlugin(SchedulerPlugin):
    """Have the scheduler tell who is there, in few words: it may be asked every second."""

    name = PLUGIN
    idempotent = True

    async def start(self, scheduler: Any) -> None:
        """Add the handler when the plug-in is registered."""
        self._scheduler = scheduler
        scheduler.handlers["skymill_present"] = self._present

    def _present(self) -> dict[str, Any]:
        return {
            worker.address: [
                worker.nthreads,
                worker.status is Status.running,
                dict(worker.resources),
                worker.status is Status.closing_gracefully,
            ]
            for worker in self._scheduler.workers.values()
        }


def present(client: Client) -> dict[str, Present]:
    """Return all workers by address."""
    found = client.sync(client.scheduler.skymill_present)
    return {address: Present(*said) for address, said in found.items()}


def threads(workers: Iterable[Present]) -> int:
    """Return how many tasks some workers can be at together.

    Examples
    --------
    >>> threads([Present(2), Present(4, takes=False)])
    2
    """
    return sum(worker.threads for worker in workers if worker.takes)


def offered(workers: Iterable[Present]) -> list[float]:
    """Return the memory [GiB] of the workers that say it, ascending, each value once."""
    return sorted({memory for worker in workers if (memory := worker.resources.get(MEMORY))})


def more_memory(offered: Sequence[float], than: float) -> float:
    """Return the memory [GiB] to ask for after a death: the next larger one that is offered, or else the largest.

    Parameters
    ----------
    offered : sequence of float
        What there is [GiB], ascending; of nothing, 0 is returned.
    than : float
        What was not enough [GiB].

    Examples
    --------
    >>> more_memory([4, 16, 64], 4), more_memory([4, 16, 64], 64), more_memory([], 4)
    (16, 64, 0.0)
    """
    return next((memory for memory in offered if memory > than), offered[-1] if offered else 0.0)
