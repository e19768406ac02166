"""The whole state of a training between two batches, and its checkpoints.

A checkpoint holds all variables (weights, the optimizer's), the best weights so far, where the training stands,
and its history. Each is a file of its own, named by generation and step and written whole; the two newest are
kept. A process killed at any time leaves those it has written; a file that is damaged is passed over for the one
before. NumPy only: the same bytes serve Keras's frameworks.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.files import disk_errors, write_durably
from model.tensors import pack, unpack
from schemas.errors import ModelError

Arrays = list[NDArray[Any]]
Layout = list[list[Any]]
"""Of each variable its name and its shape."""

KEPT = 2
"""The newest checkpoint, and the one before in case it is damaged."""
_NAME = re.compile(r"checkpoint-(\d{4,})-(\d{8,})\.skt")


@dataclass
class Progress:
    """Where a training stands.

    ``epoch`` whole epochs are done, and ``batch`` global batches of the next one, whose losses, each times its
    rows, add up to ``loss_sum``; ``step`` batches in all. ``best`` are the weights of ``best_epoch`` (from 1),
    that with the lowest validation loss. ``history`` has an entry an epoch.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    best_epoch: int = 0
    best_loss: float = float("inf")
    history: list[dict[str, float]] = field(default_factory=list)
    best: Arrays = field(default_factory=list)


@dataclass(frozen=True)
class State:
    """A training's progress and the values of its variables."""

    progress: Progress
    variables: Arrays


def layout_of(names: Sequence[str], arrays: Sequence[Any]) -> Layout:
    """Return each variable's name, less Keras's count of the layers of a process, and its shape."""
    return [[re.sub(r"_\d+", "", n), list(a.shape)] for n, a in zip(names, arrays, strict=True)]


def encode(state: State, *, job: str, layout: Layout) -> bytes:
    """Return `state` as the bytes of a checkpoint of the training whose digest is `job`."""
    arrays = {f"now/{i:04d}": np.asarray(array) for i, array in enumerate(state.variables)}
    arrays |= {f"best/{i:04d}": np.asarray(array) for i, array in enumerate(state.progress.best)}
    values = asdict(replace(state.progress, best=[]))
    return pack(arrays, {"job": job, "layout": layout, "progress": values})


def decode(data: bytes, *, job: str, layout: Layout, name: str = "checkpoint") -> State:
    """Return the state of `encode`.

    Raises
    ------
    ModelError
        The bytes are damaged, belong to another training, or hold other variables.
    """
    arrays, values = unpack(data, name=name)
    remedy = "nothing to do: it is not used"
    if values.get("job") != job:
        raise ModelError(
            f"{name} belongs to another training (another preset, seed, cube or version)", remedy
        )
    if values.get("layout") != layout:
        raise ModelError(
            f"{name} does not hold the variables that this network and its optimizer have", remedy
        )
    current, best = (
        [arrays[key] for key in sorted(arrays) if key.startswith(kind)] for kind in ("now/", "best/")
    )
    try:
        return State(Progress(**{**values["progress"], "best": best}), current)
    except (KeyError, TypeError) as error:
        raise ModelError(f"{name} was written by another version: {error}", remedy) from error


class Checkpoints:
    """The checkpoints of one training, as one generation of it sees them.

    Parameters
    ----------
    folder : Path
        Where they lie.
    job : str
        Digest of everything that decides the training; those of another one are not used.
    layout : Layout
        Of its variables.
    generation : int
        Who writes: files of a later generation are never removed.
    """

    def __init__(self, folder: Path, *, job: str, layout: Layout, generation: int = 0) -> None:
        self._folder, self._job, self._layout, self._generation = folder, job, layout, generation
        self._good: list[Path] = []

    def load(self) -> tuple[State | None, str]:
        """Return the newest state that can be used, None if there is none, and what was passed over, and why."""
        ignored = []
        for path in reversed(self._files()):
            try:
                state = decode(path.read_bytes(), job=self._job, layout=self._layout, name=str(path))
            except ModelError as error:
                ignored.append(error.message)
            except OSError as error:
                ignored.append(f"{path} cannot be read: {error.strerror or error}")
            else:
                self._good.append(path)
                return state, "; ".join(ignored)
        return None, "; ".join(ignored)

    def save(self, state: State) -> Path:
        """Write a checkpoint, and remove those of this and earlier generations that it makes superfluous.

        Raises
        ------
        StoreError
            The file system refused; the checkpoints before are untouched.
        """
        path = self._folder / f"checkpoint-{self._generation:04d}-{state.progress.step:08d}.skt"
        with disk_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        write_durably(path, encode(state, job=self._job, layout=self._layout))
        self._good = [*(good for good in self._good if good != path), path][-KEPT:]
        with suppress(OSError):  # what is left goes with the next one
            for old in self._files():
                if old not in self._good and _place(old)[1] <= self._generation:
                    old.unlink(missing_ok=True)
        return path

    def _files(self) -> list[Path]:
        """Return the checkpoints there are, the one with the most steps last."""
        return sorted(
            (p for p in self._folder.glob("checkpoint-*.skt") if _NAME.fullmatch(p.name)), key=_place
        )


def _place(path: Path) -> tuple[int, int]:
    """Return step and generation of a checkpoint, by its name."""
    found = _NAME.fullmatch(path.name)
    assert found is not None
    return int(found[2]), int(found[1])
