"""The flow: plan, pull, rows, fetch, pretrain, search, train, calibrate, infer, publish, report.

One direction, no way back. Every stage asks the ledger what is left, maps a pure function over those
units and records receipts as they come; so any process may die at any moment, and running again goes on.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.work import find, whoami
from model.files import write_durably
from pipeline import classifying, units
from pipeline.checks import check, check_fetched, check_labelled, check_products
from pipeline.estimate import Needs, needs_of
from pipeline.fields.classes import classes_of
from pipeline.looking import SO_FAR
from pipeline.mill import Mill
from pipeline.provenance import of_rows
from pipeline.recalibrating import calibrate, learnt
from pipeline.report.facts import ReportFacts
from pipeline.reporting import as_json, gather, parts_of
from pipeline.sources.choice import source_of
from pipeline.stores.catalogue_versions import list_versions
from pipeline.stores.staging import Staging, disk_errors
from pipeline.summary import psql_line, psql_program
from pipeline.training import bundles_of, pretrain, search, train
from schemas.config import RunFile
from schemas.digests import digest_of
from schemas.records import Receipt, Unit

REPORT, METRICS = "report.html", "metrics.json"


@dataclass
class Trail:
    """Receipts of a run, by stage and key, as the flow collects them."""

    plan: dict[str, Receipt] = field(default_factory=dict)
    pull: dict[str, Receipt] = field(default_factory=dict)
    rows: dict[str, Receipt] = field(default_factory=dict)
    fetch: dict[str, Receipt] = field(default_factory=dict)
    pretrain: dict[str, Receipt] = field(default_factory=dict)
    search: dict[str, Receipt] = field(default_factory=dict)
    train: dict[str, Receipt] = field(default_factory=dict)
    calibrate: dict[str, Receipt] = field(default_factory=dict)
    infer: dict[str, Receipt] = field(default_factory=dict)
    scene: dict[str, Receipt] = field(default_factory=dict)
    classify: dict[str, Receipt] = field(default_factory=dict)
    sources: dict[str, Receipt] = field(default_factory=dict)
    publish: dict[str, Receipt] = field(default_factory=dict)


def make_folder(run_file: RunFile) -> None:
    """Make the run's folder, or say why it cannot be."""
    with disk_errors(run_file.folder):
        run_file.folder.mkdir(parents=True, exist_ok=True)


def turn(mill: Mill) -> ReportFacts:
    """Do what is left of a run, stage by stage, and return what there is to say of it."""
    trail, blocks = begin(mill)
    trail.fetch = fetch(mill, blocks)
    trained_on = trail.rows[mill.run_file.training.sample]
    trail.pretrain = pretrain(mill, trained_on, trail.fetch)
    trail.search = search(mill, trained_on, trail.fetch, trail.pretrain)
    trail.train = train(mill, trained_on, trail.fetch, trail.search, trail.pretrain)
    trail.calibrate = calibrate(mill, trained_on, trail.fetch, trail.train)
    if classes_of(mill.run_file):
        classify_fields(mill, trail)
    else:
        trail.infer = infer(mill, blocks, trail)
    trail.publish = publish(mill, trail)
    facts = facts_of(mill, trail)
    report(mill, trail, facts)
    mill.clean()
    return facts


def begin(mill: Mill) -> tuple[Trail, list[Unit]]:
    """Plan a run, pull its samples and fix their rows; return what that came to, and the blocks to be fetched."""
    check(mill.run_file)
    mill.ledger.drop_samples([*mill.run_file.samples, *mill.run_file.fields])
    check_products(mill)
    mill.clean()
    trail = Trail()
    trail.plan = plan(mill)
    if not is_fetched(mill):  # what cannot fit is refused before anything is downloaded
        needs(mill, trail.plan).check(mill.run_file)
    trail.pull = pull(mill, trail.plan)
    trail.rows = fix_rows(mill, trail.pull)
    blocks = [
        unit
        for sample in mill.run_file.samples
        for unit in units.fetch_units(mill.run_file, sample, trail.rows[sample])
    ]
    return trail, blocks


def needs(mill: Mill, planned: dict[str, Receipt]) -> Needs:
    """Return what is still to come of a run that is planned."""
    done = {entry.stage: entry.rows for entry in mill.ledger.progress() if entry.state == "done"}
    return needs_of(mill.run_file, planned, predicted=done.get("infer", 0))


def is_fetched(mill: Mill) -> bool:
    """Whether every block of a finished plan is there; what was planned anew just now is not."""
    states = {entry.state for entry in mill.ledger.progress() if entry.stage == "fetch"}
    return not mill.worked and states == {"done"}


def plan(mill: Mill) -> dict[str, Receipt]:
    """Count every sample at the source, and cut it into partitions."""
    return {
        name: mill.do(units.plan_unit(mill.run_file, name), "pipeline.pulling:count_sample", sample=name)
        for name in mill.run_file.samples
    }


def pull(mill: Mill, planned: dict[str, Receipt]) -> dict[str, Receipt]:
    """Pull the catalogue of every sample, partition by partition."""
    wanted = [
        unit
        for sample, receipt in planned.items()
        for unit in units.pull_units(mill.run_file, sample, receipt)
    ]

    def arguments(unit: Unit, staging: Staging) -> dict[str, Any]:
        found: dict[str, Any] = find("pipeline.pulling:pull_arguments")(mill, unit=unit, staging=staging)
        return found

    return mill.drive(wanted, units.WORK["pull"], arguments)


