"""Training: the same job always ends with the same weights, however often it was killed on the way.

A training is a loop over epochs; after each the whole state is on disk (`model.state`). What is kept is the
epoch with the lowest validation loss, not the last one. One process for now: the order of the data and the
scale of the loss already are those of one *global* batch.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from model import engines
from model.batches import Batch, ordered_batches, training_epochs
from model.bundles import write_bundle
from model.cubes import Cube
from model.estimates import bin_edges, estimate
from model.jobs import TrainingJob, TrainingResult
from model.losses import make_loss
from model.material import Data, counts, gather, job_digest
from model.metrics import pdf_metrics, pdf_scores, photoz_metrics
from model.networks import build_network
from model.optimizers import learning_rate, make_optimizer
from model.order import batches_per_epoch
from model.presets import Preset, load_preset
from model.state import Progress, load_checkpoint, save_checkpoint
from schemas.errors import ModelError
from schemas.flags import Part

Report = Callable[[dict[str, Any]], None]


@dataclass
class Machine:
    """The network with its compiled steps; ``variables`` are all that a checkpoint must hold."""

    network: keras.Model
    optimizer: keras.optimizers.Optimizer
    learn: Callable[[NDArray[Any], NDArray[Any], float], float]
    evaluate: Callable[[NDArray[Any], NDArray[Any]], tuple[float, NDArray[Any]]]

    @property
    def variables(self) -> list[keras.Variable]:
        """Weights, random generators' states and the optimizer's slots."""
        return [*self.network.variables, *self.optimizer.variables]


def train(job: TrainingJob, *, report: Report) -> TrainingResult:
    """Train as `job` says and write the bundle.

    Parameters
    ----------
    job : TrainingJob
        What to learn, from what.
    report : callable
        Called with a small JSON-able value at the start, after each epoch and at the end.

    Raises
    ------
    ModelError
        The job cannot be done as it stands, or the loss is no longer finite.
    StoreError
        The cube cannot be read.
    """
    started = time.monotonic()
    preset = load_preset(job.preset, job.resolved_overrides())
    data = gather(job, preset)
    engines.prepare(job.seed)
    machine = assemble(preset, data.cube, job.seed)
    identity = job_digest(job, preset, data, versions=engines.versions())
    progress, ignored = load_checkpoint(Path(job.checkpoint), identity, machine.variables)
    resumed_from = progress.epoch
    report(_started(data, preset, machine, resumed_from, ignored))
    settings = preset["training"]
    feed = training_epochs(
        data.cube,
        data.parts[Part.TRAIN],
        batch=settings["batch"],
        seed=job.seed,
        epochs=range(progress.epoch, settings["epochs"]),
        turn=preset["input"]["symmetries"],
    )
    with feed as epochs:
        while not finished(progress, preset):
            epoch_started = time.monotonic()
            entry = _epoch(machine, data, preset, next(epochs), progress.epoch)
            _remember(progress, entry, machine.network)
            save_checkpoint(Path(job.checkpoint), identity, progress, machine.variables)
            report({"event": "epoch", **entry, "seconds": round(time.monotonic() - epoch_started, 3)})
    result = _conclude(job, preset, data, machine, progress)
    report({"event": "end", "digest": result["digest"], "best_epoch": progress.best_epoch})
    return TrainingResult(
        bundle=job.bundle,
        epochs=progress.epoch,
        best_epoch=progress.best_epoch,
        seconds=round(time.monotonic() - started, 3),
        rows=counts(data),
        history=progress.history,
        resumed_from=resumed_from,
        **result,
    )


def assemble(preset: Preset, cube: Cube, seed: int) -> Machine:
    """Build the network, its optimizer and the compiled steps."""
    loss = make_loss(preset["loss"], preset["head"])
    optimizer = make_optimizer(preset["optimizer"])
    network = build_network(preset, cube.geometry, seed=seed)
    return Machine(
        network,
        optimizer,
        engines.training_step(network, optimizer, loss),
        engines.evaluation_step(network, loss, preset["head"]),
    )


def finished(progress: Progress, preset: Preset) -> bool:
    """Say whether all epochs are done, or none of the last ``patience`` was better than those before."""
    training = preset["training"]
    stale = progress.epoch - progress.best_epoch >= training["patience"]
    return progress.epoch >= training["epochs"] or (progress.epoch > 0 and stale)


def _epoch(
    machine: Machine, data: Data, preset: Preset, batches: Iterator[Batch], epoch: int
) -> dict[str, Any]:
    """Learn from every training row once, then measure on the validation rows. `epoch` counts from 0."""
    part, training = data.parts[Part.TRAIN], preset["training"]
    count = batches_per_epoch(len(part.rows), training["batch"])
    total = 0.0
    for batch in batches:
        step = epoch * count + batch.index
        rate = learning_rate(preset["optimizer"], step, count * training["epochs"])
        machine.optimizer.learning_rate.assign(rate)
        loss = machine.learn(batch.images, batch.labels, float(len(batch.rows)))
        if not math.isfinite(loss):
            raise ModelError(
                f"the loss became {loss} in epoch {epoch + 1}, batch {batch.index + 1} of {count}",
                f"lower training.learning_rate (now {preset['optimizer']['learning_rate']:g})",
            )
        total += loss * len(batch.rows)
    found = measure(machine, data, Part.VALIDATION, preset)
    labels = data.parts[Part.VALIDATION].labels
    finite = np.isfinite(found.z).any()
    return {
        "epoch": epoch + 1,
        "loss": total / len(part.rows),
        "val_loss": found.loss,
        "val_sigma_nmad": photoz_metrics(labels, found.z).sigma_nmad if finite else math.nan,
        "learning_rate": rate,
    }


@dataclass(frozen=True)
class Measured:
    """A part of the split as the network sees it: the mean loss, and of each row ``z`` and the PDF's scores."""

    loss: float
    z: NDArray[Any]
    scores: NDArray[Any]


