"""Answers: the wanted rows of a block are read slice by slice, and answered batch by batch while the next are read."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.cubes import Cube, read_ahead
from model.intake import Content, Intake
from model.predictor import Predictor
from schemas import arrays

Array = NDArray[Any]

_SLICE_BYTES = 8 << 20
"""Of images that are read at once; the reader costs least with slices of several chunks."""
_COPIED = {
    "id": arrays.ID.name,
    "ra": arrays.RA.name,
    "dec": arrays.DEC.name,
    "z_spec": arrays.LABEL.name,
    "split": arrays.SPLIT.name,
}
"""Columns of a part that are copied from the cube, and the arrays they come from."""


def answered(
    cube: Cube, predictor: Predictor, start: int, wanted: NDArray[np.bool_]
) -> Iterator[tuple[dict[str, Array], Array]]:
    """Yield the answers to the rows of a block that are wanted, whole batches at a time, with their copied columns.

    Parameters
    ----------
    cube : Cube
        What is read.
    predictor : Predictor
        What answers.
    start : int
        First row of the block.
    wanted : ndarray of bool
        Of each of its rows whether it is wanted; all those must have been fetched well.
    """
    rows = np.flatnonzero(wanted) + start
    done, copied, found = 0, {}, []
    waiting = predictor.intake.room(cube, 0)
    with read_ahead(_read(cube, predictor.intake, start, wanted)) as (results, go_on):
        for result in results:
            go_on()
            if isinstance(result, dict):
                copied, result = result, predictor.intake.room(cube, 0)
            waiting = _joined(waiting, result)
            count = len(waiting[0])
            ready = count // predictor.batch * predictor.batch
            if done + count == len(rows):  # nothing comes after it
                ready = count
            for first in range(0, ready, predictor.most):
                last = min(first + predictor.most, ready)
                span = slice(done + first, done + last)
                images, vectors = (values[first:last] for values in waiting)
                found.append((span, predictor(images, rows[span], vectors)))
            images, vectors = (values[ready:] for values in waiting)
            waiting, done = (images, vectors), done + ready
            if copied:
                for span, answers in found:
                    yield (
                        {"row": rows[span], **{name: values[span] for name, values in copied.items()}},
                        answers,
                    )
                found = []


def _joined(waiting: Content, more: Content) -> Content:
    if not len(waiting[0]):
        return more
    images, vectors = (np.concatenate(pair) for pair in zip(waiting, more, strict=True))
    return images, vectors


def _read(cube: Cube, intake: Intake, start: int, wanted: NDArray[np.bool_]) -> Iterator[Any]:
    """Yield the content of the wanted rows slice by slice, and second their columns that are copied.

    The first slice is short, so that there soon is something to compute.
    """
    stop = start + len(wanted)
    for number, (first, last) in enumerate(_slices(cube, start, stop)):
        chosen = wanted[first - start : last - start]
        if chosen.any():
            content = intake.read(cube, first, last)
            yield content if chosen.all() else tuple(values[chosen] for values in content)
        if number == 0:
            yield {column: cube.read(name, start, stop)[wanted] for column, name in _COPIED.items()}


def _slices(cube: Cube, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield parts of a block that end where chunks end: one chunk, then longer ones."""
    chunk = cube.rows_per_chunk
    chunk_bytes = chunk * math.prod(cube.geometry.whole) * np.dtype(cube.geometry.dtype).itemsize
    first, length = start, chunk
    while first < stop:
        last = min(stop, first - first % chunk + length)
        yield first, last
        first, length = last, max(1, _SLICE_BYTES // max(1, chunk_bytes)) * chunk
