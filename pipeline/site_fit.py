"""Whether a run fits a site: memory, time, disks and network, by what the run file and the site file say."""

import math
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from pipeline.database import embedded_folder
from pipeline.estimate import LIBRARIES_GIB, memory_needed_gib
from pipeline.sources.choice import requests_per_row
from schemas.config import RunFile
from schemas.disk import filesystem_of
from schemas.errors import SiteError, SkymillError
from schemas.site import POOL_STAGES, Pool, Site

START_UP_S = 20
"""From a job's first second to a worker's first task [s]: Python, its libraries, and the way to the scheduler."""
BLOCK_STAGES = {"fetch", "train", "infer"}
"""Stages whose workers hold blocks in memory."""
MEMORY_FILESYSTEMS = {"tmpfs", "ramfs"}
SHARED_NOT_NEEDED = ("local", "address")
"""Kinds of sites whose jobs see this machine's disks."""


def pool_faults(run_file: RunFile, site: Site, counts: Mapping[str, int]) -> list[SkymillError]:
    """Name pools that lack memory or time for a block, and stages that have no worker.

    `counts` are jobs by pool; it is empty where the workers are there already.
    """
    there = {name: site.pools[name] for name, count in counts.items() if count > 0}
    faults: list[SkymillError] = [
        SiteError(
            f"pools: none with the stage {stage!r} has a job", "ask for at least one, by nodes or --nodes"
        )
        for stage in POOL_STAGES
        if counts and not any(stage in pool.stages for pool in there.values())
    ]
    faults += _walltime_faults("driver", site.driver, START_UP_S + site.warn_s, "to start and to leave")
    block_s = block_seconds(run_file, site, counts)
    for name, pool in there.items():
        where = f"pools.{name}"
        needed_gib = memory_needed_gib(run_file) if BLOCK_STAGES & set(pool.stages) else LIBRARIES_GIB
        if pool.memory_gib < needed_gib:
            faults.append(
                SiteError(
                    f"{where}.memory_gib: a worker needs {needed_gib:.2f} GiB, found {pool.memory_gib:g}",
                    "raise it, or lower cube.rows_per_block",
                )
            )
        own_s = block_s if "fetch" in pool.stages else 0.0
        words = f"{own_s:,.0f} s for one block of {run_file.cube.rows_per_block} rows" if own_s else ""
        if own_s:
            words += (
                f" at {run_file.politeness.requests_per_second:g} requests a second, shared by all workers,"
            )
        words = f"({words} {START_UP_S} s to start and {site.warn_s} s to leave)"
        faults += _walltime_faults(where, pool, START_UP_S + site.warn_s + own_s, words)
    return faults


def _walltime_faults(where: str, pool: Pool, needed_s: float, words: str) -> list[SkymillError]:
    if pool.walltime_s >= needed_s:
        return []
    return [
        SiteError(
            f"{where}.walltime: {pool.walltime} ({pool.walltime_s:,} s) is too short: "
            f"{math.ceil(needed_s):,} s are needed {words}",
            "raise walltime or lower warn_s in the site file; a smaller cube.rows_per_block, fewer --nodes or more "
            "politeness.requests_per_second make blocks shorter",
        )
    ]


def block_seconds(run_file: RunFile, site: Site, counts: Mapping[str, int]) -> float:
    """Return how long [s] one block is fetched at the polite rate, which all that fetch at a time share.

    It is 0 where no server is asked.
    """
    if not requests_per_row(run_file.images):
        return 0.0
    rows = run_file.cube.rows_per_block
    fetching = sum(
        count * site.pools[name].threads
        for name, count in counts.items()
        if "fetch" in site.pools[name].stages
    )
    limits = [sample.limit for sample in run_file.samples.values()]
    blocks = sum(math.ceil(limit / rows) for limit in limits if limit) if all(limits) else fetching
    return rows * max(1, min(fetching, blocks)) / run_file.politeness.requests_per_second


def place_faults(run_file: RunFile, site: Site) -> list[SkymillError]:
    """Name what other nodes must see and do not; a site without ``node_local`` says that they see all."""
    if site.kind in SHARED_NOT_NEEDED or not site.node_local:
        return []
    places = {
        "the folder you submit from": Path.cwd(),
        "output": run_file.folder,
        "cube.path": run_file.cube_folder,
    }
    if run_file.database.dsn == "embedded":
        places["database.directory"] = embedded_folder(run_file)
    if run_file.database.password_file:
        places["database.password_file"] = Path(run_file.database.password_file)
    if run_file.source.url == "sandbox" and run_file.sandbox.sky != "default":
        places["sandbox.sky"] = Path(run_file.sandbox.sky)
    if run_file.source.url == "sandbox" and run_file.sandbox.stamps:
        places["sandbox.stamps"] = Path(run_file.sandbox.stamps)
    faults: list[SkymillError] = []
    named: list[Path] = []
    for what, place in places.items():
        if any(place.is_relative_to(above) for above in named):
            continue
        if why := why_local(place, site.node_local):
            named.append(place)
            faults.append(
                SiteError(
                    f"{what}: {place} is on a disk of this machine ({why}), which the site's other nodes do not see",
                    "take a folder on the shared file system; if this one is, mend node_local in the site file",
                )
            )
    return faults


def why_local(place: Path, prefixes: tuple[str, ...]) -> str:
    """Say why other nodes do not see a place, by a site's ``node_local``; empty if they may."""
    for path in {place.absolute(), place.resolve()}:
        for prefix in prefixes:
            if path.is_relative_to(os.path.expandvars(prefix)):
                return f"node_local has {prefix}"
        if filesystem_of(path) in MEMORY_FILESYSTEMS:
            return "it is in memory"
    return ""


def network_faults(run_file: RunFile, site: Site) -> list[SkymillError]:
    """Name what the workers would not reach."""
    faults: list[SkymillError] = []
    sandbox = run_file.source.url == "sandbox"
    names = sorted(name for _, name in socket.if_nameindex())
    if sandbox and not site.interface and site.kind not in SHARED_NOT_NEEDED:
        faults.append(
            SiteError(
                "interface: the sandbox of source.url would answer on 127.0.0.1 of the driver's node only, which the "
                "workers on other nodes do not reach",
                "name the network that the nodes share in the site file (interface), or set source.url",
            )
        )
    if site.kind == "local" and site.interface and site.interface not in names:
        faults.append(
            SiteError(
                f"interface: there is no {site.interface!r} on this machine, but {', '.join(names)}",
                "name one of them in the site file, or none",
            )
        )
    offline = [
        name
        for name, pool in site.pools.items()
        if not pool.internet and {"pull", "fetch"} & set(pool.stages)
    ]
    if offline and not sandbox:
        faults.append(
            SiteError(
                f"pools.{offline[0]}: has the stages pull or fetch, but internet = false: its nodes do not reach "
                f"{run_file.source.url}",
                "give these stages to a pool whose nodes do (a data-transfer node's queue), and to no other",
            )
        )
    return faults
