"""The units of every stage, and the digest of what each is made from.

Pure functions: receipts of one stage in, units of the next one out. A unit is done when the ledger holds
a receipt with the same ``inputs``; so what changes upstream, and only that, is done again.
"""

from collections.abc import Mapping

from schemas.config import RunFile
from schemas.digests import digest_of
from schemas.records import Receipt, Unit, blocks_of


def plan_unit(run_file: RunFile, sample: str) -> Unit:
    """Return the unit that counts a sample and cuts it into partitions."""
    selection = run_file.samples[sample].model_dump()
    return Unit("plan", sample, digest_of({"sample": selection, "source": _source(run_file)}))


def pull_units(run_file: RunFile, sample: str, plan: Receipt) -> list[Unit]:
    """Return one unit a partition; its plain data is in ``arguments["partition"]``."""
    return [
        Unit(
            "pull",
            f"{sample}/{number:05d}",
            digest_of({"partition": partition, "source": _source(run_file), "plan": plan.digest}),
            {"partition": partition},
        )
        for number, partition in enumerate(plan.facts["partitions"])
    ]


def rows_unit(run_file: RunFile, sample: str, pulled: Mapping[str, Receipt]) -> Unit:
    """Return the unit that fixes the row order of a sample, splits it, and creates its cube."""
    chosen = run_file.samples[sample]
    made_from = {
        "parts": _digests(pulled),
        "sample": {"key": chosen.key, "limit": chosen.limit},
        "target": run_file.target.column,
        "split": run_file.split.model_dump() if sample == run_file.training.sample else None,
        "seed": run_file.seed,
        "images": run_file.images.model_dump(exclude={"max_bytes"}),
        "cube": run_file.cube.model_dump(exclude={"path"}),
        "source": _source(run_file),
    }
    return Unit("rows", sample, digest_of(made_from))


def fetch_units(run_file: RunFile, sample: str, rows: Receipt) -> list[Unit]:
    """Return one unit a block of the sample's cube."""
    blocks = blocks_of(sample, rows.rows, rows_per_block=run_file.cube.rows_per_block)
    return [
        Unit("fetch", block.key, digest_of({"rows": rows.digest, "block": block.index}), {"block": block})
        for block in blocks
    ]


def train_unit(run_file: RunFile, fetched: Mapping[str, Receipt], *, preset: Mapping[str, object]) -> Unit:
    """Return the one unit of training: it depends on every block of the training sample."""
    sample = run_file.training.sample
    blocks = {key: receipt for key, receipt in fetched.items() if key.startswith(f"{sample}/")}
    made_from = {
        "blocks": _digests(blocks),
        "preset": dict(preset),
        "training": run_file.training.model_dump(),
        "target": run_file.target.column,
        "seed": run_file.seed,
    }
    return Unit("train", "model", digest_of(made_from))


def infer_units(fetch: list[Unit], fetched: Mapping[str, Receipt], *, trained: Receipt) -> list[Unit]:
    """Return one unit a fetched block."""
    return [
        Unit(
            "infer",
            unit.key,
            digest_of({"model": trained.digest, "block": fetched[unit.key].digest}),
            unit.arguments,
        )
        for unit in fetch
    ]


def publish_unit(run_file: RunFile, predicted: Mapping[str, Receipt], *, provenance: str) -> Unit:
    """Return the unit that publishes a catalogue version."""
    made_from = {"parts": _digests(predicted), "name": run_file.catalogue.name, "provenance": provenance}
    return Unit("publish", run_file.catalogue.name, digest_of(made_from))


def report_unit(published: Receipt, *, trained: Receipt) -> Unit:
    """Return the unit that writes the report."""
    return Unit("report", "report.html", digest_of({"published": published.digest, "model": trained.digest}))


def _source(run_file: RunFile) -> dict[str, object]:
    source: dict[str, object] = {"url": run_file.source.url, "release": run_file.source.release}
    if run_file.source.url == "sandbox":
        source["sky"] = run_file.sandbox.sky
    return source


def _digests(receipts: Mapping[str, Receipt]) -> list[list[str]]:
    return [[key, receipts[key].digest] for key in sorted(receipts)]
