"""A worker's job of a submission: ``python -m cluster.jobs.worker FOLDER POOL``.

It waits for a Dask scheduler, works for it, waits for the next one when that one is gone, and ends when the
submission has ended, or before its walltime.
"""

import functools
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from cluster.jobs import processes
from cluster.jobs.asking import scratch_of
from cluster.jobs.departure import Departure, stagger
from cluster.jobs.times import LIFETIME, Times, say
from cluster.sites.batch import array_index, job_id
from cluster.submission import Submission, read_json
from cluster.work import find
from schemas.errors import SiteError
from schemas.site import Pool, Site

LOOK_S = 0.5
AGAIN_S = 10.0
"""A scheduler that did not answer is tried again after so long [s], if there is no other."""
STAGGER = 0.2
"""The first of an array's workers leave so much earlier than the last, as a share of their walltime."""


@dataclass(frozen=True)
class Bench:
    """Where a worker works: what its job has, and what it is for.

    ``work`` are the functions that it will call, by name; a ``lifetime_s`` of zero is as long as the job.
    """

    submission: Submission
    site: Site
    pool: Pool
    name: str
    times: Times
    work: tuple[str, ...] = ()
    lifetime_s: float = 0.0

    @functools.cached_property
    def scratch(self) -> Path:
        """A folder for what may be lost."""
        return scratch_of(self.site, self.submission.path / "scratch")

    @property
    def over(self) -> bool:
        """Whether the submission has ended."""
        return self.submission.end is not None


def work(bench: Bench, departure: Departure) -> None:
    """Work for one scheduler after the other, until the submission has ended or the job leaves."""
    number, deaf, again_s = 0, "", 0.0
    while not departure.why and not bench.over:
        found = read_json(bench.submission.scheduler_file)
        if found is None or (found["id"] == deaf and time.monotonic() < again_s):
            time.sleep(LOOK_S)
            continue
        number += 1
        why, joined = find("cluster.jobs.nursing:nurse")(bench, str(found["address"]), number, departure)
        say(why)
        deaf, again_s = "" if joined else str(found["id"]), time.monotonic() + AGAIN_S
    say(f"this job ends: {departure.why or 'the submission has ended'}")


def main(arguments: list[str]) -> int:
    """Do the job of a worker, and return its exit code."""
    submission, pool = Submission(Path(arguments[0])), arguments[1]
    order = submission.order
    if order is None or pool not in order.site.pools:
        say(f"{submission.path}: there is no submission with a pool {pool!r} here")
        return SiteError.exit_code
    if submission.end is not None:
        say("the submission has ended already")
        return 0
    shape, index = order.site.pools[pool], array_index()
    lifetime_s = float(os.environ.get(LIFETIME, 0))
    lifetime_s -= stagger(index, STAGGER * lifetime_s)
    departure = Departure(
        shape.walltime_s,
        warn_s=order.site.warn_s,
        early_s=stagger(index, STAGGER * shape.walltime_s),
        term_s=Times.of().term_s,
    )
    departure.listen()
    name = f"{pool}-{job_id()}-{index}"
    work_of_pool = tuple(name for stage, name in order.work.items() if stage in shape.stages)
    bench = Bench(submission, order.site, shape, name, Times.of(), work_of_pool, lifetime_s)
    say(f"worker {bench.name}: process {os.getpid()} on {os.uname().nodename}")
    processes.adopt_orphans()
    try:
        work(bench, departure)
    finally:
        processes.kill_descendants()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
