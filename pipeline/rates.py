"""How fast a run's stages are: by its own receipts, else by the project's benchmarks."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.database import embedded_folder, open_ledger
from pipeline.estimate import bytes_per_row, computing_s
from pipeline.ledger import Ledger
from pipeline.progress import read_progress
from schemas.config import RunFile
from schemas.errors import DatabaseError
from schemas.records import Receipt

BENCHMARKS, SIGNALS = "docs/benchmarks.md", "docs/decisions/0020-emri.md"
FETCH_PER_THREAD = 1_070.0
"""Cutouts a second a thread can check, decode and write: 934 µs of CPU time each (docs/benchmarks.md, Fetch)."""
TRAIN_PER_THREAD: Mapping[str, float] = {"light": 640.0, "menko": 16.4}
"""Images a second and thread, by preset: 1,280 on two threads (docs/benchmarks.md, Feeding training), and batches of
128 in 3.909 s on two (the same, Training by a group)."""
INFER_PER_THREAD: Mapping[str, float] = {"light": 2_372.0, "menko": 177.0}
"""Images a second and thread, by preset (docs/decisions/0012-inference-runtime.md)."""
PUBLISH_PER_S = 162_000.0
"""Rows a second that the driver writes into Postgres (docs/benchmarks.md, Publish)."""
BENCHMARK_ROW_BYTES = 64 * 64 * 3
"""Pixels of one cutout of the benchmarks [bytes]: a stage's speed is taken to go with the bytes."""
BARE_ROW_BYTES = 200
"""What a row without any pixels counts as: to settle it takes 15 µs of CPU time."""


@dataclass(frozen=True)
class Rate:
    """How much a stage does in a second, on one thread or in all, and where that was seen; NaN is unknown."""

    per_s: float = math.nan
    source: str = "not known"

    @property
    def is_known(self) -> bool:
        """Whether there is a number."""
        return self.per_s > 0


@dataclass(frozen=True)
class Seen:
    """What a run has shown of itself: counts by sample, rates by stage, and bytes a row; empty where it has not run.

    Rates are rows a second and thread; those of ``fetch`` are without the waiting for the server, whose ``latency_s``
    is a request's; ``train`` counts the rows of every epoch. ``computing_s`` is the CPU time of a row's
    signal, by sample.
    """

    counts: Mapping[str, int]
    queries: int
    rates: Mapping[str, Rate]
    latency_s: float = math.nan
    prediction_bytes: float = math.nan
    bundle_bytes: float = math.nan
    computing_s: Mapping[str, float] = field(default_factory=dict)
    words: str = ""


NOTHING = Seen({}, 0, {})


def defaults(run_file: RunFile) -> dict[str, Rate]:
    """Return the rates of the project's benchmarks, scaled to the size of the run's images."""
    share = BENCHMARK_ROW_BYTES / max(BARE_ROW_BYTES, bytes_per_row(run_file))
    preset, images = run_file.model.preset, run_file.images
    found = {
        "fetch": FETCH_PER_THREAD,
        "train": TRAIN_PER_THREAD.get(preset, math.nan),
        "infer": INFER_PER_THREAD.get(preset, math.nan),
    }
    scaled = "" if share == 1 else f", scaled from 64 to {images.pixels if images.bands else 0} pixels"
    rates = {stage: _benchmark(rate * share, scaled) for stage, rate in found.items()}
    return rates | {"publish": _benchmark(PUBLISH_PER_S)}


def computing(row_s: float) -> Rate:
    """Return the rate of ``fetch`` where a row's signal is computed in `row_s` of CPU time, on the mean."""
    return Rate(1 / (row_s + 1 / FETCH_PER_THREAD), SIGNALS)


def seen(run_file: RunFile) -> Seen:
    """Return what a run's ledger says of it; no database is started for a run that never began."""
    if not (run_file.folder / "logs").is_dir():
        return NOTHING
    if run_file.database.dsn == "embedded" and not (embedded_folder(run_file) / "data").is_dir():
        return NOTHING
    try:
        with open_ledger(run_file) as ledger:
            if not ledger.view_run(run_file.name):
                return NOTHING
            return _seen(run_file, ledger)
    except DatabaseError as error:
        return Seen({}, 0, {}, words=f"the run's own rates are not known: {error.message}")


def _seen(run_file: RunFile, ledger: Ledger) -> Seen:
    receipts = {
        stage: [receipt for _, receipt in ledger.receipts(stage).values()]
        for stage in ("pull", "rows", "fetch", "train", "infer", "publish")
    }
    planned = {key: receipt for key, (_, receipt) in ledger.receipts("plan").items()}
    spent = sum(_fact(receipt, "decode_s") + _fact(receipt, "write_s") for receipt in receipts["fetch"])
    rates = {stage: rate_of(receipts[stage]) for stage in ("pull", "rows", "infer", "publish")}
    rates["fetch"] = _own(sum(receipt.rows for receipt in receipts["fetch"]), spent)
    rates["train"] = train_rate(receipts["train"], members_of(run_file), threads=run_file.cluster.threads)
    requests = sum(_fact(receipt, "requests") for receipt in receipts["fetch"])
    waited = sum(_fact(receipt, "network_s") for receipt in receipts["fetch"])
    return Seen(
        counts={name: int(receipt.facts["wanted"]) for name, receipt in planned.items()},
        queries=sum(1 + len(receipt.facts["partitions"]) for receipt in planned.values()),
        rates={stage: rate for stage, rate in rates.items() if rate.is_known},
        latency_s=waited / requests if requests else math.nan,
        prediction_bytes=_bytes_a_row(receipts["infer"]),
        bundle_bytes=max((float(receipt.bytes) for receipt in receipts["train"]), default=math.nan),
        computing_s={name: computing_s(run_file, receipt.facts) for name, receipt in planned.items()},
    )


def rate_of(receipts: list[Receipt]) -> Rate:
    """Return the rows a second that one thread made of units with these receipts."""
    return _own(sum(receipt.rows for receipt in receipts), sum(receipt.seconds for receipt in receipts))


def train_rate(receipts: list[Receipt], members: int, *, threads: int) -> Rate:
    """Return the images a second and thread of trainings of `members` trainers of `threads` threads each."""
    seen_rows = sum(
        float(receipt.facts["rows"].get("train", 0)) * receipt.facts["epochs"] for receipt in receipts
    )
    return _own(seen_rows, members * threads * sum(receipt.seconds for receipt in receipts))


def members_of(run_file: RunFile) -> int:
    """Return how many trainers the trainings of a run have had last."""
    folder = run_file.folder / "training"
    found = [read_progress(path) for path in _folders(folder)]
    return max((progress.members for progress in found if progress), default=run_file.cluster.workers)


def _folders(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _fact(receipt: Receipt, name: str) -> float:
    return float(receipt.facts.get(name) or 0.0)


def _bytes_a_row(receipts: list[Receipt]) -> float:
    rows = sum(receipt.rows for receipt in receipts)
    return sum(receipt.bytes for receipt in receipts) / rows if rows else math.nan


def _own(rows: float, seconds: float) -> Rate:
    return Rate(rows / seconds, "its own receipts") if rows > 0 and seconds > 0 else Rate()


def _benchmark(rate: float, scaled: str = "") -> Rate:
    return Rate(rate, BENCHMARKS + scaled) if rate > 0 else Rate()
