"""The verb ``skymill ping``: one short job a pool looks at a site, before a run is submitted there."""

import argparse
import contextlib
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from psycopg2.extensions import parse_dsn

from cluster.jobs import node
from cluster.jobs.ping import ORDER
from cluster.jobs.reach import reach_url
from cluster.sites.batch import batch_of
from cluster.submission import write_json
from pipeline.database import embedded_folder
from pipeline.ping_asked import DRIVER, Answer, Asked, Finding, where
from pipeline.ping_findings import findings
from pipeline.ping_jobs import Jobs, Listening, short
from pipeline.ping_nodes import least_memory, usable_cores
from pipeline.site_fit import SHARED_NOT_NEEDED, why_local
from pipeline.stores.staging import disk_errors
from schemas.config import RunFile
from schemas.errors import SiteError
from schemas.runfile import load_run_file
from schemas.site import Pool, Site
from schemas.sitefile import load_site

FOLDER = Path(".skymill/ping")


def ping(args: argparse.Namespace) -> int:
    """Have a job of each pool look at a site, and say what to change."""
    site = load_site(args.site)
    run_file = load_run_file(Path(args.run_file)) if args.run_file else None
    pools = chosen_pools(site, args.pool)
    if site.kind == "address":
        raise SiteError(
            f"site {site.name} is a Dask scheduler that is there already: there is no job to ping with",
            "`dask.distributed.Client(address).get_versions(check=True)` compares its workers with this machine",
        )
    batch = batch_of(site)
    if faults := [fault for name, pool in pools.items() for fault in batch.faults(where(name), pool)]:
        raise SiteError(
            f"site {site.name}: " + "; ".join(faults), "mend what is named above in the site file"
        )
    with disk_errors(FOLDER):
        folder = FOLDER.resolve() / f"{site.name}-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}"
        folder.mkdir(parents=True)
    with Jobs(batch, folder) as jobs, markers(run_file) as marked, Listening() as here:
        order = order_of(site, pools, run_file) | {"folders": marked, "login": here.as_order()}
        write_json(folder / ORDER, order)
        jobs.hand_in(site, pools)
        answers = jobs.wait(str(order["nonce"]), wait_s=args.wait)
    reached = bool(order["source"]) and bool(reach_url(str(order["source"]))["reached"])
    asked = Asked(site, pools, node.versions(), node.rooms(), sys.executable, jobs.silent, reached)
    found = node_local(site, {key: each["path"] for key, each in marked.items()}) + findings(asked, answers)
    for line in [*table(pools, answers), *(finding.line() for finding in found)]:
        print(line)
    if count := sum(finding.is_fault for finding in found):
        print(f"{count} to mend; all answers and logs are in {folder}")
        return SiteError.exit_code
    shutil.rmtree(folder, ignore_errors=True)
    print(f"site {site.name} can be used" + ("" if found else ": nothing to mend"))
    return 0


def chosen_pools(site: Site, only: str) -> dict[str, Pool]:
    """Return the pools that are pinged, the driver's first; `only` that and one other, where it is given.

    Raises
    ------
    SiteError
        If the site has no pool of that name.
    """
    if only and only not in site.pools and only != DRIVER:
        raise SiteError(
            f"site {site.name} has no pool {only!r}", f"choose one of {', '.join([DRIVER, *site.pools])}"
        )
    others = {name: pool for name, pool in site.pools.items() if only in ("", name) and pool.nodes != 0}
    return {DRIVER: site.driver, **others}


def order_of(site: Site, pools: Mapping[str, Pool], run_file: RunFile | None) -> dict[str, Any]:
    """Return what the jobs are to try, less what only this machine knows."""
    url = run_file.source.url if run_file and run_file.source.url != "sandbox" else ""
    return {
        "names": list(pools),
        "lives_s": {name: max(10.0, short(pool).walltime_s - 20.0) for name, pool in pools.items()},
        "interface": site.interface,
        "scratch": site.scratch,
        "nonce": secrets.token_hex(8),
        "source": url,
        "database": database_of(run_file) if run_file else None,
    }


