"""What the mill asks of a batch scheduler."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from cluster.work import find
from schemas.site import Pool, Site


class State(StrEnum):
    """What is known of one job, in the words of no scheduler in particular."""

    WAITING = "waiting"
    RUNNING = "running"
    HELD = "held"
    ENDED = "ended"
    UNKNOWN = "unknown"

    @property
    def is_alive(self) -> bool:
        """Whether it runs, or will without anybody's help."""
        return self in (State.WAITING, State.RUNNING)


@dataclass(frozen=True)
class Standing:
    """One element of a job: its state, the node it is on, and the scheduler's own words."""

    state: State
    node: str = ""
    words: str = ""


@dataclass(frozen=True)
class Job:
    """What a script is made for: `count` jobs alike, each running `command` in `folder`.

    ``logs`` is the folder for their output; ``name`` is what the scheduler shows.
    """

    name: str
    pool: Pool
    command: str
    folder: Path
    logs: Path
    count: int = 1


class Batch(Protocol):
    """A batch scheduler.

    Every method raises `SiteError` when the scheduler's command is not there or refuses, and `SiteDown` when it
    still does not answer after some tries.
    """

    def script(self, job: Job) -> str:
        """Return the text of the script that asks for a job; it requeues when its node dies."""

    def submit(self, script: Path, job: Job) -> str:
        """Hand in a script, and return the id of the job."""

    def standings(self, ids: Iterable[str]) -> Mapping[str, tuple[Standing, ...]]:
        """Return the elements of each job that the scheduler still knows; one it has forgotten has none."""

    def cancel(self, ids: Iterable[str]) -> None:
        """End jobs, and do not start them again; those that have ended already are left alone."""

    def again(self) -> int:
        """Called inside a job: have it started once more, and return the exit code it is to end with."""

    def faults(self, where: str, pool: Pool) -> list[str]:
        """Return what the scheduler would refuse of a pool, `where` being its key: queue, memory, walltime."""


def batch_of(site: Site) -> Batch:
    """Return the batch scheduler of a site."""
    batch: Batch = find(f"cluster.sites.{site.kind}:{CLASSES[site.kind]}")(site)
    return batch


def array_index(environ: Mapping[str, str] = os.environ) -> int:
    """Return which element of its array this job is; 0 if it is none.

    Examples
    --------
    >>> array_index({"SLURM_ARRAY_TASK_ID": "3"}), array_index({"SGE_TASK_ID": "undefined"})
    (3, 0)
    """
    return next((int(value) for name in INDICES if (value := environ.get(name, "")).isdecimal()), 0)


def job_id(environ: Mapping[str, str] = os.environ) -> str:
    """Return the scheduler's id of this job; the process's own outside a job."""
    return next((value for name in IDS if (value := environ.get(name, ""))), str(os.getpid()))


INDICES = (
    "SKYMILL_ARRAY_INDEX",
    "SLURM_ARRAY_TASK_ID",
    "PBS_ARRAY_INDEX",
    "PBS_ARRAYID",
    "SGE_TASK_ID",
    "LSB_JOBINDEX",
)
IDS = ("SKYMILL_JOB_ID", "SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")
"""What schedulers call the index and the id in a job's environment; ours come first: a local job may be in another."""

AGAIN = 75
"""Exit code with which a job asks to be started once more, where the scheduler goes by that (sysexits.h)."""

CLASSES = {
    "local": "Local",
    "address": "Address",
    "slurm": "Slurm",
    "pbs": "PBS",
    "sge": "SGE",
    "lsf": "LSF",
    "htcondor": "HTCondor",
}
