"""The capacity plan: ``skymill plan`` with ``--objects`` or ``--site``."""

import argparse
import math
from collections.abc import Mapping
from pathlib import Path

from cluster.work import find
from pipeline import rates
from pipeline.efficiency import Efficiency, efficiency_of
from pipeline.estimate import GIB, memory_needed_gib
from pipeline.forecast import Forecast, span
from pipeline.stores.staging import free_bytes
from schemas.config import RunFile
from schemas.errors import PlanError
from schemas.runfile import load_run_file
from schemas.site import POOL_STAGES, Site
from schemas.sitefile import load_site

ASSUMED = Path(__file__).with_name("assumed.toml")
"""The run file where none is given."""


def plan(args: argparse.Namespace) -> int:
    """Say what a run of so many objects will take: hours, node-hours, disk, requests.

    Raises
    ------
    PlanError
        If the numbers asked for are none, or a worker of the site cannot do the work.
    """
    if args.objects is not None:
        _check_objects(args.objects)
    if args.nodes < 1:
        raise PlanError(f"--nodes: expected at least 1, found {args.nodes}", "write for example --nodes 4")
    site = load_site(args.site) if args.site else None
    run_file, words = chosen_run_file(args)
    if args.objects is None:
        if words:
            raise PlanError("without a run file there is nothing to count", "give RUN.toml, or --objects 5e6")
        find("pipeline.verbs:plan")(argparse.Namespace(**{**vars(args), "site": ""}))
    seen = rates.seen(run_file)
    counts = dict(seen.counts) if args.objects is None else shares(run_file, round(args.objects), seen.counts)
    place = site or here(run_file)
    nodes = place.nodes_of(args.nodes if site or args.nodes > 1 else run_file.cluster.workers)
    check_pools(place, nodes)
    efficiency = efficiency_of(run_file)
    forecast = Forecast(run_file, place, nodes, counts, seen, efficiency.at)
    print("\n".join(words + lines(forecast, efficiency, is_site=site is not None)))
    if faults := forecast.faults():
        raise PlanError("the plan cannot be done so: " + "; ".join(faults), "mend what is named above")
    return 0


def chosen_run_file(args: argparse.Namespace) -> tuple[RunFile, list[str]]:
    """Return the run file, and, where none was given, the words that say what is assumed."""
    given, words = args.run_file, list(getattr(args, "words", None) or [])
    if given and ("=" not in given or Path(given).exists()):
        return load_run_file(Path(given), words=words), []
    with_words = [given, *words] if given else words
    run_file = load_run_file(ASSUMED, words=with_words)
    said = ", ".join(with_words)
    return run_file, [
        f"no run file: cutouts of {run_file.images.pixels} pixels, preset {run_file.model.preset}, blocks of "
        f"{run_file.cube.rows_per_block:,} rows, {run_file.politeness.requests_per_second:g} requests/s are assumed"
        + (f" (with {said})" if said else "")
    ]


def check_pools(site: Site, nodes: Mapping[str, int]) -> None:
    """Check that some job does each stage.

    Raises
    ------
    PlanError
        Naming the stages that none does.
    """
    dry = [
        stage
        for stage in POOL_STAGES
        if not any(nodes[name] and stage in pool.stages for name, pool in site.pools.items())
    ]
    if dry:
        raise PlanError(
            f"site {site.name}: no job does {', '.join(dry)}",
            "raise nodes of a pool; workers that are there already are planned for by --nodes without --site",
        )


def here(run_file: RunFile) -> Site:
    """Return the run file's own workers as a site: processes of this machine, with no end to their time."""
    cluster = run_file.cluster
    pool = {"cores": cluster.threads, "threads": cluster.threads, "memory_gib": cluster.memory_gib}
    endless = {"walltime": "999-00:00:00"}
    data = {"name": "here", "kind": "local", "driver": endless, "pools": {"workers": pool | endless}}
    return Site.model_validate(data)


def shares(run_file: RunFile, objects: int, counted: Mapping[str, int]) -> dict[str, int]:
    """Share objects out among the samples of a run.

    The training sample keeps the number that was counted, or else its limit; the others have the rest, by their
    counts where they are known.

    Examples
    --------
    >>> shares(load_run_file(ASSUMED, environ={}), 10, {})
    {'spectro': 10}
    """
    learnt = run_file.training.sample
    others = [name for name in run_file.samples if name != learnt]
    if not others:
        return {learnt: objects}
    fixed = counted.get(learnt) or run_file.samples[learnt].limit or objects // len(run_file.samples)
    left = objects - min(fixed, objects)
    weights = {name: counted.get(name, 0) for name in others}
    if not all(weights.values()):
        weights = dict.fromkeys(others, 1)
    total, found = sum(weights.values()), {learnt: objects - left}
    for name in others[:-1]:
        found[name] = left * weights[name] // total
    found[others[-1]] = objects - sum(found.values())
    return found


