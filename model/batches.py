"""Batches of a cube's rows, in a fixed order, with the next block read in the background.

A block is read in slices, and each image is put straight where it will be served: batches are cut from there
without another copy. Memory: the images to be served of two and a half blocks, a slice and a batch, whatever
the cube's size.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.cubes import Cube, LabelledRows, read_ahead
from model.order import Rows, Stretch, apply_symmetries, epoch_stretches, symmetries
from schemas import arrays

Served = tuple[Rows, NDArray[Any]]
"""Cube rows in the order they are served, and their images."""

_END = Stretch(-1, np.empty(0, np.int64))
_ROWS_PER_SLICE = 512
"""Rows read at once, or a quarter of a block: few enough to be small beside it, enough that a read costs little."""


@dataclass(frozen=True)
class Batch:
    """One global batch: cube rows, ``images`` ``(n, y, x, band)`` as stored, ``labels`` ``(n,)``."""

    index: int
    rows: Rows
    images: NDArray[Any]
    labels: NDArray[np.float32]


@contextmanager
def training_epochs(
    cube: Cube, part: LabelledRows, *, batch: int, seed: int, epochs: Iterable[int], turn: bool
) -> Iterator[Iterator[Iterator[Batch]]]:
    """Give the batches of `part` for each of `epochs`, shuffled; each row comes exactly once an epoch.

    An epoch's batches must be taken to the last before the next epoch is. Its first block is read while the
    epoch before it, or what is done between the two, is going on. ``turn`` shows each row in one of the 8
    symmetries of the square, chosen by (seed, epoch, row). The last batch of an epoch may be smaller. Leaving
    the context ends the reader thread.
    """
    size, epochs = cube.rows_per_block, list(epochs)
    blocks = len(np.unique(part.rows // size))
    stretches = chain.from_iterable(
        epoch_stretches(part.rows, rows_per_block=size, seed=seed, epoch=epoch) for epoch in epochs
    )
    with read_ahead(_served(cube, stretches)) as (served, go_on):

        def batches(epoch: int) -> Iterator[Batch]:
            for one in _cut(islice(served, blocks), go_on, part, batch):
                if turn:
                    which = symmetries(one.rows, seed=seed, epoch=epoch)
                    one = replace(one, images=apply_symmetries(one.images, which))
                yield one

        yield map(batches, epochs)


@contextmanager
def ordered_batches(cube: Cube, part: LabelledRows, *, batch: int) -> Iterator[Iterator[Batch]]:
    """Give the rows of `part` once, in the cube's order, in batches."""
    blocks, starts = np.unique(part.rows // cube.rows_per_block, return_index=True)
    stretches = map(Stretch, blocks.tolist(), np.split(part.rows, starts[1:]))
    with read_ahead(_served(cube, stretches)) as (served, go_on):
        yield _cut(served, go_on, part, batch)


def _served(cube: Cube, stretches: Iterable[Stretch]) -> Iterator[Served]:
    """Yield each stretch with its images; of a block's images, those of the next stretch are kept until then."""
    size, shape = cube.rows_per_block, cube.array(arrays.IMAGE.name).shape[1:]
    kept = np.empty((0, *shape), np.uint8)
    for stretch, following in pairwise(chain(stretches, [_END])):
        images = np.empty((len(stretch.rows), *shape), np.uint8)
        images[stretch.rows // size != stretch.block] = kept
        later = following.rows[following.rows // size == stretch.block]
        if following.block == stretch.block:  # an epoch may begin with the block that the last one ended with
            later = later[:0]
        kept = np.empty((len(later), *shape), np.uint8)
        _read(cube, stretch.block, [(stretch.rows, images), (later, kept)])
        yield stretch.rows, images


def _read(cube: Cube, block: int, targets: list[Served]) -> None:
    """Read a block, slice by slice, and put each image to its place in the targets."""
    start = block * cube.rows_per_block
    stop = min(start + cube.rows_per_block, cube.rows)
    wanted = min(_ROWS_PER_SLICE, cube.rows_per_block // 4)
    step = cube.rows_per_chunk * max(1, wanted // cube.rows_per_chunk)
    for first in range(start, stop, step):
        last = min(first + step, stop)
        places = [np.flatnonzero((rows >= first) & (rows < last)) for rows, _ in targets]
        if any(map(len, places)):
            pixels = cube.read(arrays.IMAGE.name, first, last)
            for (rows, images), place in zip(targets, places, strict=True):
                images[place] = pixels[rows[place] - first]


def _cut(
    served: Iterator[Served], go_on: Callable[[], None], part: LabelledRows, batch: int
) -> Iterator[Batch]:
    """Cut the stretches into batches; a batch may take the end of one and the start of the next.

    Who takes the batches holds the last one of a stretch until the first one of the next is there: only after
    that may the reader go on.
    """
    index, rest_rows, rest = 0, part.rows[:0], None
    for rows, images in served:
        missing = batch - len(rest_rows)
        first_rows = np.concatenate([rest_rows, rows[:missing]])
        first = images[:missing] if rest is None else np.concatenate([rest, images[:missing]])
        if len(first_rows) < batch:
            rest_rows, rest = first_rows, first
            go_on()
            continue
        yield _batch(index, first_rows, first, part)
        index += 1
        go_on()
        whole = missing + (len(rows) - missing) // batch * batch
        for start in range(missing, whole, batch):
            yield _batch(index, rows[start : start + batch], images[start : start + batch], part)
            index += 1
        rest_rows, rest = rows[whole:], images[whole:].copy()
    if len(rest_rows):
        yield _batch(index, rest_rows, rest, part)


def _batch(index: int, rows: Rows, images: Any, part: LabelledRows) -> Batch:
    return Batch(index, rows, images, part.labels[np.searchsorted(part.rows, rows)])
