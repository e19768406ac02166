"""Who is there: the workers of a scheduler, and what each says that it offers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from distributed.core import Status

MEMORY = "memory_gib"
"""The resource by which a worker says how much memory [GiB] it has."""


@dataclass(frozen=True)
class Present:
    """A worker that is there; ``takes`` says that it begins tasks: it is neither paused nor about to leave.

    ``resources`` are what it announced: the stages it is for, and its memory [GiB].
    """

    threads: int
    takes: bool = True
    resources: Mapping[str, float] = field(default_factory=dict)


def present(dask_scheduler: Any) -> dict[str, Present]:
    """Return all workers by address; called in the scheduler."""
    return {
        worker.address: Present(worker.nthreads, worker.status is Status.running, dict(worker.resources))
        for worker in dask_scheduler.workers.values()
    }


def threads(workers: Iterable[Present]) -> int:
    """Return how many tasks some workers can be at together.

    Examples
    --------
    >>> threads([Present(2), Present(4, takes=False)])
    2
    """
    return sum(worker.threads for worker in workers if worker.takes)


def most_memory(workers: Iterable[Present]) -> float:
    """Return the largest memory [GiB] that some workers offer; 0 if none says."""
    return max((worker.resources.get(MEMORY, 0.0) for worker in workers), default=0.0)


def more_memory(workers: Iterable[Present], than: float) -> float:
    """Return the memory [GiB] to ask for after a death: the next larger one that is offered.

    Parameters
    ----------
    workers : iterable of Present
        Those that may take the task.
    than : float
        What was asked for last [GiB]; 0 if any worker was good enough, which counts as the smallest.

    Returns
    -------
    float
        As much as is there if there is no more; 0 if all offer the same, or say nothing.

    Examples
    --------
    >>> pool = [Present(1, resources={"memory_gib": memory}) for memory in (4, 16, 64)]
    >>> more_memory(pool, 0), more_memory(pool, 16), more_memory(pool, 64), more_memory(pool[:1], 0)
    (16, 64, 64, 0)
    """
    offered = sorted({memory for worker in workers if (memory := worker.resources.get(MEMORY))})
    if len(offered) < 2:
        return min(than, offered[-1]) if offered else 0.0
    floor = than or offered[0]
    return next((memory for memory in offered if memory > floor), offered[-1])
