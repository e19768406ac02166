"""The interactive form: the driver and Dask's scheduler here, each worker a job of the one pool that has all stages.

The scripts are those of the submitted form. Dask's ``adapt`` keeps the number of jobs: it asks for another one when
one has died, which ``scale`` never does.
"""

import asyncio
import contextlib
import logging
import shlex
import socket
from pathlib import Path
from typing import Any

import dask
from distributed import Scheduler
from distributed.deploy import Cluster as DaskCluster
from distributed.deploy.spec import ProcessInterface, SpecCluster

from cluster.jobs.asking import MEMORY_SHARE, python_of
from cluster.joining import local_cluster
from cluster.session import SETTINGS
from cluster.sites.batch import Batch, Job, batch_of
from schemas.environment import MALLOC
from schemas.errors import SiteError
from schemas.site import POOL_STAGES, Pool, Site
from schemas.sitefile import load_site

ONCE = {"slurm": ("--no-requeue",), "pbs": ("-r n",), "sge": ("-r n",), "lsf": ("-rn",), "htcondor": ()}
"""Directives of a job that is not started again: another one takes its place, under another name."""
LOST_S = 5
"""A worker that is gone for so long [s] counts as lost, and its job is replaced."""

logger = logging.getLogger(__name__)


def start(name: str, *, nodes: int, scratch: Path, logs: Path) -> DaskCluster:
    """Start a scheduler here, and ask a site for workers.

    Parameters
    ----------
    name : str
        The site, see `schemas.sitefile.load_site`.
    nodes : int
        How many jobs.
    scratch : Path
        Folder for what workers may lose, where the site names none.
    logs : Path
        Folder for the scripts and the output of jobs, on a file system that all nodes see.

    Raises
    ------
    RunFileError
        If there is no such site, or its file has faults.
    SiteError
        If no pool has all stages, the site's scheduler would refuse the jobs, or this machine has not the site's
        interface.
    """
    site = load_site(name)
    if site.kind == "address":
        raise SiteError(
            f"the site {site.name} is a scheduler that is there already: it starts no workers",
            f"set cluster.address to {site.address!r} in place of cluster.site",
        )
    key, pool = whole_pool(site)
    if site.kind == "local":
        return local_cluster(workers=nodes, threads=pool.threads, memory_gib=pool.memory_gib, scratch=scratch)
    _check_interface(site)
    batch = batch_of(site)
    if faults := batch.faults(f"pools.{key}", pool):
        raise SiteError(f"the site {site.name}: {'; '.join(faults)}", "mend the site file")
    dask.config.set({"distributed.deploy.lost-worker-timeout": f"{LOST_S}s"})
    logs.mkdir(parents=True, exist_ok=True)
    batch.script(Job("probe", pool, "true", Path.cwd(), logs))
    options = {"batch": batch, "site": site, "pool": pool, "scratch": scratch, "logs": logs}
    cluster = SpecCluster(
        scheduler={
            "cls": Scheduler,
            "options": {"interface": site.interface or None, "dashboard": False, "dashboard_address": ":0"},
        },
        worker={"cls": WorkerJob, "options": options},
        name=f"skymill-{site.name}",
        silence_logs=logging.ERROR,
    )
    # The driver hands out a few tasks a worker, so Dask never sees the work that would call for more workers.
    cluster.adapt(minimum=nodes, maximum=nodes)
    return cluster


def whole_pool(site: Site) -> tuple[str, Pool]:
    """Return the pool whose jobs can be the workers of a whole run, with its name.

    Raises
    ------
    SiteError
        If there is none.
    """
    for name, pool in site.pools.items():
        if set(POOL_STAGES) <= set(pool.stages):
            return name, pool
    raise SiteError(
        f"the site {site.name}: the interactive form needs one pool with all stages ({', '.join(POOL_STAGES)})",
        "give a pool all of them in the site file, or submit the run instead: skymill submit",
    )


def _check_interface(site: Site) -> None:
    known = sorted(name for _, name in socket.if_nameindex())
    if site.interface and site.interface not in known:
        raise SiteError(
            f"interface: this machine has no {site.interface!r}; there are {', '.join(known)}",
            "name one that this machine and the nodes share in the site file, or submit the run instead",
        )


class WorkerJob(ProcessInterface):  # type: ignore[misc]
    """One job with one worker, as Dask's cluster asks for it and lets it go.

    Parameters
    ----------
    scheduler : str
        Address of Dask's scheduler.
    name : str
        Which of the cluster's workers it is.
    """

    def __init__(
        self, scheduler: str, name: Any = None, *, batch: Batch, site: Site, pool: Pool, **places: Path
    ) -> None:
        super().__init__(scheduler, name)
        once = pool.model_copy(update={"directives": (*pool.directives, *ONCE[site.kind])})
        self._batch = batch
        self._id = ""
        self._script = places["logs"] / f"worker-{name}.sh"
        self._job = Job(
            name=f"skymill-{name}",
            pool=once,
            command=worker_command(scheduler, str(name), site=site, pool=pool, scratch=places["scratch"]),
            folder=Path.cwd(),
            logs=places["logs"],
        )

    async def start(self) -> None:
        """Hand the job in."""
        self._script.write_text(self._batch.script(self._job), encoding="utf-8")
        self._id = await asyncio.to_thread(self._batch.submit, self._script, self._job)
        logger.info("%s is job %s", self._job.name, self._id)
        await super().start()

    async def close(self) -> None:
        """End the job, whatever it is at."""
        if self._id:
            with contextlib.suppress(SiteError):  # it ends by itself, without a scheduler
                await asyncio.to_thread(self._batch.cancel, [self._id])
        self._script.unlink(missing_ok=True)
        await super().close()


def worker_command(scheduler: str, name: str, *, site: Site, pool: Pool, scratch: Path) -> str:
    """Return the shell command of a worker; ``$VARIABLES`` of the site's scratch folder are the node's."""
    settings = {
        f"DASK_{key.replace('.', '__').replace('-', '_').upper()}": str(value)
        for key, value in SETTINGS.items()
        if key.startswith("distributed.worker.")
    }
    environment = [f"{key}={shlex.quote(value)}" for key, value in (MALLOC | settings).items()]
    return " ".join(
        [
            "env",
            *environment,
            shlex.join(python_of(site)),
            f"-m distributed.cli.dask_worker {scheduler} --name {name} --nthreads {pool.threads}",
            f"--memory-limit {MEMORY_SHARE * pool.memory_gib:g}GiB --nanny --no-dashboard --death-timeout 60",
            *([f"--interface {site.interface}"] if site.interface else []),
            f'--local-directory "{site.scratch}"'
            if site.scratch
            else f"--local-directory {shlex.quote(str(scratch))}",
        ]
    )
