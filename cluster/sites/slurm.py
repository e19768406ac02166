"""Slurm."""

import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from cluster.commands import run_command
from cluster.sites.batch import Job, Standing, State
from cluster.sites.scripts import (
    environ_of_submitter,
    header_and_body,
    last_match,
    mebibytes,
    output,
    unknown,
)
from schemas.errors import SiteError
from schemas.site import Pool, Site, seconds_of

_WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "SUSPENDED", "REQUEUE_FED"}
_RUNNING = {"RUNNING", "SIGNALING", "STAGE_OUT"}
_NEITHER = {"COMPLETING", "RESIZING"}
"""A job that is on its way out, perhaps to be queued again, and one that is getting other nodes."""
_HELD = {"REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT", "STOPPED"}
_FOR_EVER = re.compile(
    r"held|TimeLimit$|BadConstraints|DependencyNeverSatisfied|InvalidAccount|InvalidQOS", re.I
)
_UNKNOWN_JOB = r"invalid job id|already complet|job has already finished"


class Slurm:
    """Slurm's commands, and what its words mean."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def script(self, job: Job) -> str:
        """Return the text of the script that asks for a job."""
        array = job.count > 1
        extra = [
            "-N 1",
            "--requeue",
            "--open-mode=append",
            f"-o {output(job, '%x-%A_%a.out' if array else '%x-%j.out')}",
            f"--signal=B:USR1@{self._site.warn_s}",
            *([f"--array=0-{job.count - 1}"] if array else []),
            *([f"--gres=gpu:{job.pool.gpus}"] if job.pool.gpus else []),
            *job.pool.directives,
        ]
        return str(
            header_and_body(
                "dask_jobqueue.slurm:SLURMJob",
                job,
                self._site,
                extra=extra,
                queue=job.pool.queue or None,
                account=job.pool.account or None,
                walltime=job.pool.walltime,
                job_mem=f"{mebibytes(job)}M",
            ).job_script()
        )

    def submit(self, script: Path, job: Job) -> str:
        """Hand in a script, and return the id of the job."""
        said = run_command(["sbatch", "--parsable", str(script)], environ=environ_of_submitter())
        return last_match(r"(?m)^(\d+)(?:;\S+)?\s*$", said, "sbatch")

    def standings(self, ids: Iterable[str]) -> Mapping[str, tuple[Standing, ...]]:
        """Return the elements of each job that Slurm still knows: those that ended, for some minutes."""
        found: dict[str, tuple[Standing, ...]] = dict.fromkeys(ids, ())
        if not found:
            return found
        words = ["squeue", "-h", "-r", "-t", "all", "-o", "%i|%T|%N|%r", "-j", ",".join(found)]
        for line in run_command(words, pardon=_UNKNOWN_JOB).splitlines():
            element, state, node, reason = [*line.split("|", 3), "", "", ""][:4]
            number = element.partition("_")[0]
            if number in found:
                found[number] += (_standing(state, node, reason),)
        return found

    def cancel(self, ids: Iterable[str]) -> None:
        """End jobs, and do not start them again."""
        if words := list(ids):
            run_command(["scancel", *words], pardon=_UNKNOWN_JOB)

    def again(self) -> int:
        """Have this job started once more."""
        if "SLURM_JOB_ID" not in os.environ:
            raise SiteError("not within a job of Slurm: nothing to start again", "submit the run")
        run_command(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]])
        return 0

    def faults(self, where: str, pool: Pool) -> list[str]:
        """Return what Slurm would refuse of a pool."""
        rows = [
            line.split("|") for line in run_command(["sinfo", "-h", "-a", "-e", "-o", _SINFO]).splitlines()
        ]
        known = sorted({row[0] for row in rows})
        wanted = pool.queue.split(",") if pool.queue else [row[0] for row in rows if row[1].endswith("*")]
        if not wanted:
            return [f"{where}.queue: expected one of {', '.join(known)}"]
        if lost := [name for name in wanted if name not in known]:
            return [f"{where}.queue: {unknown('partition', name, known)}" for name in lost]
        return _too_much(where, pool, [row for row in rows if row[0] in wanted])


_SINFO = "%R|%P|%l|%c|%m|%G"


def _too_much(where: str, pool: Pool, rows: list[list[str]]) -> list[str]:
    """Return what of a pool none of the partitions in these rows of ``sinfo`` has."""
    name = ", ".join(dict.fromkeys(row[0] for row in rows))
    faults = []
    longest = max((row[2] for row in rows), key=_seconds)
    if _seconds(longest) < pool.walltime_s:
        faults.append(f"{where}.walltime: {pool.walltime} asked for, partition {name} allows {longest}")
    cores, mib = max(_number(row[3]) for row in rows), max(_number(row[4]) for row in rows)
    if cores < pool.cores:
        faults.append(
            f"{where}.cores: {pool.cores} asked for, a node of partition {name} has at most {cores}"
        )
    if mib < math.ceil(pool.memory_gib * 1024):
        faults.append(
            f"{where}.memory_gib: {pool.memory_gib:g} asked for, a node of partition {name} "
            f"has at most {mib / 1024:.2f}"
        )
    if pool.gpus > max(_gpus(row[5]) for row in rows):
        faults.append(f"{where}.gpus: {pool.gpus} asked for, no node of partition {name} has as many")
    return faults


def _standing(state: str, node: str, reason: str) -> Standing:
    words = state.lower() if reason in ("", "None") else f"{state.lower()}: {reason}"
    if state in _HELD or (state == "PENDING" and _FOR_EVER.search(reason)):
        return Standing(State.HELD, "", words)
    if state in _WAITING:
        return Standing(State.WAITING, "", words)
    if state in _NEITHER:
        return Standing(State.UNKNOWN, node, words)
    return Standing(State.RUNNING if state in _RUNNING else State.ENDED, node, words)


def _seconds(limit: str) -> float:
    """Return the length [s] of Slurm's ``[D-][[HH:]MM:]SS``; infinite where there is no limit."""
    if limit in ("infinite", "n/a"):
        return math.inf
    days, _, rest = limit.rpartition("-")
    parts = ["0", "0", *rest.split(":")][-3:]
    return seconds_of(f"{days or 0}-{':'.join(f'{int(part):02}' for part in parts)}")


def _number(text: str) -> int:
    return int(re.sub(r"\D.*", "", text) or 0)


def _gpus(gres: str) -> int:
    """Return the number of GPUs in ``gpu:tesla:2(S:0-1),gpu:1``."""
    return sum(int(count) for count in re.findall(r"gpu(?::[\w.-]+)??:(\d+)", gres))
