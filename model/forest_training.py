"""Training of a forest: one process, no checkpoints, the same job and result as a network's."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.bundles import write_bundle
from model.definitions import measure_by
from model.estimates import bin_edges, estimate
from model.forests import Forest
from model.growing import Growth, grow_forest
from model.intake import intake_of
from model.jobs import TrainingJob, TrainingResult
from model.material import Data, counts, gather
from model.pdfs import pdf_metrics, pdf_scores
from model.presets import Preset
from schemas.flags import Part
from schemas.records import Place


def grow(
    job: TrainingJob, preset: Preset, *, report: Callable[[dict[str, Any]], None], place: Place
) -> TrainingResult | None:
    """Grow the forest of `preset` on the cube's training rows and write its bundle; rank 0 does it all.

    Raises
    ------
    ModelError
        There is nothing to learn from, or scikit-learn is not installed.
    StoreError
        The cube cannot be read, or the bundle not be written.
    """
    if place.rank:
        return None
    started = time.monotonic()
    data = gather(job, preset)
    network, head = preset["network"], preset["head"]
    report({"event": "start", "members": 1, "epochs": 1, "resumed_from": 0, "resumed_batch": 0})
    train, vectors = data.parts[Part.TRAIN], data.cube.vectors(intake_of(preset).vector)
    forest = grow_forest(
        vectors[train.rows],
        train.labels,
        names=intake_of(preset).features,
        edges=bin_edges(head),
        growth=Growth(network["trees"], network["leaf"], network["share"], job.seed, job.threads),
        weights=train.weights,
    )
    metrics = {"rows": counts(data)}
    losses = {}
    for part in (Part.VALIDATION, Part.TEST):
        if len(data.parts[part].rows):
            losses[part], metrics[part.name.lower()] = _measured(forest, data, part, vectors, job, head)
    some = _spread(len(train.rows), len(data.parts[Part.VALIDATION].rows))
    fitted = pdf_scores(forest.pdf(vectors[train.rows[some]]), bin_edges(head), train.labels[some])
    entry = {
        "epoch": 1,
        "loss": float(fitted[:, 1].mean()),
        "val_loss": losses[Part.VALIDATION],
        "learning_rate": 0.0,
    }
    facts = {"target": job.target, "metrics": metrics, "history": [entry], "run": job.provenance}
    digest = write_bundle(Path(job.bundle), forest.arrays, preset, data.cube.geometry, facts)
    seconds = round(time.monotonic() - started, 3)
    report({"event": "epoch", **entry, "seconds": seconds})
    report({"event": "end", "digest": digest, "best_epoch": 1})
    return TrainingResult(job.bundle, digest, 1, 1, seconds, counts(data), metrics, [entry])


def _spread(total: int, most: int) -> NDArray[np.int64]:
    """Return at most `most` of so many places, evenly spread: enough to measure how well a forest fits."""
    return np.unique(np.linspace(0, total - 1, min(total, most)).astype(np.int64))


def _measured(
    forest: Forest, data: Data, part: Part, vectors: Any, job: TrainingJob, head: Any
) -> tuple[float, dict[str, Any]]:
    """Return the mean CRPS of a part, and its metrics."""
    rows, labels = data.parts[part].rows, data.parts[part].labels
    pdf = forest.pdf(vectors[rows])
    known = np.isfinite(pdf).all(1)
    scores = pdf_scores(pdf[known], bin_edges(head), labels[known])
    found = measure_by(job.definition, labels, estimate(pdf, head).z)
    return float(scores[:, 1].mean()), found | {"pdf": pdf_metrics(scores)}
