"""The text of job scripts: headers by dask-jobqueue, which knows the schedulers; the rest is ours.

Nothing of the user's Dask settings enters: a script follows from the site file alone.
"""

import math
import os
import re
import shlex
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.sites.batch import Job
from cluster.work import find
from schemas.errors import SiteError
from schemas.site import Site

_OURS = "skymill"  # a section of Dask's settings that no file and no variable of the user's writes to
SUBMITTERS = (
    "SKYMILL_SUBMISSION",
    "SKYMILL_LEASE",
    "SKYMILL_JOB_ID",
    "SKYMILL_ARRAY_INDEX",
    "SKYMILL_SCRIPT",
    "SKYMILL_KEEPER",
)
"""What stands in the environment of a job, and is not handed on to a job that it hands in."""


def header_and_body(
    work: str,
    job: Job,
    site: Site,
    *,
    extra: Sequence[str] | Mapping[str, Any],
    skip: Sequence[str] = (),
    **options: Any,
) -> Any:
    """Return dask-jobqueue's job `work` with our command in it; its ``job_script()`` is the text.

    Parameters
    ----------
    work : str
        Class of the kind, as ``dask_jobqueue.slurm:SLURMJob``.
    job, site
        What to run, and where.
    extra : sequence of str, or mapping
        Directives of ours; those of the pool come last and win.
    skip : sequence of str
        Parts of the class's own directives that are left out.
    **options
        What only this class takes.
    """
    maker: Any = load(work)
    config: Any = find("dask:config")
    defaults = config.merge(*config.defaults)["jobqueue"][maker.config_name]
    lines = body(job, site)
    with config.set({f"jobqueue.{_OURS}": defaults}):
        made = maker(
            config_name=_OURS,
            name=job.name,
            job_name=job.name,
            cores=job.pool.cores,
            memory=f"{mebibytes(job)}MiB",
            processes=1,
            job_script_prologue=lines[:-1],
            job_extra_directives=extra,
            job_directives_skip=list(skip),
            **options,
        )
    made._command_template = lines[-1]
    return made


def load(work: str) -> Any:
    """Return a part of dask-jobqueue, which takes Ctrl-C for itself when it is loaded, in the main thread only."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        return find(work)
    finally:
        if signal.getsignal(signal.SIGINT) is not handler:
            signal.signal(signal.SIGINT, handler)


def body(job: Job, site: Site) -> list[str]:
    """Return the shell lines of a job; the last one becomes the command, so that signals reach it."""
    return [
        f"cd {shlex.quote(str(job.folder))} || exit 1",
        *site.prologue,
        "export PYTHONSAFEPATH=1",
        f"exec {job.command}",
    ]


def mebibytes(job: Job) -> int:
    """Return the memory [MiB] a job asks for."""
    return math.ceil(job.pool.memory_gib * 1024)


def clock(seconds: int, *, whole_minutes: bool = False) -> str:
    """Return a walltime without days.

    Examples
    --------
    >>> clock(93600), clock(90, whole_minutes=True)
    ('26:00:00', '0:02')
    """
    if whole_minutes:
        minutes = math.ceil(seconds / 60)
        return f"{minutes // 60}:{minutes % 60:02}"
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def output(job: Job, ending: str, *, forbidden: str = "") -> str:
    """Return the path of a job's output, where `ending` is the scheduler's pattern of its id and index.

    Raises
    ------
    SiteError
        If the folder has a character that directives cannot hold.
    """
    if bad := re.search(rf"[\s\"'$%`\\{forbidden}]", str(job.logs)):
        raise SiteError(
            f"the folder {job.logs} has a {bad[0]!r} in its name, which a job script's directives cannot hold",
            'choose another "output" in the run file',
        )
    return f"{job.logs}/{ending}"


def environ_of_submitter() -> dict[str, str]:
    """Return this process's environment without what belongs to the job it may itself be in."""
    return {
        key: value
        for key, value in os.environ.items()
        if key not in SUBMITTERS and (not key.startswith("SLURM_") or key == "SLURM_CONF")
    }


def last_match(pattern: str, text: str, command: str) -> str:
    """Return what `pattern` finds last in a command's answer.

    Raises
    ------
    SiteError
        If it finds nothing.
    """
    if not (found := re.findall(pattern, text)):
        raise SiteError(
            f"{command} answered {text.strip()!r}: no job id in it", "see whether the job was taken"
        )
    return str(found[-1])


def unknown(what: str, name: str, known: Sequence[str]) -> str:
    """Say that something is not there, and what is."""
    return f"unknown {what} {name!r}; there are {', '.join(known) or 'none'}"


def has(job: Job, pattern: str) -> bool:
    """Say whether one of the pool's own directives matches."""
    return any(re.search(pattern, line) for line in job.pool.directives)


def path_of(script: Path) -> str:
    """Return a script's absolute path: the scheduler may read it elsewhere."""
    return str(script.resolve())
