"""What a trainer is asked to do, and what it answers: small values that travel as JSON."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """One training, whole: the same job always ends with the same weights.

    ``cube`` is the Zarr group to learn from; ``checkpoint`` the folder whose content makes a killed training
    go on; ``bundle`` the folder (a staging path) the result is written to. ``epochs``, ``batch``,
    ``learning_rate`` and ``patience`` come from the preset where they are None. ``definition`` names the
    metrics that are reported (see `model.metrics.DEFINITIONS`); ``provenance`` is stored with the bundle as it
    is given, and its ``inputs``, the digest of all that is learnt from, in the manifest too.
    """

    cube: str
    checkpoint: str
    bundle: str
    preset: str
    overrides: dict[str, Any]
    seed: int
    epochs: int | None
    batch: int | None
    learning_rate: float | None
    patience: int | None
    target: str
    definition: str
    threads: int
    provenance: dict[str, Any]

    def resolved_overrides(self) -> dict[str, Any]:
        """Return the preset's overrides with the job's own four numbers among them."""
        own = {
            "training.epochs": self.epochs,
            "training.batch": self.batch,
            "training.patience": self.patience,
            "optimizer.learning_rate": self.learning_rate,
        }
        return {**self.overrides, **{key: value for key, value in own.items() if value is not None}}


@dataclass(frozen=True)
class TrainingResult:
    """What a finished training left behind.

    ``digest`` names the bundle's content; ``rows`` counts the rows of each part of the split that were used,
    and under ``left_out`` those whose label lies outside the head's bins; ``resumed_from`` is the number of
    epochs that were found in a checkpoint.
    """

    bundle: str
    digest: str
    epochs: int
    best_epoch: int
    seconds: float
    rows: dict[str, int]
    metrics: dict[str, Any]
    history: list[dict[str, float]]
    resumed_from: int = 0


def write_job(job: TrainingJob, path: Path) -> None:
    """Write `job` to `path` as JSON."""
    path.write_text(json.dumps(asdict(job), indent=1, sort_keys=True) + "\n")


def read_job(path: Path) -> TrainingJob:
    """Read what `write_job` wrote."""
    return TrainingJob(**json.loads(path.read_text()))


def read_result(path: Path) -> TrainingResult:
    """Read the result a trainer has written as JSON."""
    return TrainingResult(**json.loads(path.read_text()))