def fix_rows(mill: Mill, pulled: dict[str, Receipt]) -> dict[str, Receipt]:
    """Fix the row order of every sample, split it, and create its cube.

    Raises
    ------
    PlanError
        If the training sample has too few labelled rows.
    """
    fixed = {}
    for sample in mill.run_file.samples:
        own = {key: receipt for key, receipt in pulled.items() if key.startswith(f"{sample}/")}
        unit = units.rows_unit(mill.run_file, sample, own)
        parts = parts_of(own, sample)
        fixed[sample] = mill.do(unit, "pipeline.ordering:order_sample", sample=sample, parts=parts)
    check_labelled(mill.run_file, fixed)
    return fixed


def fetch(mill: Mill, blocks: list[Unit]) -> dict[str, Receipt]:
    """Download the cutouts, block by block; what a block already holds is kept."""

    def arguments(unit: Unit, staging: Staging) -> dict[str, Any]:
        block = unit.arguments["block"]
        return {
            "block": block,
            "cube": str(mill.run_file.cube_path(block.sample)),
            "source": source_of(mill.run_file, mill.source_url),
            "manners": mill.manners(),
            "staging": staging,
        }

    fetched = mill.drive(blocks, units.WORK["fetch"], arguments)
    check_fetched(mill.ledger, fetched)
    return fetched


def infer(mill: Mill, blocks: list[Unit], trail: Trail) -> dict[str, Receipt]:
    """Predict every block with the trained network, or with all of an ensemble."""
    run_file = mill.run_file
    bundles, recalibration = bundles_of(trail.train), learnt(trail.calibrate)

    def arguments(unit: Unit, staging: Staging) -> dict[str, Any]:
        block = unit.arguments["block"]
        return {
            "cube": str(run_file.cube_path(block.sample)),
            "bundles": bundles,
            "passes": run_file.model.passes,
            "engine": run_file.model.engine,
            "recalibration": recalibration,
            "rows": (block.start, block.stop),
            "staging": staging,
            "final": str(mill.folder / "predictions" / f"{unit.key}.parquet"),
        }

    chosen = units.infer_units(
        run_file, blocks, trail.rows, trail.fetch, trained=trail.train, calibrated=trail.calibrate
    )
    return mill.drive(chosen, units.WORK["infer"], arguments)


def classify_fields(mill: Mill, trail: Trail) -> None:
    """Classify the pixels of every field with the trained network, and find the sources in them."""
    trail.scene = classifying.draw(mill)
    trail.classify = classifying.classify(mill, trail.train, trail.scene)
    trail.sources = classifying.find_sources(mill, trail.train, trail.scene, trail.classify)


def publish(mill: Mill, trail: Trail) -> dict[str, Receipt]:
    """Publish what was predicted as the current version of the catalogue; again, if that was dropped."""
    provenance, predicted = of_rows(mill.run_file, trail.train, trail.calibrate), trail.infer
    if trail.sources:
        provenance |= classifying.fields_provenance(mill.run_file, trail.scene)
        predicted = trail.sources
    unit = units.publish_unit(mill.run_file, predicted, provenance=digest_of(provenance)[:16])
    _, published = mill.ledger.receipts("publish").get(unit.key, ("", None))
    there = {found.version for found in list_versions(mill.ledger.connection, unit.key)}
    if published and published.facts["version"] not in there:
        mill.ledger.reset("publish", [unit.key])
        mill.ledger.reset("report", [REPORT])
    work = "pipeline.publishing:publish"
    return {unit.key: mill.do(unit, work, unit=unit, predicted=predicted, provenance=provenance)}


def report(mill: Mill, trail: Trail, facts: ReportFacts) -> None:
    """Write the report, unless it is there already for the same catalogue."""
    published = trail.publish[mill.run_file.catalogue.name]
    unit = units.report_unit(
        published,
        trained=trail.train,
        tried=trail.search,
        calibrated=trail.calibrate,
        against=mill.run_file.target.against,
    )
    if not all((mill.folder / name).exists() for name in (REPORT, METRICS)):
        mill.ledger.reset(unit.stage, [unit.key])
    mill.do(unit, "pipeline.flow:make_report", facts=facts, unit=unit)


def facts_of(mill: Mill, trail: Trail) -> ReportFacts:
    """Return what the report and the closing lines say."""
    psql = psql_line(mill.dsn, mill.run_file.catalogue.name, program=psql_program())
    return gather(mill.run_file, mill.ledger, vars(trail), psql=psql)


def report_path(mill: Mill) -> Path:
    """Return where the report of a run lies."""
    return mill.folder / REPORT


def make_report(mill: Mill, *, facts: ReportFacts, unit: Unit) -> Receipt:
    """Write the report of a run, and the numbers of its test part as JSON."""
    started = time.monotonic()
    with disk_errors(report_path(mill)):
        path = find("pipeline.report.page:write_report")(facts, report_path(mill))
        write_durably(mill.folder / METRICS, as_json(facts.metrics))
        (mill.folder / SO_FAR).unlink(missing_ok=True)
    return Receipt(1, path.stat().st_size, time.monotonic() - started, unit.inputs, worker=whoami())
