"""The jobs of a submission: what their scripts are made for."""

import contextlib
import os
import shlex
import sys
from pathlib import Path

from cluster.jobs.times import say
from cluster.sites.batch import Job
from cluster.submission import Order, Submission
from schemas.site import Site, words_of

MEMORY_SHARE = 0.95
"""Of a job's memory, its worker may use so much: the rest is its nanny's."""
DRIVER = "driver"
"""The name of the driver's job, among those of the pools."""


def python_of(site: Site) -> tuple[str, ...]:
    """Return the words that start Python in a site's jobs: ``site.python``, or the Python that runs now.

    Examples
    --------
    >>> python_of(Site(name="a", kind="local", python="apptainer exec mill.sif python3"))
    ('apptainer', 'exec', 'mill.sif', 'python3')
    """
    return words_of(site.python) or (sys.executable,)


def scratch_here(scratch: str) -> Path | None:
    """Return ``site.scratch`` as this node has it; None if a variable in it, or a home folder, is not known here."""
    found = os.path.expandvars(scratch)
    with contextlib.suppress(RuntimeError):
        return None if "$" in found or not found else Path(found).expanduser()
    return None


def scratch_of(site: Site, fallback: Path) -> Path:
    """Return a folder of this node for what may be lost: the site's, or `fallback` if it has none here."""
    if not site.scratch:
        return fallback
    if found := scratch_here(site.scratch):
        return found
    say(f"scratch: a variable of {site.scratch} is not set on this node: {fallback} is taken")
    return fallback


def interface_of(site: Site) -> str:
    """Return the network interface of a site's jobs; on one machine nothing needs to be seen from outside."""
    return site.interface or ("lo" if site.kind == "local" else "")


def driver_job(order: Order, submission: Submission) -> Job:
    """Return the job that has the scheduler and the driver."""
    return _job(order, submission, DRIVER, f"cluster.jobs.driver {shlex.quote(str(submission.path))}", 1)


def worker_job(order: Order, submission: Submission, pool: str, count: int) -> Job:
    """Return `count` jobs of a pool, each with a worker."""
    command = f"cluster.jobs.worker {shlex.quote(str(submission.path))} {shlex.quote(pool)}"
    return _job(order, submission, pool, command, count)


def _job(order: Order, submission: Submission, name: str, command: str, count: int) -> Job:
    pool = order.site.driver if name == DRIVER else order.site.pools[name]
    whole = f"{shlex.join(python_of(order.site))} -m {command}"
    shown = f"skymill-{Path(order.run).name}-{name}"
    return Job(shown, pool, whole, Path(order.folder), submission.logs, count)
