"""What is wrong with a submission, all of it at once and before anything is submitted."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from cluster.sites.batch import batch_of
from cluster.submission import Submission
from cluster.work import find
from pipeline.database import embedded_folder
from pipeline.site_fit import SHARED_NOT_NEEDED, network_faults, place_faults, pool_faults
from pipeline.stores import launcher
from pipeline.stores.takeover import other_host_fault
from pipeline.submitted import refuse_submitted
from schemas.config import RunFile
from schemas.errors import DatabaseError, SiteError, SkymillError
from schemas.runfile import load_run_file
from schemas.site import Pool, Site
from schemas.sitefile import load_site

_T = TypeVar("_T")


def load_both(path: Path, site_name: str, *, words: list[str], nodes: int, ask: bool) -> tuple[RunFile, Site]:
    """Read and check a run file and a site file, for a submission.

    Parameters
    ----------
    path : Path
        The run file.
    site_name : str
        What ``--site`` says.
    words : list of str
        ``key=value`` overrides of the run file.
    nodes : int
        What ``--nodes`` says.
    ask : bool
        Whether to ask the scheduler and the database too.

    Raises
    ------
    SkymillError
        With all faults; its kind is that of the first.
    """
    faults: list[SkymillError] = []
    run_file = _try(lambda: load_run_file(path, words=words), faults)
    site = _try(lambda: load_site(site_name), faults)
    if nodes < 1:
        faults.append(SiteError(f"--nodes: expected at least 1, found {nodes}", "ask for one or more"))
    if ask and run_file and not Submission.of(run_file.folder).end:
        refuse_submitted(run_file)
    if run_file and site:
        faults += faults_of(run_file, site, counts_of(site, max(nodes, 1)), ask=ask)
    raise_all(faults)
    assert run_file and site
    return run_file, site


def faults_of(
    run_file: RunFile, site: Site, counts: Mapping[str, int], *, ask: bool = True
) -> list[SkymillError]:
    """Return all that is wrong with doing a run on a site, with so many jobs of each pool; `ask` the scheduler too."""
    pools = {"driver": site.driver, **{f"pools.{name}": site.pools[name] for name, n in counts.items() if n}}
    looks: list[Callable[[], list[SkymillError]]] = [
        partial(_run_file_faults, run_file, site),
        partial(pool_faults, run_file, site, counts),
        partial(place_faults, run_file, site),
        partial(network_faults, run_file, site),
    ]
    if ask:
        looks += [partial(_scheduler_faults, site, pools), partial(_database_faults, run_file, site)]
    return [fault for look in looks for fault in look()]


def counts_of(site: Site, nodes: int) -> dict[str, int]:
    """Return how many jobs each pool has; none where the workers are there already."""
    return {} if site.kind == "address" else site.nodes_of(nodes)


def raise_all(faults: list[SkymillError]) -> None:
    """Raise one fault as it is, and several as one error of the first's kind; nothing for none."""
    if len(faults) == 1:
        raise faults[0]
    if faults:
        listed = "\n".join(f"  {fault.message}; {fault.remedy}" for fault in faults)
        raise type(faults[0])(
            f"the submission has {len(faults)} faults:\n{listed}",
            "mend what is named above; nothing was submitted",
        )


def notes_of(run_file: RunFile, site: Site) -> list[str]:
    """Return what is no fault, but may be one."""
    notes = []
    if not site.driver.internet and run_file.source.url != "sandbox":
        notes.append(
            "note: the driver's nodes do not reach the survey server, and the driver counts the samples there once: "
            "have that done here first, by `skymill plan`"
        )
    if os.environ.get("PGPASSWORD") and run_file.database.dsn != "embedded":
        notes.append(
            "note: PGPASSWORD is set here; whether the driver's job gets it is the scheduler's choice. "
            "database.password_file is sure"
        )
    return notes


def _try(look: Callable[[], _T], faults: list[SkymillError]) -> _T | None:
    try:
        return look()
    except SkymillError as error:
        faults.append(error)
        return None


def _run_file_faults(run_file: RunFile, site: Site) -> list[SkymillError]:
    faults: list[SkymillError] = []
    cluster = run_file.cluster
    for key, value in {"cluster.address": cluster.address, "cluster.site": cluster.site}.items():
        if value:
            faults.append(
                SiteError(
                    f"{key}: found {value!r}, but a submitted run has workers of its own, from --site",
                    f"take {key} out of the run file and the environment, or begin the run here: skymill run",
                )
            )
    elsewhere = cluster.model_copy(update={"address": "its own", "site": None})
    looked_at = run_file.model_copy(update={"cluster": elsewhere}) if site.python else run_file
    _try(lambda: find("pipeline.checks:check")(looked_at), faults)
    return faults


def _scheduler_faults(site: Site, pools: Mapping[str, Pool]) -> list[SkymillError]:
    remedy = f"mend it in the site file of {site.name}"
    try:
        batch = batch_of(site)
        return [
            SiteError(text, remedy) for where, pool in pools.items() for text in batch.faults(where, pool)
        ]
    except SiteError as error:
        return [error]


def _database_faults(run_file: RunFile, site: Site) -> list[SkymillError]:
    if run_file.database.dsn != "embedded" or site.kind in SHARED_NOT_NEEDED:
        return []
    folder = embedded_folder(run_file)
    if fault := other_host_fault(folder):
        return [fault]
    if launcher.clients(folder):
        return [
            DatabaseError(
                f"the database in {folder} runs on this machine and is in use; a job's node cannot start it there too",
                "end what uses it and stop it (skymill db stop), or give this run a database.directory of its own",
            )
        ]
    return []
