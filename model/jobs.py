"""What a trainer is asked to do, and what it answers: small values that travel as JSON."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from schemas.errors import PeerLost
from schemas.records import Place


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """One training, whole: the same job always ends with the same weights.

    ``cube`` is the Zarr group to learn from; ``checkpoint`` the folder whose content makes a killed training
    go on; ``bundle`` the folder (a staging path) the result is written to. ``epochs``, ``batch``,
    ``learning_rate`` and ``patience`` come from the preset where they are None. ``definition`` names the
    metrics that are reported (see `model.metrics.DEFINITIONS`); ``provenance`` is stored with the bundle as it
    is given, and its ``inputs``, the digest of all that is learnt from, in the manifest too.

    Within an epoch a checkpoint is written when ``checkpoint_s`` have passed since the last one; a trainer that
    says nothing for ``deadline_s`` is ended. ``tensorboard`` asks for event files in the checkpoint's folder.
    ``backend`` is the framework Keras speaks. ``weight_column`` names the rows' weights in the cube.
    ``export`` adds to the bundle what the faster runtime reads. ``donors`` are bundles whose layers it begins with.
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
    checkpoint_s: float = 30.0
    deadline_s: float = 300.0
    tensorboard: bool = False
    backend: str = "tensorflow"
    weight_column: str = ""
    export: bool = True
    donors: tuple[str, ...] = ()

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
    epochs that were found in a checkpoint. ``regroup`` says that the training is not finished: it was asked to
    end, and goes on from its checkpoint with other members; there is no bundle then.
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
    regroup: bool = False

    @classmethod
    def to_regroup(cls, epochs: int, seconds: float) -> "TrainingResult":
        """Return what a training says that is to go on with other members."""
        return cls("", "", epochs, 0, seconds, {}, {}, [], regroup=True)


def generation_folder(checkpoint: str | Path, generation: int) -> Path:
    """Return the folder in which the trainers of a generation leave what they say.

    >>> generation_folder("checkpoint", 3).name
    'generation-0003'
    """
    return Path(checkpoint) / f"generation-{generation:04d}"


def regroup_file(checkpoint: str | Path, generation: int) -> Path:
    """Return the file whose presence asks a generation to end at the next epoch's end."""
    return generation_folder(checkpoint, generation) / "regroup"


def write_task(job: TrainingJob, place: Place, path: Path) -> None:
    """Write to `path` what one member is to do."""
    values = {"job": asdict(job), "place": asdict(place)}
    path.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")


def read_task(path: Path) -> tuple[TrainingJob, Place]:
    """Read what `write_task` wrote."""
    values = json.loads(path.read_text())
    place = {**values["place"], "members": tuple(values["place"]["members"])}
    job = {**values["job"], "donors": tuple(values["job"]["donors"])}
    return TrainingJob(**job), Place(**place)


def read_result(path: Path) -> TrainingResult | None:
    """Read what a trainer has written as JSON: its result, or None where another member has it."""
    values = json.loads(path.read_text())
    return None if values is None else TrainingResult(**values)


def peer_lost(rank: int, size: int, words: str) -> PeerLost:
    """Return the error of a member that ended since another one did, and in what `words` it learnt of that."""
    return PeerLost(
        f"trainer {rank} of {size} ended because another one did ({words})",
        "look at what the other one says; the training goes on from its last checkpoint",
    )
