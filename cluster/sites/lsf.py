"""IBM Spectrum LSF."""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from cluster.commands import run_command
from cluster.sites.batch import AGAIN, Job, Standing, State
from cluster.sites.scripts import (
    clock,
    environ_of_submitter,
    header_and_body,
    last_match,
    load,
    mebibytes,
    output,
    unknown,
)
from schemas.site import Pool, Site

_STATES = {
    "PEND": State.WAITING,
    "WAIT": State.WAITING,
    "PROV": State.WAITING,
    "SSUSP": State.WAITING,
    "PSUSP": State.HELD,
    "USUSP": State.HELD,
    "RUN": State.RUNNING,
    "UNKWN": State.UNKNOWN,
}
_FIELDS = "jobid jobindex stat exec_host pend_reason delimiter='|'"
_UNKNOWN_JOB = (
    r"is not found|no matching job found|job has already finished|job already finished|no unfinished job"
)


class LSF:
    """LSF's commands, and what its words mean."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def script(self, job: Job) -> str:
        """Return the text of the script that asks for a job."""
        pool, array = job.pool, job.count > 1
        extra = [
            "-r",
            f'-Q "{AGAIN}"',
            f"-M {_memory(job)}",
            f"-wa USR1 -wt {math.ceil(self._site.warn_s / 60)}",
            f"-o {output(job, f'{job.name}-%J_%I.out' if array else f'{job.name}-%J.out')}",
            *([f'-gpu "num={pool.gpus}"'] if pool.gpus else []),
            *pool.directives,
        ]
        ours = header_and_body(
            "dask_jobqueue.lsf:LSFJob",
            job,
            self._site,
            extra=extra,
            skip=("#BSUB -M",),  # it counts decimal units, LSF binary ones
            queue=pool.queue or None,
            project=pool.account or None,
            walltime=clock(pool.walltime_s, whole_minutes=True),
        )
        text = str(ours.job_script())
        return (
            text.replace(f"#BSUB -J {job.name}", f'#BSUB -J "{job.name}[1-{job.count}]"', 1)
            if array
            else text
        )

    def submit(self, script: Path, job: Job) -> str:
        """Hand in a script, and return the id of the job."""
        environ = environ_of_submitter() | {"LSB_STDOUT_DIRECT": "Y"}  # else the output comes when a job ends
        return last_match(r"Job <(\d+)>", run_command(["bsub"], stdin=script, environ=environ), "bsub")

    def standings(self, ids: Iterable[str]) -> Mapping[str, tuple[Standing, ...]]:
        """Return the elements of each job that LSF still knows: those that ended, for about an hour."""
        found: dict[str, tuple[Standing, ...]] = dict.fromkeys(ids, ())
        if not found:
            return found
        said = run_command(["bjobs", "-a", "-noheader", "-o", _FIELDS, *found], pardon=_UNKNOWN_JOB)
        for line in said.splitlines():
            number, _, letters, node, reason = [*line.split("|", 4), "", "", "", ""][:5]
            if number in found:
                found[number] += (_standing(letters, node, reason),)
        return found

    def cancel(self, ids: Iterable[str]) -> None:
        """End jobs, and do not start them again."""
        if words := list(ids):
            run_command(["bkill", *words], pardon=_UNKNOWN_JOB)

    def again(self) -> int:
        """Have this job started once more: LSF goes by the exit code."""
        return AGAIN

    def faults(self, where: str, pool: Pool) -> list[str]:
        """Return what LSF would refuse of a pool."""
        known = [line.split()[0] for line in run_command(["bqueues"]).splitlines()[1:] if line.strip()]
        if not pool.queue:
            return []
        if pool.queue not in known:
            return [f"{where}.queue: {unknown('queue', pool.queue, known)}"]
        said = run_command(["bqueues", "-l", pool.queue])  # the default limits, if any, then the maximum ones
        most = said.rpartition("MAXIMUM LIMITS")[2].partition("DEFAULT LIMITS")[0]
        limit = re.search(r"RUNLIMIT\s+([\d.]+)\s*min", most)
        if limit and float(limit[1]) * 60 < pool.walltime_s:
            return [
                f"{where}.walltime: {pool.walltime} asked for, queue {pool.queue} allows {limit[1]} minutes"
            ]
        return []


def _memory(job: Job) -> int:
    """Return the memory a job asks for, in the unit of ``LSF_UNIT_FOR_LIMITS`` [KiB by default]."""
    unit = load("dask_jobqueue.lsf:lsf_detect_units")()
    return math.ceil(mebibytes(job) * 2**20 / 1024 ** (1 + max(0, "kmgtpez".find(unit[:1]))))


def _standing(letters: str, node: str, reason: str) -> Standing:
    state = _STATES.get(letters, State.ENDED)
    words = letters if reason in ("", "-") else f"{letters}: {reason}"
    known = node != "-" and state != State.WAITING
    return Standing(state, node.rpartition("*")[2] if known else "", words)  # 16*node1