def measure(machine: Machine, data: Data, part: Part, preset: Preset) -> Measured:
    """Measure the rows of a part of the split, in their order; PDFs are scored batch by batch, and not kept."""
    head, rows, total = preset["head"], data.parts[part], 0.0
    z, scores = [], [np.empty((0, 3))]
    with ordered_batches(data.cube, rows, batch=preset["training"]["batch"]) as batches:
        for one in batches:
            loss, answer = machine.evaluate(one.images, one.labels)
            total += loss
            found = estimate(answer, head)
            z.append(found.z)
            if found.pdf is not None:
                scores.append(pdf_scores(found.pdf, bin_edges(head), one.labels))
    return Measured(total / len(rows.rows), np.concatenate(z), np.concatenate(scores))


def _remember(progress: Progress, entry: dict[str, Any], network: keras.Model) -> None:
    progress.epoch = entry["epoch"]
    progress.history.append(entry)
    if entry["val_loss"] < progress.best_loss:
        progress.best_loss, progress.best_epoch = entry["val_loss"], entry["epoch"]
        progress.best = [np.copy(weight) for weight in network.get_weights()]


def _conclude(
    job: TrainingJob, preset: Preset, data: Data, machine: Machine, progress: Progress
) -> dict[str, Any]:
    """Put the best weights back, measure them on each part, and write the bundle."""
    if not progress.best:
        raise ModelError(
            f"the validation loss was never finite in {progress.epoch} epochs", "lower training.learning_rate"
        )
    machine.network.set_weights(progress.best)
    metrics: dict[str, Any] = {}
    for part in (Part.VALIDATION, Part.TEST):
        if len(data.parts[part].rows):
            found = measure(machine, data, part, preset)
            metrics[part.name.lower()] = _metrics(found, data.parts[part].labels, job.definition)
    metrics["rows"] = counts(data)
    facts = {"target": job.target, "metrics": metrics, "history": progress.history, "run": job.provenance}
    digest = write_bundle(Path(job.bundle), progress.best, preset, data.cube.geometry, facts)
    return {"digest": digest, "metrics": metrics}


def _metrics(found: Measured, labels: NDArray[Any], definition: str) -> dict[str, Any]:
    values = photoz_metrics(labels, found.z, definition=definition).as_dict()
    return values | ({"pdf": pdf_metrics(found.scores)} if len(found.scores) else {})


def _started(data: Data, preset: Preset, machine: Machine, resumed_from: int, ignored: str) -> dict[str, Any]:
    return {
        "event": "start",
        "preset": preset.name,
        "parameters": int(machine.network.count_params()),
        "rows": counts(data),
        "epochs": preset["training"]["epochs"],
        "resumed_from": resumed_from,
        "checkpoint_ignored": ignored,
    }
