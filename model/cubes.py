"""Reading a cube: what it is, which rows can be used, and its blocks one after the other, read ahead."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import zarr
from numpy.typing import NDArray

from model.geometry import Geometry
from model.vectors import Vector, find_columns
from schemas import arrays
from schemas.errors import ModelError, StoreError
from schemas.flags import Part, Status

Array = NDArray[Any]
Result = TypeVar("Result")
_CLOSE_S = 5.0
"""How long [s] the end of a reader is waited for: its file system may hang, and it is a daemon."""


@dataclass(frozen=True)
class Cube:
    """An open cube."""

    path: str
    group: zarr.Group
    geometry: Geometry
    rows: int
    rows_per_block: int
    rows_per_chunk: int
    opened: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def array(self, name: str) -> Any:
        """Return the array `name` itself."""
        if name not in self.opened:
            self.opened[name] = self.group[name]
        return self.opened[name]

    @cached_property
    def columns(self) -> list[str]:
        """The sample's other numeric columns."""
        prefix = arrays.FEATURE_PREFIX
        return sorted(name.removeprefix(prefix) for name in self.group if name.startswith(prefix))

    def vectors(self, vector: Vector | None, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Return the vectors ``(n, width)`` of rows `start` to `stop`; of width 0 without a `vector`.

        Raises
        ------
        ModelError
            The cube lacks a column.
        StoreError
            A column cannot be read.
        """
        if vector is None:
            return np.empty(((self.rows if stop is None else stop) - start, 0), np.float32)
        return vector(self.columns_of(vector, start, stop))

    def columns_of(self, vector: Vector, start: int = 0, stop: int | None = None) -> dict[str, Array]:
        """Return the columns ``(n,)`` that a vector is made of, by name, of rows `start` to `stop`."""
        spelt = find_columns(vector, self.columns, where=self.path)
        return {name: self.read(arrays.FEATURE_PREFIX + own, start, stop) for name, own in spelt.items()}

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Array:
        """Return rows `start` to `stop` (exclusive) of the array `name`.

        Raises
        ------
        StoreError
            The array cannot be read.
        """
        try:
            return np.asarray(self.array(name)[start : self.rows if stop is None else stop])
        except (KeyError, OSError, ValueError, RuntimeError) as error:
            raise StoreError(
                f"cannot read rows {start} to {stop} of array {name!r} of the cube {self.path}: {error}",
                "run `skymill verify --repair`, which fetches damaged blocks again",
            ) from error


def open_cube(path: str) -> Cube:
    """Open the cube at `path` for reading.

    Raises
    ------
    StoreError
        There is no cube, or it lacks what a cube has.
    """
    try:
        group = zarr.open_group(path, mode="r", zarr_format=3)
        image: Any = group[arrays.IMAGE.name]
        attributes: dict[str, Any] = dict(group.attrs)
        geometry = Geometry(
            tuple(map(int, image.shape[1:-1])),
            tuple(attributes["bands"]),
            float(attributes["arcsec_per_pixel"]),
            str(image.dtype),
            str(attributes.get("unit", "level")),
        )
        sizes = (int(image.shape[0]), int(attributes["rows_per_block"]), int(attributes["rows_per_chunk"]))
    except (KeyError, OSError, ValueError, IndexError, TypeError) as error:
        raise StoreError(
            f"{path} is not a cube: {error or type(error).__name__}",
            "run the fetch stage, or give the path of a cube that skymill wrote",
        ) from error
    if image.ndim < 3 or image.shape[1:] != geometry.whole:
        raise StoreError(
            f"{path}: expected images (row, y, x, band) with {len(geometry.bands)} bands, found {image.shape}",
            "give the path of a cube that skymill wrote",
        )
    return Cube(path, group, geometry, *sizes)


@dataclass(frozen=True)
class LabelledRows:
    """The usable rows of one part of the split, ascending, their labels, and what each counts in the loss.

    The weights are ones where nothing else is said.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.float32]
    weights: NDArray[np.float32] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.weights is None:
            object.__setattr__(self, "weights", np.ones(len(self.rows), np.float32))

    def within(self, low: float, high: float) -> "LabelledRows":
        """Return those with a label in [low, high]."""
        return self.where((self.labels >= low) & (self.labels <= high))

    def where(self, keep: NDArray[np.bool_]) -> "LabelledRows":
        """Return those that are to be kept, ``(n,)``."""
        return LabelledRows(self.rows[keep], self.labels[keep], self.weights[keep])


def labelled_rows(cube: Cube) -> dict[Part, LabelledRows]:
    """Return the rows of the train, validation and test part that were fetched well and have a label.

    Raises
    ------
    ModelError
        The cube has no label at all, or an infinite one.
    """
    labels = cube.read(arrays.LABEL.name).astype(np.float32)
    split, status = cube.read(arrays.SPLIT.name), cube.read(arrays.STATUS.name)
    infinite = int(np.isinf(labels).sum())
    if infinite:
        raise ModelError(
            f"{infinite} of the {cube.rows} labels of {cube.path} are infinite",
            "select finite values of target.column in the sample's SQL, or NULL where it is unknown: "
            "rows without a label are left out",
        )
    if not np.isfinite(labels).any():
        raise ModelError(
            f"none of the {cube.rows} rows of {cube.path} has a label",
            "name a column with values as target.column, and a sample that has it as training.sample",
        )
    usable = np.isfinite(labels) & (status == Status.OK)
    parts = {}
    for part in (Part.TRAIN, Part.VALIDATION, Part.TEST):
        rows = np.flatnonzero(usable & (split == part)).astype(np.int64)
        parts[part] = LabelledRows(rows, labels[rows])
    return parts


@contextmanager
def read_ahead(source: Iterable[Result]) -> Iterator[tuple[Iterator[Result], Callable[[], None]]]:
    """Take the items of `source` in one background thread, one ahead of who takes them here.

    Gives the items, and a function to call once for each of them, when what came before it is no longer held:
    the next item is begun then. The thread has ended when the context is left, on whatever way; an error of
    `source` is raised where its item would have been taken.
    """
    results: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=1)
    wanted = threading.Semaphore(1)
    closing = threading.Event()

    def work() -> None:
        items = iter(source)
        try:
            while wanted.acquire() and not closing.is_set():
                results.put(("item", next(items)))
        except StopIteration:
            results.put(("end", None))
        except BaseException as error:
            results.put(("error", error))

    def take() -> Iterator[Result]:
        while True:
            kind, value = results.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value

    thread = threading.Thread(target=work, name="cube-reader", daemon=True)
    thread.start()
    try:
        yield take(), wanted.release
    finally:
        closing.set()
        wanted.release()
        deadline = time.monotonic() + _CLOSE_S
        while thread.is_alive() and time.monotonic() < deadline:
            with suppress(queue.Empty):
                results.get_nowait()  # it may wait for room
            thread.join(0.05)
