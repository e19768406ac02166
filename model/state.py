"""The whole state of a training between two epochs, and its checkpoint.

A checkpoint holds all variables (weights, the optimizer's, random generators'), the best weights so far and
the history. It is one file, replaced atomically: a process killed at any time leaves the old or the new one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
from numpy.typing import NDArray

from model.files import disk_errors, write_durably
from model.tensors import pack, unpack
from schemas.errors import ModelError

_FILE = "checkpoint.skt"


@dataclass
class Progress:
    """Epochs done, what happened in each, and the best weights by validation loss (``best_epoch`` from 1)."""

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    best: list[NDArray[Any]] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)


def save_checkpoint(folder: Path, job: str, progress: Progress, variables: Sequence[keras.Variable]) -> None:
    """Write the state after an epoch; `job` is the digest of everything that decides the training."""
    arrays = {f"now/{i:04d}": v.numpy() for i, v in enumerate(variables)}
    arrays |= {f"best/{i:04d}": array for i, array in enumerate(progress.best)}
    values = {
        "job": job,
        "layout": _layout(variables),
        "epoch": progress.epoch,
        "best_epoch": progress.best_epoch,
        "best_loss": progress.best_loss,
        "history": progress.history,
    }
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_durably(folder / _FILE, pack(arrays, values))


def load_checkpoint(folder: Path, job: str, variables: Sequence[keras.Variable]) -> tuple[Progress, str]:
    """Put a checkpoint of the same job into `variables`, and return the progress it holds.

    A checkpoint that is damaged, belongs to another job or holds other variables is not used: the second value
    says why, and is empty when all is well.
    """
    path = folder / _FILE
    if not path.exists():
        return Progress(), ""
    try:
        arrays, values = unpack(path.read_bytes(), name=str(path))
    except ModelError as error:
        return Progress(), error.message
    if values["job"] != job:
        return Progress(), f"{path} belongs to another training (another preset, seed, cube or version)"
    if values.get("layout") != _layout(variables):
        return Progress(), f"{path} does not hold the variables that this network and its optimizer have"
    for i, variable in enumerate(variables):
        variable.assign(arrays[f"now/{i:04d}"])
    best = [arrays[name] for name in sorted(arrays) if name.startswith("best/")]
    return Progress(values["epoch"], values["best_epoch"], values["best_loss"], best, values["history"]), ""


def _layout(variables: Sequence[keras.Variable]) -> list[list[Any]]:
    """Return each variable's name, less Keras's count of the layers of a process, and its shape."""
    return [[re.sub(r"_\d+", "", variable.path), list(variable.shape)] for variable in variables]
