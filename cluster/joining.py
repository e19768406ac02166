"""Find the Dask scheduler that a run file names, or start one with its workers."""

import logging
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

from distributed import Client, LocalCluster
from distributed.deploy import Cluster as DaskCluster

from cluster.submission import read_json
from cluster.work import find
from schemas.config import Cluster
from schemas.errors import WorkerError

CONNECT_S = 60.0
"""How long [s] a scheduler, or its file, is waited for."""
STALE_S = 15.0
"""How long [s] nobody answers at the address in a scheduler file until the file counts as left behind."""
LOOK_S = 0.2


def start_workers(cluster: Cluster, *, scratch: Path, logs: Path) -> DaskCluster | None:
    """Start the workers that a run file asks for; None if they are those of a scheduler that is there already.

    Parameters
    ----------
    cluster : Cluster
        The run file's section.
    scratch : Path
        Node-local folder for what workers may lose.
    logs : Path
        Folder for the output of jobs.

    Raises
    ------
    SkymillError
        If the site is not known, or its scheduler refuses.
    """
    if cluster.address is not None:
        return None
    if cluster.site is not None:
        started: DaskCluster = find("cluster.sites.interactive:start")(
            cluster.site, nodes=cluster.nodes, scratch=scratch, logs=logs
        )
        return started
    return local_cluster(
        workers=cluster.workers, threads=cluster.threads, memory_gib=cluster.memory_gib, scratch=scratch
    )


def local_cluster(*, workers: int, threads: int, memory_gib: float, scratch: Path) -> LocalCluster:
    """Start workers, each a process of this machine."""
    scratch.mkdir(parents=True, exist_ok=True)
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=threads,
        processes=True,
        memory_limit=f"{memory_gib}GiB",
        dashboard_address="127.0.0.1:0",  # None would take, and complain of, port 8787
        scheduler_kwargs={"dashboard": False},  # nobody looks at it, and Bokeh takes a second to load
        local_directory=str(scratch),
        silence_logs=logging.ERROR,
    )


def connect(there: DaskCluster | str) -> Client:
    """Connect to a scheduler: one that was started here, an address, or the path of a scheduler file.

    Raises
    ------
    WorkerError
        If it does not answer; if the file does not come, or is that of a scheduler that has ended.
    """
    if isinstance(there, str) and there.endswith(".json"):
        there = _address_in(Path(there))
    try:
        return Client(there, timeout=f"{CONNECT_S:g}s", set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise WorkerError(
            f"no Dask scheduler answers ({there}): {error}",
            "check cluster.address, and that this scheduler runs",
        ) from error


def _address_in(path: Path) -> str:
    """Return the address in a scheduler file, once somebody answers there."""
    begun_s = time.monotonic()
    dead: tuple[str, float] = ("", begun_s)
    while True:
        found = read_json(path)
        address, now = str((found or {}).get("address", "")), time.monotonic()
        if address and _answers(address):
            return address
        if address != dead[0]:
            dead = (address, now)
        if address and now - dead[1] > STALE_S:
            raise WorkerError(
                f"the scheduler file {path} is stale: nobody answers at {address}",
                "its scheduler has ended: start one (`dask scheduler --scheduler-file …`) with its workers, or remove "
                "the file; of a submitted run, see `skymill status`",
            )
        if not address and now - begun_s > CONNECT_S:
            what = "is not there" if not path.exists() else "does not hold the address of a Dask scheduler"
            raise WorkerError(
                f"the scheduler file {path} {what} (waited for {CONNECT_S:g} s)",
                "start a scheduler with `dask scheduler --scheduler-file …`, or mend cluster.address",
            )
        time.sleep(LOOK_S)


def _answers(address: str) -> bool:
    """Say whether something listens at ``tcp://host:port``; an address of another kind is left to Dask."""
    try:
        parts = urlsplit(address)
        if parts.hostname is None or parts.port is None:
            return True
        with socket.create_connection((parts.hostname, parts.port), timeout=5.0):
            return True
    except (OSError, ValueError):
        return False
