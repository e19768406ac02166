"""OpenPBS and PBS Professional."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from cluster.commands import run_command
from cluster.sites.batch import Job, Standing, State
from cluster.sites.scripts import clock, header_and_body, last_match, mebibytes, output, path_of, unknown
from cluster.submission import Asked, Submission
from schemas.errors import SiteError
from schemas.site import Pool, Site, seconds_of

_SCRIPT = "SKYMILL_SCRIPT"  # tells a job where its own script lies: only a manager may requeue a running job
_STATES = {
    "Q": State.WAITING,
    "W": State.WAITING,
    "T": State.WAITING,
    "S": State.WAITING,
    "U": State.WAITING,
    "H": State.HELD,
    "R": State.RUNNING,
}
_UNKNOWN_JOB = r"unknown job id|job has finished|request invalid for state of job"
_BYTES = {"": 0, "b": 0, "kb": 1, "mb": 2, "gb": 3, "tb": 4}


class PBS:
    """PBS's commands, and what its words mean."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def script(self, job: Job) -> str:
        """Return the text of the script that asks for a job."""
        pool, array = job.pool, job.count > 1
        folder = output(job, "", forbidden=":,")
        ours = header_and_body(
            "dask_jobqueue.pbs:PBSJob",
            job,
            self._site,
            extra=[
                "-S /bin/bash",
                "-r y",
                "-j oe",
                f"-o {folder}",
                *([f"-J 0-{job.count - 1}"] if array else []),
                *pool.directives,
            ],
            skip=() if pool.account else ("#PBS -A ",),
            account=pool.account or None,
            queue=pool.queue or None,
            resource_spec=f"select=1:ncpus={pool.cores}:mem={mebibytes(job)}mb"
            + (f":ngpus={pool.gpus}" if pool.gpus else ""),
            walltime=clock(pool.walltime_s),
        )
        # PBS hands the output over when a job ends, and that of its last start only.
        ours._job_script_prologue.insert(0, f'exec >>"{folder}{job.name}-${{PBS_JOBID%%.*}}.out" 2>&1')
        return str(ours.job_script())

    def submit(self, script: Path, job: Job) -> str:
        """Hand in a script, and return the id of the job."""
        return _submit(script)

    def standings(self, ids: Iterable[str]) -> Mapping[str, tuple[Standing, ...]]:
        """Return the elements of each job that PBS still knows."""
        asked = list(ids)
        found: dict[str, tuple[Standing, ...]] = dict.fromkeys(asked, ())
        if not asked:
            return found
        wholes: dict[str, Standing] = {}
        for element, facts in _records(
            run_command(["qstat", "-f", "-t", *asked], pardon=_UNKNOWN_JOB), "Job Id"
        ):
            owner = next((id_ for id_ in asked if _number(id_) == _number(element)), "")
            standing = _standing(facts)
            if "[]" in element:
                wholes[owner] = standing
            elif owner:
                found[owner] += (standing,)
        return found | {id_: (whole,) for id_, whole in wholes.items() if id_ in found and not found[id_]}

    def cancel(self, ids: Iterable[str]) -> None:
        """End jobs, and do not start them again."""
        if words := list(ids):
            run_command(["qdel", *words], pardon=_UNKNOWN_JOB)

    def again(self) -> int:
        """Hand in this job's own script anew, and note the new job beside it."""
        if not (text := os.environ.get(_SCRIPT, "")):
            raise SiteError(
                "not within a job that skymill handed in to PBS: nothing to start again", "submit the run"
            )
        script = Path(text)
        Submission(script.parent).add_job(Asked(_submit(script), script.stem))
        return 0

    def faults(self, where: str, pool: Pool) -> list[str]:
        """Return what PBS would refuse of a pool."""
        queues = dict(_records(run_command(["qstat", "-Qf"]), "Queue"))
        faults = []
        if pool.queue and pool.queue not in queues:
            faults.append(f"{where}.queue: {unknown('queue', pool.queue, sorted(queues))}")
        limits = queues.get(pool.queue, {})
        longest = limits.get("resources_max.walltime", "")
        if longest and seconds_of(longest) < pool.walltime_s:
            faults.append(f"{where}.walltime: {pool.walltime} asked for, queue {pool.queue} allows {longest}")
        nodes = [facts for _, facts in _records(run_command(["pbsnodes", "-a"]), "")]
        cores = max((int(facts.get("resources_available.ncpus", "0")) for facts in nodes), default=0)
        mib = max((_mebibytes(facts.get("resources_available.mem", "0")) for facts in nodes), default=0.0)
        if nodes and cores < pool.cores:
            faults.append(f"{where}.cores: {pool.cores} asked for, no node has more than {cores}")
        if nodes and mib < pool.memory_gib * 1024:
            faults.append(
                f"{where}.memory_gib: {pool.memory_gib:g} asked for, no node has more than {mib / 1024:.2f}"
            )
        return faults


def _submit(script: Path) -> str:
    words = ["qsub", "-v", f"{_SCRIPT}={path_of(script)}", str(script)]
    return last_match(r"(?m)^(\d+(?:\[\])?(?:\.\S+)?)\s*$", run_command(words), "qsub")


def _standing(facts: Mapping[str, str]) -> Standing:
    letter = facts.get("job_state", "")
    state = _STATES.get(letter, State.ENDED)
    node = facts.get("exec_host", "").partition("/")[0] if state == State.RUNNING else ""
    return Standing(state, node, facts.get("comment", letter))


def _records(text: str, head: str) -> list[tuple[str, dict[str, str]]]:
    """Return the records of ``qstat -f`` and its like: a name, then ``key = value`` lines, which may be folded."""
    records: list[tuple[str, dict[str, str]]] = []
    for line in text.replace("\n\t", "").splitlines():
        key, sign, value = line.strip().partition(" = ")
        if sign and line.startswith(" ") and records:
            records[-1][1][key] = value
        elif line.strip() and not line.startswith(" "):
            records.append((line.removeprefix(f"{head}: ").strip(), {}))
    return records


def _number(id_: str) -> str:
    return id_.partition(".")[0].partition("[")[0]


def _mebibytes(size: str) -> float:
    """Return the MiB of PBS's ``16gb``, which counts in powers of 1024."""
    if not (match := re.fullmatch(r"(\d+)([kmgt]?b?)", size.lower())):
        return 0.0
    return float(int(match[1]) * 1024.0 ** (_BYTES.get(match[2], 0) - 2))