def database_of(run_file: RunFile) -> tuple[str, int] | None:
    """Return host and port of a run's database; None where it is the embedded one.

    Raises
    ------
    SiteError
        If it is a socket of this machine.
    """
    if run_file.database.dsn == "embedded":
        return None
    words = parse_dsn(run_file.database.dsn)
    host = (words.get("hostaddr") or words.get("host") or os.environ.get("PGHOST", "")).split(",")[0]
    if not host or host.startswith(("/", "@")):
        raise SiteError(
            f"database.dsn names a socket of this machine ({host or 'the default one'}): no job reaches it",
            "name host= and port= in database.dsn",
        )
    return host, int((words.get("port") or os.environ.get("PGPORT", "5432")).split(",")[0])


@contextlib.contextmanager
def markers(run_file: RunFile | None) -> Iterator[dict[str, dict[str, str]]]:
    """Lay a file into each folder that a run needs on all nodes, by its key; take it away afterwards."""
    folders: dict[str, Path] = {}
    if run_file:
        folders = {"output": run_file.folder, "cube.path": run_file.cube_folder}
        if run_file.database.dsn == "embedded":
            folders["database.directory"] = embedded_folder(run_file)
    name, laid = f".skymill-ping-{secrets.token_hex(4)}", {}
    try:
        for key, folder in folders.items():
            there = folder.resolve()
            while not there.is_dir():
                there = there.parent
            laid[key] = {"path": str(there), "marker": name}
            try:
                (there / name).touch()
            except OSError:  # the job will say that it cannot write there either
                laid[key]["marker"] = ""
        yield laid
    finally:
        for each in laid.values():
            with contextlib.suppress(OSError):  # it is gone with its folder
                Path(each["path"], name).unlink(missing_ok=True)


def node_local(site: Site, folders: Mapping[str, str]) -> list[Finding]:
    """Return a note for each folder, by its key, that lies where other nodes do not look."""
    if site.kind in SHARED_NOT_NEEDED or not site.node_local:
        return []
    return [
        Finding(
            key,
            f"{path} is on a disk of one node ({why})",
            f"set {key} to the shared disk",
            is_fault=False,
        )
        for key, path in folders.items()
        if (why := why_local(Path(path), site.node_local))
    ]


def table(names: Iterable[str], answers: Mapping[str, Answer]) -> list[str]:
    """Return a line a pool: node, cores, memory, GPUs, scratch and what it reaches."""
    rows: list[tuple[str, ...]] = [
        ("", "node", "cores", "memory", "GPUs", "scratch", "shared disk", "reaches")
    ]
    for name in names:
        answer = answers.get(name)
        if answer is None or not answer.get("looked"):
            rows.append((name, "no answer", "", "", "", "", "", ""))
            continue
        rows.append((name, str(answer["node"]), *_cells(answer)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _cells(answer: Answer) -> tuple[str, ...]:
    cores, memory, scratch = (answer.get(key) or {} for key in ("cores", "memory", "scratch"))
    trip = answer.get("round_trip_s")
    met = [name for name, each in (answer.get("peers") or {}).items() if each["reached"]]
    met += [
        words
        for key, words in (("login", "this machine"), ("source", "survey server"), ("database", "database"))
        if (answer.get(key) or {}).get("reached")
    ]
    return (
        f"{usable_cores(cores):g}" if cores else "?",
        f"{least_memory(memory)[1]:.3g} GiB" if memory else "?",
        str(answer.get("gpus", "?")),
        f"{scratch['write_mib_s']:.0f}/{scratch['read_mib_s']:.0f} MiB/s {scratch['kind']}"
        if "read_mib_s" in scratch
        else "?",
        "?" if trip is None else f"{trip:.1f} s",
        ", ".join(met) or "nothing",
    )
