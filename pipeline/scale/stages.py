"""What is driven again and again: the stages of one prepared run, each made undone before it is measured."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.work import find
from pipeline import flow, training, units
from pipeline.forecast import epochs_of
from pipeline.mill import Mill
from pipeline.progress import last_generation, read_events
from pipeline.provenance import of_rows
from pipeline.scale.bottleneck import Asked
from pipeline.scale.measuring import Measurement, Nodes, Split, fetch_told_apart, split_of
from pipeline.stores.catalogue_versions import list_versions
from pipeline.stores.staging import clean, remove
from schemas.digests import digest_of
from schemas.records import Receipt, Unit

STAGES = ("fetch", "train", "infer", "publish")
BEFORE = {
    "fetch": (),
    "train": ("fetch",),
    "infer": ("fetch", "train"),
    "publish": ("fetch", "train", "infer"),
}
"""What has to be there before a stage can be measured."""


@dataclass
class Prepared:
    """A run that is done as far as it has to be: its blocks, and what its stages left behind."""

    mill: Mill
    blocks: list[Unit]
    trail: flow.Trail

    def some(self, share: float) -> list[Unit]:
        """Return the first blocks, as many as make up a share of them; one at least."""
        return self.blocks[: max(1, round(share * len(self.blocks)))]


def prepare(mill: Mill, stages: Sequence[str]) -> Prepared:
    """Bring a run to where the stages can be measured, by its usual flow."""
    trail, blocks = flow.begin(mill)
    wanted = {before for stage in stages for before in (*BEFORE[stage], stage)}
    trail.fetch = flow.fetch(mill, blocks)
    if wanted & {"infer", "publish"}:
        trail.train = _train(mill, trail)
        trail.infer = flow.infer(mill, blocks, trail)
    return Prepared(mill, blocks, trail)


def _train(mill: Mill, trail: flow.Trail) -> dict[str, Receipt]:
    rows = trail.rows[mill.run_file.training.sample]
    trail.pretrain = training.pretrain(mill, rows, trail.fetch)
    return training.train(mill, rows, trail.fetch, {}, trail.pretrain)


def measure(run: Prepared, stage: str, nodes: Nodes, *, share: float) -> tuple[Measurement, Asked | None]:
    """Do a stage once more with the nodes that take part, `share` of its work, and return what it took."""
    return _MEASURES[stage](run, nodes, share)


def _fetch(run: Prepared, nodes: Nodes, share: float) -> tuple[Measurement, Asked]:
    blocks = run.some(share)
    run.mill.ledger.reset("fetch", [unit.key for unit in blocks])
    for unit in blocks:  # what a block says it holds would be kept
        for product in run.trail.fetch[unit.key].products:
            if "status" in Path(product.final).parts:
                remove(Path(product.final))
    wall_s, receipts = _timed(lambda: flow.fetch(run.mill, blocks))
    split = fetch_told_apart(_split(run, "fetch", wall_s, nodes), receipts.values())
    facts = [receipt.facts for receipt in receipts.values()]
    asked = Asked(sum(each["requests"] for each in facts), sum(each["network_s"] for each in facts))
    return _measurement("fetch", nodes, wall_s, receipts, split), asked


def _infer(run: Prepared, nodes: Nodes, share: float) -> tuple[Measurement, None]:
    blocks = run.some(share)
    run.mill.ledger.reset("infer", [unit.key for unit in blocks])
    wall_s, receipts = _timed(lambda: flow.infer(run.mill, blocks, run.trail))
    return _measurement("infer", nodes, wall_s, receipts, _split(run, "infer", wall_s, nodes)), None


def _learn(run: Prepared, nodes: Nodes, share: float) -> tuple[Measurement, None]:
    """Train anew; of work a node, it is the epochs that grow with the nodes."""
    mill = run.mill
    home = mill.folder / "training"
    mill.ledger.reset("train", mill.ledger.receipts("train"))
    clean(home)
    whole = mill.run_file
    if share < 1:
        epochs = max(1, round(share * epochs_of(whole)))
        some = whole.training.model_copy(update={"epochs": epochs})
        mill.run_file = whole.model_copy(update={"training": some})
    try:
        wall_s, receipts = _timed(lambda: _train(mill, run.trail))
    finally:
        mill.run_file = whole
    seconds = [_epoch_seconds(home / folder) for folder in _folders(home)]
    learnt_s = sum(sum(each) for each in seconds)
    rows = sum(receipt.facts["rows"]["train"] * receipt.facts["epochs"] for receipt in receipts.values())
    work_s = min(1.0, learnt_s / (wall_s * len(receipts))) * wall_s * nodes.count
    split = Split(work_s=work_s, scheduler_s=wall_s * nodes.count - work_s)
    found = _measurement("train", replace(nodes, threads=nodes.count), wall_s, receipts, split)
    longest_s = max((sum(each) for each in seconds), default=0.0) or wall_s
    return replace(found, rows=rows, rows_per_s=rows / longest_s), None


def _folders(home: Path) -> list[str]:
    return sorted(path.name for path in home.glob("*") if path.is_dir())


def _epoch_seconds(folder: Path) -> list[float]:
    """Return the time [s] of each epoch of a training, by its own word."""
    events = read_events(folder / f"generation-{last_generation(folder):04d}" / "progress-0.jsonl")
    return [float(event["seconds"]) for event in events if event.get("event") == "epoch"]


def _publish(run: Prepared, nodes: Nodes, share: float) -> tuple[Measurement, None]:
    """Publish a version of its own, which is dropped when the next one is there."""
    mill, name = run.mill, run.mill.run_file.catalogue.name
    wanted = [unit.key for unit in run.some(share)]
    predicted = {key: run.trail.infer[key] for key in wanted}
    provenance = {**of_rows(mill.run_file, run.trail.train), "measured": time.time_ns()}
    unit = units.publish_unit(mill.run_file, predicted, provenance=digest_of(provenance)[:16])
    mill.ledger.reset("publish", [name])
    work = "pipeline.publishing:publish"
    wall_s, receipt = _timed(
        lambda: mill.do(unit, work, unit=unit, predicted=predicted, provenance=provenance)
    )
    for version in list_versions(mill.ledger.connection, name):
        if version.state != "published":
            find("pipeline.stores.catalogue:drop")(mill.ledger.connection, name, version.version)
    alone = replace(nodes, threads=1)
    found = _measurement("publish", alone, wall_s, {name: receipt}, Split(work_s=wall_s))
    return replace(found, units=len(predicted)), None


_MEASURES = {"fetch": _fetch, "train": _learn, "infer": _infer, "publish": _publish}


def _timed(do: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    done = do()
    return time.perf_counter() - begun, done


def _split(run: Prepared, stage: str, wall_s: float, nodes: Nodes) -> Split:
    return split_of(run.mill.ledger.timeline(stage), wall_s=wall_s, nodes=nodes.count, slots=nodes.threads)


def _measurement(
    stage: str, nodes: Nodes, wall_s: float, receipts: Mapping[str, Receipt], split: Split
) -> Measurement:
    rows = sum(receipt.rows for receipt in receipts.values())
    return Measurement(
        stage,
        nodes.count,
        0,
        wall_s,
        rows,
        len(receipts),
        nodes.threads,
        cores=sum(nodes.cores.values()),
        hosts=len(nodes.cores),
        rows_per_s=rows / wall_s,
        split=split,
    )
