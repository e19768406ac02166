"""Gather what the report shows: numbers of the ledger, and the paths of the products."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from model.metrics import photoz_metrics
from pipeline.ledger import Ledger
from pipeline.report.facts import FailureCount, FailureRow, ReportFacts, SampleFacts, UnitTime
from schemas.config import RunFile
from schemas.errors import ModelError
from schemas.flags import Part
from schemas.records import Receipt

TIMED = ("pull", "fetch", "train", "infer", "publish")
SHOWN_FAILURES = 20


def parts_of(receipts: Mapping[str, Receipt], sample: str) -> list[Path]:
    """Return the Parquet parts of one sample, in the order of its blocks."""
    return [
        Path(product.final)
        for key in sorted(receipts)
        if key.startswith(f"{sample}/")
        for product in receipts[key].products
    ]


def test_metrics(run_file: RunFile, parts: Iterable[Path]) -> dict[str, Any]:
    """Measure the test part of the labelled sample; empty when it has no rows."""
    truth, estimate = [], []
    for path in parts:
        table = pq.ParquetFile(path).read(columns=["z_spec", "z_phot", "split"])
        chosen = table["split"].to_numpy() == Part.TEST
        truth.append(table["z_spec"].to_numpy()[chosen])
        estimate.append(table["z_phot"].to_numpy()[chosen])
    if not truth:
        return {}
    try:
        found = photoz_metrics(
            np.concatenate(truth), np.concatenate(estimate), definition=run_file.target.definition
        )
    except ModelError:  # no finite pair: a sample so small that its test part is empty
        return {}
    return found.as_dict()


def gather(
    run_file: RunFile, ledger: Ledger, receipts: Mapping[str, Mapping[str, Receipt]], *, psql: str
) -> ReportFacts:
    """Return the facts of a finished run; `receipts` by stage and key."""
    published = receipts["publish"][run_file.catalogue.name]
    trained = receipts["train"]["model"]
    return ReportFacts(
        run_file=run_file,
        folder=run_file.folder,
        samples=[_sample(run_file, name, receipts) for name in run_file.samples],
        published_rows=published.rows,
        catalogue=run_file.catalogue.name,
        version=str(published.facts["version"]),
        psql=psql,
        failures=[
            FailureRow(row.sample, row.id, row.reason, row.permanent, row.detail)
            for row in ledger.failures(SHOWN_FAILURES)
        ],
        failure_counts=[
            FailureCount(sample, reason, permanent, count)
            for (sample, reason, permanent), count in sorted(ledger.failure_counts().items())
        ],
        metrics=test_metrics(run_file, parts_of(receipts["infer"], run_file.training.sample)),
        history=trained.facts["history"],
        timeline=[
            UnitTime(stage, "", point.ended, point.rows, point.seconds, point.worker)
            for stage in TIMED
            for point in ledger.timeline(stage)
        ],
        provenance={
            "code": trained.facts["code"],
            "packages": trained.facts["packages"],
            "seed": run_file.seed,
            "model digest": trained.digest,
            "catalogue digest": published.digest,
            "provenance key of the rows": published.facts["provenance"],
        },
    )


def _sample(run_file: RunFile, name: str, receipts: Mapping[str, Mapping[str, Receipt]]) -> SampleFacts:
    fetched = [receipt for key, receipt in receipts["fetch"].items() if key.startswith(f"{name}/")]
    predicted = [receipt for key, receipt in receipts["infer"].items() if key.startswith(f"{name}/")]
    failed = sum(len(receipt.failures) for receipt in fetched)
    asked = receipts["rows"][name].rows
    return SampleFacts(
        name,
        asked=asked,
        fetched=asked - failed,
        failed=failed,
        predicted=sum(receipt.rows for receipt in predicted),
        cube=run_file.cube_path(name),
        parts=parts_of(receipts["infer"], name),
    )
