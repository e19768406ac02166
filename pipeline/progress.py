"""How far trainings are: what their trainers said last, in words and as a small curve.

The driver hears it as events; whoever only looks at a run reads the same events from the trainers' files.
"""

import json
import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

FOLDERS = ("pretraining", "search", "training")
"""Folders of a run below which each training, of a trial and of a member of the ensemble, has one of its own."""
SILENT_S = 60.0
"""A training that said nothing for longer is told to be silent: it may be one that was stopped."""
BLOCKS = "▁▂▃▄▅▆▇█"
CURVE_CHARS = 40
"""A curve of more epochs is thinned to so many characters."""


@dataclass(frozen=True)
class Progress:
    """What the trainers of one group have said.

    ``name`` is the unit's, as ``train model/00``. ``epoch`` and ``batch`` count from 1; 0 where nothing was said
    yet. ``history`` has a mapping an epoch, as the trainer's events do. Times are unix times [s].
    """

    name: str = ""
    generation: int = 1
    members: int = 1
    epochs: int = 0
    epoch: int = 0
    batch: int = 0
    batches: int = 0
    loss: float = math.nan
    images_per_s: float = math.nan
    history: tuple[Mapping[str, Any], ...] = ()
    durable: float = math.nan
    said: float = math.nan
    ended: bool = False

    @property
    def val_loss(self) -> float:
        """Validation loss of the last epoch that has one, NaN before."""
        return self.curve[-1] if self.curve else math.nan

    @property
    def curve(self) -> list[float]:
        """Validation loss of each epoch that has one."""
        return [float(entry["val_loss"]) for entry in self.history if entry.get("val_loss") is not None]

    def follow(self, event: Mapping[str, Any]) -> "Progress":
        """Return the progress after an event of rank 0."""
        new = replace(self, said=event.get("time", self.said))
        match event.get("event"):
            case "start":
                return replace(
                    new,
                    generation=event.get("generation", self.generation),
                    members=event.get("members", 1),
                    epochs=event.get("epochs", self.epochs),
                    epoch=event.get("resumed_from", 0) + 1,
                    batch=event.get("resumed_batch", 0),
                    batches=event.get("batches", self.batches),
                    history=tuple(event.get("history", ())),
                    ended=False,
                )
            case "step":
                said = {
                    key: event[key]
                    for key in ("epoch", "batch", "batches", "loss", "images_per_s")
                    if key in event
                }
                return replace(new, **said)
            case "checkpoint":
                return replace(new, durable=new.said)
            case "epoch":
                return replace(
                    new, epoch=event["epoch"], loss=event["loss"], history=(*self.history, dict(event))
                )
            case "end":
                return replace(new, ended=True)
        return new

    def words(self) -> str:
        """Return where the training is, in a few words for a line that moves."""
        pieces = [f"epoch {self.epoch}/{self.epochs}"] if self.epoch else ["starting"]
        pieces += [f"{key} {value:.4g}" for key, value in self._losses() if math.isfinite(value)]
        return f"{self.name.partition(' ')[2] or self.name}: {', '.join(pieces)}"

    def line(self, *, now: float | None = None) -> str:
        """Return all there is to say, as a line of ``skymill status``."""
        now = time.time() if now is None else now
        pieces = ["starting"]
        if self.epoch:
            pieces = [f"epoch {self.epoch}/{self.epochs}", f"batch {self.batch}/{self.batches}"]
        pieces += [f"{key} {value:.5g}" for key, value in self._losses() if math.isfinite(value)]
        if math.isfinite(self.images_per_s):
            pieces.append(f"{self.images_per_s:,.0f} images/s")
        pieces.append(
            f"{self.members} trainer{'s' if self.members > 1 else ''}, generation {self.generation}"
        )
        pieces.append(
            f"checkpoint {max(0.0, now - self.durable):,.0f} s old"
            if math.isfinite(self.durable)
            else "no checkpoint yet"
        )
        if now - self.said > SILENT_S:
            pieces.append(f"last word {now - self.said:,.0f} s ago")
        return f"{self.name}: {', '.join(pieces)}"

    def _losses(self) -> Iterator[tuple[str, float]]:
        yield "loss", self.loss
        yield "val_loss", self.val_loss


def sparkline(values: Iterable[float]) -> str:
    """Return a curve as one character a value, the highest █; what is not finite is a dot.

    Examples
    --------
    >>> sparkline([4.0, 2.0, float("nan"), 1.0])
    '█▃·▁'
    """
    points = list(values)
    if len(points) > CURVE_CHARS:  # evenly thinned; the first and the last stay
        last = len(points) - 1
        points = [points[round(place * last / (CURVE_CHARS - 1))] for place in range(CURVE_CHARS)]
    finite = [value for value in points if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((v - low) * scale)] if math.isfinite(v) else "·" for v in points)


def curve_line(progress: Progress) -> str:
    """Return the validation loss so far as a small curve with its numbers; empty before the first epoch."""
    curve = progress.curve
    finite = [value for value in curve if math.isfinite(value)]
    if not finite:
        return ""
    best = min(finite)
    epoch = next(entry["epoch"] for entry in progress.history if entry.get("val_loss") == best)
    return f"  val_loss {sparkline(curve)} {curve[0]:.4g} to {curve[-1]:.4g}, lowest {best:.4g} in epoch {epoch:g}"


def read_progress(folder: Path) -> Progress | None:
    """Return how far the training in a checkpoint's folder is; None where no trainer has said a word.

    The newest generation counts; until it has begun, what the one before has said.
    """
    said = [each / "progress-0.jsonl" for each in _inside(folder, "generation-*")]
    files = [file for file in said if math.isfinite(_written(file))][-2:]
    if not files:
        return None
    found = Progress(name=_name(files[-1].with_name("job-0.json")) or folder.name)
    for file in files:
        for event in read_events(file):
            found = found.follow(event)
    durable = max(map(_written, _inside(folder, "checkpoint-*.skt")), default=math.nan)
    return replace(found, generation=last_generation(folder), durable=durable)


def last_generation(folder: Path) -> int:
    """Return the number of the newest generation that left something in a checkpoint's folder; 0 for none.

    Examples
    --------
    >>> last_generation(Path("nowhere"))
    0
    """
    names = [path.name for path in _inside(folder, "*")]
    found = [re.match(r"(?:generation|checkpoint)-(\d+)", name) for name in names]
    return max((int(match[1]) for match in found if match), default=0)


def read_events(path: Path) -> list[dict[str, Any]]:
    """Return what a trainer has written; a line that is still being written is left out."""
    return [event for event in map(_event, _text(path).splitlines()) if event]


def trainings_under_way(folder: Path) -> list[Progress]:
    """Return how far the trainings of a run's folder are that have not ended, in the order of their names."""
    found = [
        progress
        for name in FOLDERS
        for path in _inside(folder / name, "*")
        if (progress := read_progress(path)) is not None and not progress.ended
    ]
    return sorted(found, key=lambda progress: progress.name)


def _name(job: Path) -> str:
    """Return the unit's name, which a trainer's job has in its provenance."""
    found = _event(_text(job))
    provenance = found.get("job", found).get("provenance", {})
    return str(provenance.get("unit", ""))


def _inside(folder: Path, pattern: str) -> list[Path]:
    """Return what lies in a folder, in order; nothing where it vanishes meanwhile or cannot be read."""
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def _written(path: Path) -> float:
    """Return when a file was written [unix time], or -inf where it is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return -math.inf


def _text(path: Path) -> str:
    """Return what a file says; nothing where it is gone or cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _event(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
