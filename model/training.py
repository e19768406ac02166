"""Training: the same job always ends with the same weights, however often it was killed, whoever takes part.

A training is a loop over epochs and their global batches. Every member of the group (see `schemas.records.Place`)
runs this loop with its own share of each batch; rank 0 alone reads and writes checkpoints (`model.state`), after
each epoch and within one, and writes the bundle. What is kept is the epoch with the lowest validation loss, or the
last one if the preset's ``training.keep`` says so. Nothing here depends on the number of members but who reads which
rows.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.batches import Batch, training_epochs
from model.bundles import load_bundle, write_bundle
from model.export import export_bundle
from model.forest_training import grow
from model.intake import training_intake_of
from model.jobs import TrainingJob, TrainingResult, regroup_file
from model.machine import Machine, assemble
from model.material import Data, counts, gather, job_digest
from model.measuring import measure
from model.optimizers import learning_rate
from model.order import batches_per_epoch
from model.pixel_material import weighed
from model.presets import Preset, load_preset
from model.scalars import Scalars
from model.state import Arrays, Checkpoints, Progress, State, decode, encode
from model.threads import engine
from schemas import arrays
from schemas.errors import Diverged, WorkerError
from schemas.flags import Part
from schemas.records import Place

Report = Callable[[dict[str, Any]], None]

ALONE = Place()
_SAVES_COST_AT_MOST = 1 / 20
"""Share of the time within an epoch that may go into checkpoints, where ``checkpoint_s`` would allow more."""
_PULSE_S = 1.0
_ROWS_NAMED = 5


def train(job: TrainingJob, *, report: Report, place: Place = ALONE) -> TrainingResult | None:
    """Train as `job` says, as the member of a group that `place` says, and write the bundle.

    Parameters
    ----------
    job : TrainingJob
        What to learn, from what.
    report : callable
        Called with a small JSON-able value: ``step`` at most once a second on every member; on rank 0 also
        ``start``, ``checkpoint``, ``epoch`` and ``end``.
    place : Place
        Rank, members and generation.

    Returns
    -------
    TrainingResult or None
        The result on rank 0, None on the others; with ``regroup`` on all, if the training ended at the end of
        an epoch because it was asked to.

    Raises
    ------
    ModelError
        The job cannot be done as it stands.
    Diverged
        The loss, or a weight, is no longer finite.
    StoreError
        The cube cannot be read, or a checkpoint cannot be written.
    PeerLost
        Another member ended, or another process has taken this member's address.
    WorkerError
        This member cannot join its group for another reason.
    """
    started = time.monotonic()
    preset = load_preset(job.preset, job.resolved_overrides())
    if preset["network"]["kind"] == "forest":
        return grow(job, preset, report=report, place=place)
    data = gather(job, preset, members=place.size)
    preset = weighed(preset, data)
    framework = engine()
    framework.prepare(job.seed)
    donors = [load_bundle(path) for path in job.donors]
    machine = assemble(
        preset,
        data.cube,
        job.seed,
        group=framework.join(place),
        donors=donors,
        rows=len(data.parts[Part.TRAIN].rows),
    )
    training = Training(job, place, preset, data, machine, report)
    resumed_from = training.begin(
        job_digest(
            job, preset, data, versions=framework.versions(), donors=[donor.digest for donor in donors]
        )
    )
    if not training.learn():
        return TrainingResult.to_regroup(training.progress.epoch, round(time.monotonic() - started, 3))
    found = training.conclude()
    if place.rank:
        return None
    return TrainingResult(
        bundle=job.bundle,
        epochs=training.progress.epoch,
        best_epoch=training.progress.best_epoch,
        seconds=round(time.monotonic() - started, 3),
        rows=counts(data),
        history=training.progress.history,
        resumed_from=resumed_from,
        **found,
    )


def finished(progress: Progress, preset: Preset) -> bool:
    """Say whether all epochs are done, or none of the last ``patience`` was better than those before."""
    training = preset["training"]
    stale = progress.epoch - progress.best_epoch >= training["patience"]
    return progress.epoch >= training["epochs"] or (progress.epoch > 0 and stale)


class Training:
    """A training under way, as one member sees it: `begin`, `learn` and `conclude`, in this order."""

    def __init__(
        self, job: TrainingJob, place: Place, preset: Preset, data: Data, machine: Machine, report: Report
    ) -> None:
        self.progress = Progress()
        self._job, self._place, self._preset = job, place, preset
        self._data, self._machine, self._report = data, machine, report
        self._first = place.rank == 0
        self._train = data.parts[Part.TRAIN]
        self._count = batches_per_epoch(len(self._train.rows), preset["training"]["batch"])
        self._scalars = (
            Scalars(Path(job.checkpoint) / "tensorboard") if job.tensorboard and self._first else None
        )
        self._spoke, self._seen = -math.inf, 0
        self._saved, self._save_took = time.monotonic(), 0.0

    def begin(self, identity: str) -> int:
        """Take up the newest checkpoint of the training `identity`; return how many epochs it holds."""
        self._agree(identity)
        layout = self._machine.layout
        self._checkpoints = Checkpoints(
            Path(self._job.checkpoint), job=identity, layout=layout, generation=self._place.generation
        )
        state, ignored = self._checkpoints.load() if self._first else (None, "")
        data = b"" if state is None else encode(state, job=identity, layout=layout)
        if data := _hand_round(self._machine.group, data):
            state = decode(data, job=identity, layout=layout)
            self._machine.assign(state.variables)
            self.progress = state.progress
        if self._first:
            self._report(self._started(ignored))
        self._saved = time.monotonic()
        return self.progress.epoch

    def _agree(self, identity: str) -> None:
        """Refuse to train with members who see another cube, as a file system's stale cache may show them."""
        own, group = np.frombuffer(hashlib.sha256(identity.encode()).digest(), np.int64), self._machine.group
        if group.sum(np.array([int(not np.array_equal(group.broadcast(own), own))]))[0]:
            raise WorkerError(
                "the trainers of a group do not see the same rows, labels or pixels in the cube",
                "nothing to do: they look again; if it stays so, run `skymill verify`",
            )

    def learn(self) -> bool:
        """Learn epoch after epoch; return False if the training was asked to end before it is finished."""
        settings = self._preset["training"]
        feed = training_epochs(
            self._data.cube,
            self._train,
            batch=settings["batch"],
            seed=self._job.seed,
            epochs=range(self.progress.epoch, settings["epochs"]),
            turn=self._preset["input"]["symmetries"],
            intake=training_intake_of(self._preset),
            rank=self._place.rank,
            members=self._place.size,
            pieces=settings["accumulate"],
            skip=self.progress.batch,
        )
        with feed as epochs:
            while not finished(self.progress, self._preset):
                self._epoch(next(epochs))
                if not finished(self.progress, self._preset) and self._asked_to_regroup():
                    return False
        return True

    def conclude(self) -> dict[str, Any]:
        """Put the best weights back, measure them on each part, and let rank 0 write the bundle."""
        progress, job = self.progress, self._job
        if not progress.best:
            raise Diverged(f"the validation loss was never finite in {progress.epoch} epochs", self._slower())
        best = _same(self._machine.group, progress.best)
        self._machine.network.set_weights(best)
        metrics: dict[str, Any] = {}
        for part in (Part.VALIDATION, Part.TEST):
            if len(self._data.parts[part].rows):
                found = measure(self._machine, self._data, part, self._preset, alive=self._pulse)
                metrics[part.name.lower()] = found.metrics(self._data.parts[part].labels, job.definition)
        metrics["rows"] = counts(self._data)
        if not self._first:
            return {}
        facts = {"target": job.target, "metrics": metrics, "history": progress.history, "run": job.provenance}
        digest = write_bundle(Path(job.bundle), best, self._preset, self._data.cube.geometry, facts)
        if job.export:
            export_bundle(Path(job.bundle))
        self._report({"event": "end", "digest": digest, "best_epoch": progress.best_epoch})
        return {"digest": digest, "metrics": metrics}

    def _epoch(self, batches: Iterator[Batch]) -> None:
        """Learn from every training row that is left of the epoch, then measure on the validation rows."""
        started = time.monotonic()
        for batch in batches:
            self._step(batch)
            due_s = max(self._job.checkpoint_s, self._save_took / _SAVES_COST_AT_MOST)
            within = self.progress.batch < self._count  # the epoch's end has a checkpoint of its own
            if self._first and within and time.monotonic() - self._saved >= due_s:
                self._save()
        entry = self._measured()
        self._remember(entry)
        if self._first:
            self._save()
            seconds = round(time.monotonic() - started, 3)
            self._report({"event": "epoch", **entry, "seconds": seconds})
            self._put("epoch", {key: value for key, value in entry.items() if key != "epoch"})

    def _step(self, batch: Batch) -> None:
        progress = self.progress
        self._machine.optimizer.learning_rate.assign(self._rate(progress.step))
        loss, bad = self._machine.learn(batch)
        if not math.isfinite(loss):
            raise self._not_finite(loss, batch, bad)
        progress.loss_sum += loss * batch.size
        progress.batch, progress.step = batch.index + 1, progress.step + 1
        self._seen += batch.size
        self._pulse()

    def _measured(self) -> dict[str, Any]:
        found = measure(self._machine, self._data, Part.VALIDATION, self._preset, alive=self._pulse)
        labels = self._data.parts[Part.VALIDATION].labels
        return {
            "epoch": self.progress.epoch + 1,
            "loss": self.progress.loss_sum / len(self._train.rows),
            "val_loss": found.loss,
            **found.of_an_epoch(labels, self._job.definition),
            "learning_rate": self._rate(self.progress.step - 1),
        }

    def _remember(self, entry: dict[str, Any]) -> None:
        progress = self.progress
        progress.epoch, progress.batch, progress.loss_sum = entry["epoch"], 0, 0.0
        progress.history.append(entry)
        last = self._preset["training"].get("keep", "best") == "last" and math.isfinite(entry["val_loss"])
        if last or entry["val_loss"] < progress.best_loss:
            progress.best_loss, progress.best_epoch = entry["val_loss"], entry["epoch"]
            progress.best = [np.copy(weight) for weight in self._machine.network.get_weights()]

    def _rate(self, step: int) -> float:
        steps = self._count * self._preset["training"]["epochs"]
        losses = [entry["val_loss"] for entry in self.progress.history]
        return learning_rate(
            self._preset["optimizer"], step, steps, steps_per_epoch=self._count, losses=losses
        )

    def _save(self) -> None:
        """Write a checkpoint, unless what has been learnt is worthless."""
        started = time.monotonic()
        values = self._machine.values()
        if not all(np.isfinite(value).all() for value in values):
            raise Diverged(
                f"the weights are no longer finite after {self.progress.step} steps", self._slower()
            )
        self._checkpoints.save(State(self.progress, values))
        self._saved = time.monotonic()
        self._save_took = self._saved - started
        seconds = round(self._save_took, 3)
        self._report({"event": "checkpoint", "step": self.progress.step, "seconds": seconds})

    def _asked_to_regroup(self) -> bool:
        """Say whether rank 0 finds the file that asks for it; all members hear the same."""
        asked = self._first and regroup_file(self._job.checkpoint, self._place.generation).exists()
        return bool(self._machine.group.sum(np.array([int(asked)]))[0])

    def _pulse(self) -> None:
        """Say how far the epoch is, once a second: the sign of life that the deadline waits for."""
        now, progress = time.monotonic(), self.progress
        if now - self._spoke < _PULSE_S:
            return
        if progress.batch:
            rows = min(progress.batch * self._preset["training"]["batch"], len(self._train.rows))
            epoch, batch, loss = progress.epoch + 1, progress.batch, progress.loss_sum / rows
        else:  # between two epochs, or after the last one
            epoch, batch, loss = progress.epoch, self._count, progress.history[-1]["loss"]
        speed = round(self._seen / (now - self._spoke), 1) if self._spoke > 0 else 0.0
        values = {"loss": loss, "images_per_s": speed}
        self._report({"event": "step", "epoch": epoch, "batch": batch, "batches": self._count, **values})
        self._put("step", values)
        self._spoke, self._seen = now, 0

    def _put(self, group: str, values: dict[str, float]) -> None:
        if self._scalars is not None:
            named = {f"{group}/{name}": value for name, value in values.items()}
            self._scalars.put(self.progress.step, named)

    def _not_finite(self, loss: float, batch: Batch, bad: NDArray[np.bool_]) -> Diverged:
        """Name the batch and some of the rows; all members have the same loss and come here together."""
        group = self._machine.group
        found = np.zeros((group.size, _ROWS_NAMED + 1), np.int64)
        own = np.sort(batch.rows[bad])
        found[group.rank, 0] = len(own)
        found[group.rank, 1 : 1 + len(own[:_ROWS_NAMED])] = own[:_ROWS_NAMED] + 1
        found = group.sum(found)
        rows = np.sort(found[:, 1:][found[:, 1:] > 0] - 1)[:_ROWS_NAMED]
        return Diverged(
            f"the loss became {loss} in {self._where(batch.index + 1)}"
            + (f"; {found[:, 0].sum()} of its {batch.size} rows: {self._named(rows)}" if len(rows) else ""),
            self._slower() + (", or look at these rows' labels and images" if len(rows) else ""),
        )

    def _where(self, batch: int) -> str:
        return f"epoch {self.progress.epoch + 1}, batch {batch} of {self._count}"

    def _slower(self) -> str:
        return f"lower training.learning_rate (now {self._preset['optimizer']['learning_rate']:g})"

    def _named(self, rows: NDArray[np.int64]) -> str:
        cube = self._data.cube
        if arrays.ID.name not in cube.group:
            return ", ".join(map(str, rows))
        ids = (cube.read(arrays.ID.name, row, row + 1)[0] for row in rows.tolist())
        return ", ".join(f"{row} (id {number})" for row, number in zip(rows, ids, strict=True))

    def _started(self, ignored: str) -> dict[str, Any]:
        return {
            "event": "start",
            "preset": self._preset.name,
            "parameters": int(self._machine.network.count_params()),
            "rows": counts(self._data),
            "epochs": self._preset["training"]["epochs"],
            "batches": self._count,
            "resumed_from": self.progress.epoch,
            "resumed_batch": self.progress.batch,
            "members": self._place.size,
            "generation": self._place.generation,
            "history": self.progress.history,
            "checkpoint_ignored": ignored,
        }


def _hand_round(group: Any, data: bytes) -> bytes:
    """Return rank 0's `data` on every member of the group."""
    if group.size == 1:
        return data
    length = int(group.sum(np.array([len(data)], np.int64))[0])
    own = np.frombuffer(data or bytes(length), np.uint8)
    return bytes(group.broadcast(own).tobytes()) if length else b""


def _same(group: Any, values: Arrays) -> Arrays:
    """Return rank 0's arrays on every member; the others have arrays of the same shapes and types."""
    data = np.frombuffer(b"".join(value.tobytes() for value in values), np.uint8)
    parts = np.split(group.broadcast(data), np.cumsum([value.nbytes for value in values])[:-1])
    return [part.view(value.dtype).reshape(value.shape) for part, value in zip(parts, values, strict=True)]
