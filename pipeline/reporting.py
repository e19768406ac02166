"""Gather what the report shows: numbers of the ledger, and the paths of the products."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from model.definitions import DETECTION, PIXELS, kind_of, measure_by
from pipeline.fields.files import MATCHED, PICTURE
from pipeline.ledger import Ledger
from pipeline.lost import lost_blocks
from pipeline.progress import Progress
from pipeline.report.facts import FailureCount, FieldFacts, ReportFacts, SampleFacts, Trial
from pipeline.stores.catalogue_versions import list_versions
from pipeline.units import ensemble_digest
from schemas.config import RunFile
from schemas.errors import ModelError
from schemas.flags import Part, Status
from schemas.records import Receipt

TIMED = (
    *("pull", "fetch", "pretrain", "search", "train", "calibrate"),
    *("infer", "scene", "classify", "sources", "publish"),
)
SHOWN_FAILURES = 20


def parts_of(receipts: Mapping[str, Receipt], sample: str) -> list[Path]:
    """Return the Parquet parts of one sample, in the order of its blocks."""
    return [
        Path(product.final)
        for key in sorted(receipts)
        if key.startswith(f"{sample}/")
        for product in receipts[key].products
    ]


def metrics_of_test_part(run_file: RunFile, parts: Iterable[Path]) -> dict[str, Any]:
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
        return measure_by(run_file.target.definition, np.concatenate(truth), np.concatenate(estimate))
    except ModelError:  # no finite pair: a sample so small that its test part is empty
        return {}


def as_json(metrics: Mapping[str, Any]) -> bytes:
    """Return metrics as JSON, with null for what is not a finite number, which JSON does not have.

    >>> json.loads(as_json({"pearson": float("nan"), "n": 3}))
    {'pearson': None, 'n': 3}
    """
    values = json.loads(json.dumps(metrics), parse_constant=lambda word: None)
    return (json.dumps(values, indent=1) + "\n").encode()


def tested_samples(run_file: RunFile) -> list[str]:
    """Return the samples that are measured: the training sample, or all where signals are told from noise.

    A threshold needs noise, and it does not matter which sample it is from.
    """
    pooled = kind_of(run_file.target.definition) == DETECTION
    return list(run_file.samples) if pooled else [run_file.training.sample]


def _tested_parts(run_file: RunFile, predicted: Mapping[str, Receipt]) -> list[Path]:
    return [path for sample in tested_samples(run_file) for path in parts_of(predicted, sample)]


def gather(
    run_file: RunFile,
    ledger: Ledger,
    receipts: Mapping[str, Mapping[str, Receipt]],
    *,
    psql: str,
    under_way: Sequence[Progress] = (),
    lines: Sequence[str] = (),
) -> ReportFacts:
    """Return the facts of a run; `receipts` by stage and key.

    Those of a run that is not finished lack what is still to come; `under_way` are its trainings, and `lines` say
    how far it is.
    """
    name = run_file.catalogue.name
    complete = [each for each in list_versions(ledger.connection, name) if each.state != "building"]
    current = next((each for each in complete if each.state == "published"), None)
    return ReportFacts(
        run_file=run_file,
        folder=run_file.folder,
        samples=[
            _sample(run_file, sample, receipts) for sample in run_file.samples if sample in receipts["rows"]
        ],
        catalogue=name,
        psql=psql,
        version=current.version if current else 0,
        published_rows=(current.rows or 0) if current else 0,
        newest=max((each.version for each in complete), default=0),
        failures=ledger.failures(SHOWN_FAILURES),
        failure_counts=[
            FailureCount(sample, reason, permanent, count)
            for (sample, reason, permanent), count in sorted(ledger.failure_counts().items())
            if reason != Status.DUPLICATE.reason  # one row of it was kept, so no galaxy failed
        ],
        lost=lost_blocks(ledger),
        metrics=_metrics(run_file, receipts),
        histories={key: receipt.facts["history"] for key, receipt in sorted(receipts["train"].items())}
        | {training.name.removeprefix("train "): training.history for training in under_way},
        trials=trials(receipts.get("search", {})),
        calibration=next((receipt.facts for receipt in receipts.get("calibrate", {}).values()), {}),
        timeline={stage: points for stage in TIMED if (points := ledger.timeline(stage))},
        provenance=_provenance(run_file, receipts),
        fields=[_field(run_file, key, receipt) for key, receipt in receipts.get("sources", {}).items()],
        under_way=tuple(lines),
    )


def trials(tried: Mapping[str, Receipt]) -> list[Trial]:
    """Return the trials of a search, in their order."""
    return [
        Trial(key, receipt.facts["trial"], receipt.facts["val_loss"], receipt.facts.get("best_epoch"))
        for key, receipt in sorted(tried.items())
    ]


def _metrics(run_file: RunFile, receipts: Mapping[str, Mapping[str, Receipt]]) -> dict[str, Any]:
    """Return the metrics of the test part; those of pixels were measured when the (first) network was trained."""
    if kind_of(run_file.target.definition) != PIXELS:
        return metrics_of_test_part(run_file, _tested_parts(run_file, receipts["infer"]))
    trained = receipts["train"]
    return dict(trained[min(trained)].facts["metrics"].get("test", {})) if trained else {}


def _field(run_file: RunFile, key: str, receipt: Receipt) -> FieldFacts:
    name = key.split("/")[0]
    folder = Path(receipt.products[0].final).parent
    scene = run_file.fields[name].scene if name in run_file.fields else None
    matched = folder / MATCHED if scene else None
    return FieldFacts(name, scene or "", receipt.rows, receipt.facts, folder / PICTURE, matched)


def _provenance(run_file: RunFile, receipts: Mapping[str, Mapping[str, Receipt]]) -> dict[str, Any]:
    found: dict[str, Any] = {"seed": run_file.seed}
    if trained := receipts["train"]:
        first = trained[min(trained)]
        found |= {"code": first.facts["code"], "packages": first.facts["packages"]}
        found["model digest"] = ensemble_digest(trained)
        if len(trained) > 1:
            found["digests of the ensemble"] = {key: trained[key].digest for key in sorted(trained)}
    if published := receipts["publish"].get(run_file.catalogue.name):
        found["catalogue digest"] = published.digest
        found["provenance key of the rows"] = published.facts["provenance"]
    return found


def _sample(run_file: RunFile, name: str, receipts: Mapping[str, Mapping[str, Receipt]]) -> SampleFacts:
    fetched = [receipt for key, receipt in receipts["fetch"].items() if key.startswith(f"{name}/")]
    predicted = [receipt for key, receipt in receipts["infer"].items() if key.startswith(f"{name}/")]
    return SampleFacts(
        name,
        asked=receipts["rows"][name].rows,
        fetched=sum(receipt.facts["ok"] for receipt in fetched),
        predicted=sum(receipt.rows for receipt in predicted),
        duplicates=receipts["rows"][name].facts["duplicates"],
        cube=run_file.cube_path(name),
        parts=parts_of(receipts["infer"], name),
    )