def lines(forecast: Forecast, efficiency: Efficiency, *, is_site: bool) -> list[str]:
    """Return the plan as text for a person."""
    counts = ", ".join(f"{rows:,} {name}" for name, rows in forecast.counts.items())
    pools = ", ".join(f"{count} of {name}" for name, count in forecast.nodes.items())
    unknown = [step.stage for step in forecast.steps if not step.is_known]
    in_all = span(forecast.seconds) + (f" and {', '.join(unknown)}, not known" if unknown else "")
    return [
        f"{forecast.objects:,} objects ({counts}) on site {forecast.site.name}, jobs: {pools}",
        *(f"  {step.stage:<10} {span(step.seconds):<9} {step.bound}" for step in forecast.steps),
        f"  in all     {in_all}; waiting in queues is not counted",
        *_politeness(forecast),
        *(_nodes(forecast) if is_site else []),
        f"  requests   {forecast.requests:,}, {forecast.queries:,} of them queries",
        *_space(forecast),
        f"  memory     {memory_needed_gib(forecast.run_file):.2f} GiB a worker ("
        + ", ".join(f"{name} has {pool.memory_gib:g}" for name, pool in forecast.site.pools.items())
        + ")",
        *_blocks(forecast, is_site=is_site),
        *_sources(forecast, efficiency),
    ]


def _politeness(forecast: Forecast) -> list[str]:
    fetch = next(step for step in forecast.steps if step.stage == "fetch")
    if "politeness" not in fetch.bound:
        return []
    able = forecast.speed("fetch")
    words = f"; these workers could take {able:,.0f}/s" if able > 0 else ""
    return [
        f"  note       fetch is bounded by politeness, not by nodes: more of them do not make it faster{words}"
    ]


def _nodes(forecast: Forecast) -> list[str]:
    pools = {"driver": (1, forecast.site.driver)}
    pools |= {name: (count, forecast.site.pools[name]) for name, count in forecast.nodes.items() if count}
    found = []
    for name, (count, pool) in pools.items():
        hours, lives = count * forecast.seconds / 3600, forecast.lives(pool.walltime_s)
        busy = f", busy {forecast.busy_s(name) / forecast.seconds:.0%} of it" if name != "driver" else ""
        spare = (
            f", {pool.threads} of {pool.cores} cores used"
            if name != "driver" and pool.threads < pool.cores
            else ""
        )
        found.append(
            f"  {name:<10} {_number(hours)} node-hours: {count} job{'s' if count > 1 else ''}{busy}{spare}; "
            f"{lives} {'lives' if lives > 1 else 'life'} of {pool.walltime} each"
        )
    return found


def _space(forecast: Forecast) -> list[str]:
    sizes = forecast.disk_bytes
    parts = ", ".join(f"{name} {_gib(size)}" for name, size in sizes.items())
    total = sum(size for size in sizes.values() if size > 0)
    free = free_bytes(forecast.run_file.cube_folder)
    small = "; that is too little" if free < total else ""
    return [
        f"  disk       {_gib(total)} ({parts}); {_gib(free)} free here{small}",
        f"  database   {_gib(forecast.database_bytes)} a published version",
    ]


def _blocks(forecast: Forecast, *, is_site: bool) -> list[str]:
    times = {stage: forecast.block_s(stage) for stage in ("fetch", "infer")}
    words = ", ".join(f"{stage} {span(seconds)}" for stage, seconds in times.items())
    found = [f"  block      {forecast.run_file.cube.rows_per_block:,} rows: {words}"]
    for name, count in forecast.nodes.items() if is_site else ():
        pool = forecast.site.pools[name]
        longest = max(
            (times[stage] for stage in times if stage in pool.stages and times[stage] > 0), default=0.0
        )
        if count and longest > 0.2 * pool.walltime_s:
            found.append(
                f"  note       a block of {name} takes {span(longest)} of its walltime of {pool.walltime}: what is not "
                "done when a job leaves is begun again; a longer walltime or smaller blocks waste less"
            )
    return found


def _sources(forecast: Forecast, efficiency: Efficiency) -> list[str]:
    known: dict[str, list[str]] = {}
    unknown = [step.stage for step in forecast.steps if not step.is_known]
    for step in forecast.steps:
        if step.rate.is_known:
            known.setdefault(step.rate.source, []).append(f"{step.stage} {_number(step.rate.per_s)}")
    found = [f"  rates      {', '.join(each)} rows/s a thread ({source})" for source, each in known.items()]
    if unknown:
        found.append(
            f"  rates      {', '.join(unknown)} never measured: run it once on a few objects, and plan again"
        )
    notes = [forecast.seen.words] if forecast.seen.words else []
    if any(pool.gpus for pool in forecast.site.pools.values()) and "train" not in forecast.seen.rates:
        notes.append("train and infer are counted as on CPU cores: no GPU was measured")
    return [*found, *(f"  note       {each}" for each in [*notes, efficiency.words])]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _gib(size: float) -> str:
    return f"{_number(size / GIB)} GiB" if math.isfinite(size) else "not known"


def _check_objects(objects: float) -> None:
    if not (math.isfinite(objects) and objects >= 1):
        raise PlanError(
            f"--objects: expected a number of at least 1, found {objects:g}",
            "write for example --objects 5e6",
        )
