"""The jobs of a submission: what their scripts are made for."""

import os
import shlex
import sys
from pathlib import Path

from cluster.sites.batch import Job
from cluster.submission import Order, Submission
from schemas.site import Site

DRIVER = "driver"
"""The name of the driver's job, among those of the pools."""


def python_of(site: Site) -> tuple[str, ...]:
    """Return the words that start Python in a site's jobs: ``site.python``, or the Python that runs now.

    Examples
    --------
    >>> python_of(Site(name="a", kind="local", python="apptainer exec mill.sif python3"))
    ('apptainer', 'exec', 'mill.sif', 'python3')
    """
    words = shlex.split(os.path.expandvars(site.python)) or [sys.executable]
    return tuple(str(Path(word).expanduser()) if word.startswith("~") else word for word in words)


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
