"""The machine itself: jobs are processes in the background, kept by `cluster.sites.keeper`."""

import contextlib
import json
import os
import platform
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from cluster.commands import run_command
from cluster.sites.batch import AGAIN, Job, Standing, State, job_id
from cluster.sites.keeper import KEEPER, Ticket, ask, command, identity
from cluster.sites.scripts import body, environ_of_submitter, path_of
from schemas.errors import SiteDown
from schemas.site import Pool, Site


class Local:
    """Jobs as processes of this machine, all at once: nothing waits for a place."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def script(self, job: Job) -> str:
        """Return the text of the script that each element runs."""
        return "\n".join(["#!/usr/bin/env bash", *body(job, self._site), ""])

    def submit(self, script: Path, job: Job) -> str:
        """Start a job, and return its id."""
        job.logs.mkdir(parents=True, exist_ok=True)
        ticket = Ticket(
            script=path_of(script),
            log=str(job.logs / job.name),
            count=job.count,
            walltime_s=job.pool.walltime_s,
            warn_s=self._site.warn_s,
        )
        mine = job_id()
        if (folder := os.environ.get(KEEPER, "")) and (keeper := _keeper(mine)):
            if id_ := ask(Path(folder), ticket, keeper.pid):
                return id_
            raise SiteDown(f"the keeper of job {mine} does not answer", "hand it in from outside the job")
        return run_command(command(ticket), environ=environ_of_submitter()).strip()

    def standings(self, ids: Iterable[str]) -> Mapping[str, tuple[Standing, ...]]:
        """Return the elements of each job; one that has ended as a whole is forgotten."""
        return {id_: _elements(id_) for id_ in ids}

    def cancel(self, ids: Iterable[str]) -> None:
        """End jobs, and do not start them again."""
        for id_ in ids:
            if keeper := _keeper(id_):
                with contextlib.suppress(psutil.NoSuchProcess):
                    keeper.send_signal(signal.SIGTERM)

    def again(self) -> int:
        """Have this job started once more: its keeper goes by the exit code."""
        return AGAIN

    def faults(self, where: str, pool: Pool) -> list[str]:
        """Return what this machine does not have."""
        faults = []
        if pool.queue:
            faults.append(f"{where}.queue: expected none, this machine has no queues, found {pool.queue!r}")
        if pool.cores > (cores := os.cpu_count() or 1):
            faults.append(f"{where}.cores: {pool.cores} asked for, this machine has {cores}")
        if pool.memory_gib > (gib := psutil.virtual_memory().total / 2**30):
            faults.append(f"{where}.memory_gib: {pool.memory_gib:g} asked for, this machine has {gib:.2f}")
        return faults


def _keeper(id_: str) -> psutil.Process | None:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, ValueError):
        pid = int(id_.partition(".")[0])
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE and identity(pid) == id_:
            return process
    return None


def _elements(id_: str) -> tuple[Standing, ...]:
    if (keeper := _keeper(id_)) is None:
        return ()
    try:
        alive = [child for child in keeper.children() if child.status() != psutil.STATUS_ZOMBIE]
        count = Ticket(**json.loads(keeper.cmdline()[-1])).count
    except (psutil.NoSuchProcess, IndexError, ValueError):
        return ()
    running = tuple(_standing(element) for element in alive)
    return running + (Standing(State.ENDED),) * (count - len(running))


def _standing(element: psutil.Process) -> Standing:
    with contextlib.suppress(psutil.NoSuchProcess):
        if not element.children():
            return Standing(State.WAITING, "", "about to be started")
    return Standing(State.RUNNING, platform.node())
