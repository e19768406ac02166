"""Grid Engine and its descendants."""

import getpass
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.etree import ElementTree

from cluster.commands import run_command
from cluster.sites.batch import Job, Standing, State
from cluster.sites.scripts import clock, has, header_and_body, last_match, mebibytes, output, unknown
from schemas.errors import SiteDown
from schemas.site import Pool, Site, seconds_of

AGAIN = 99
"""Exit code with which Grid Engine starts a job once more."""

_UNKNOWN_JOB = r"does not exist|denied: job|has registered the job|is already in deletion"


class SGE:
    """Grid Engine's commands, and what its words mean."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def script(self, job: Job) -> str:
        """Return the text of the script that asks for a job; memory is asked for by slot."""
        pool, array = job.pool, job.count > 1
        path = output(
            job, "$JOB_NAME-$JOB_ID.$TASK_ID.out" if array else "$JOB_NAME-$JOB_ID.out", forbidden=":,"
        )
        memory = [] if has(job, r"\b(mem|h_vmem|s_vmem|m_mem)") else [f"-l mem_free={_by_slot(job)}M"]
        extra = [
            "-S /bin/bash",
            "-r y",
            "-notify",
            "-j y",
            f"-o {path}",
            f"-wd {job.logs}",  # else it begins in the home folder, which a node need not have
            *memory,
            *([f"-t 1-{job.count}"] if array else []),
            *([f"-l gpu={pool.gpus}"] if pool.gpus else []),
            *pool.directives,
        ]
        return str(
            header_and_body(
                "dask_jobqueue.sge:SGEJob",
                job,
                self._site,
                extra=extra,
                queue=pool.queue or None,
                skip=("#$ -j", "#$ -cwd"),
                project=pool.account or None,
                walltime=clock(pool.walltime_s),
            ).job_script()
        )

    def submit(self, script: Path, job: Job) -> str:
        """Hand in a script, and return the id of the job."""
        return last_match(r"(?m)^(\d+)(?:\.\S+)?\s*$", run_command(["qsub", "-terse", str(script)]), "qsub")

    def standings(self, ids: Iterable[str]) -> Mapping[str, tuple[Standing, ...]]:
        """Return the elements of each job that Grid Engine still knows: those that have not ended."""
        found: dict[str, tuple[Standing, ...]] = dict.fromkeys(ids, ())
        if found:
            said = run_command(["qstat", "-u", getpass.getuser(), "-g", "d", "-xml"])
            for element in _jobs(said):
                number = element.findtext("JB_job_number", "")
                if number in found:
                    found[number] += (_standing(element),)
        return found

    def cancel(self, ids: Iterable[str]) -> None:
        """End jobs, and do not start them again."""
        if words := list(ids):
            run_command(["qdel", *words], pardon=_UNKNOWN_JOB)

    def again(self) -> int:
        """Have this job started once more: Grid Engine goes by the exit code."""
        return AGAIN

    def faults(self, where: str, pool: Pool) -> list[str]:
        """Return what Grid Engine would refuse of a pool, or never start."""
        faults = []
        queues = run_command(["qconf", "-sql"]).split()
        name = pool.queue.partition("@")[0]
        if name and name not in queues:
            faults.append(f"{where}.queue: {unknown('queue', pool.queue, queues)}")
        elif name:
            longest = _longest(run_command(["qconf", "-sq", name]))
            if longest and seconds_of(longest) < pool.walltime_s:
                faults.append(f"{where}.walltime: {pool.walltime} asked for, queue {name} allows {longest}")
        asked = [line.split()[1] for line in pool.directives if re.match(r"-pe\s+\S", line)]
        if asked or pool.cores > 1:
            there = run_command(["qconf", "-spl"], pardon="no parallel environment").split()
            if not asked:
                faults.append(
                    f'{where}.cores: {pool.cores} need a parallel environment: directives = ["-pe NAME {pool.cores}"]; '
                    f"there are {', '.join(there) or 'none'}"
                )
            elif asked[0] not in there:
                faults.append(f"{where}.directives: {unknown('parallel environment', asked[0], there)}")
        return faults


def _jobs(said: str) -> list[ElementTree.Element]:
    try:
        return list(ElementTree.fromstring(said).iter("job_list"))
    except ElementTree.ParseError as error:
        raise SiteDown(
            f"qstat answered nothing readable: {error}", "run the same command again later"
        ) from error


def _by_slot(job: Job) -> int:
    return math.ceil(mebibytes(job) / job.pool.cores)


def _standing(element: ElementTree.Element) -> Standing:
    letters = element.findtext("state", "")
    node = element.findtext("queue_name", "").partition("@")[2]
    if "d" in letters:
        return Standing(State.ENDED, node, letters)
    if "h" in letters or "E" in letters:
        return Standing(
            State.HELD, "", f"{letters}{': in error, see qstat -explain E' if 'E' in letters else ''}"
        )
    if "w" in letters or re.search("[sST]", letters):
        return Standing(State.WAITING, "", letters)
    return Standing(State.RUNNING if re.search("[rt]", letters) else State.UNKNOWN, node, letters)


def _longest(queue: str) -> str:
    """Return the longest time a queue allows on any host, of ``h_rt 24:00:00,[node1=48:00:00]``; empty for no limit."""
    found = re.search(r"(?m)^h_rt\s+((?:.*\\\n)*.*)", queue)
    times = re.findall(r"\d+:\d+:\d+", found[1]) if found and "INFINITY" not in found[1] else []
    return max(times, key=seconds_of, default="")
