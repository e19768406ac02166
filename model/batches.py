"""Batches of a cube's rows, in a fixed order, with the next block read in the background.

Memory: the labelled images of two blocks, the block being read, and one batch, whatever the cube's size.
"""

import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.cubes import Cube, LabelledRows, read_ahead
from model.order import Stretch, apply_symmetries, epoch_stretches, symmetries
from schemas import arrays


@dataclass(frozen=True)
class Batch:
    """One global batch: cube rows, ``images`` ``(n, y, x, band)`` as stored, ``labels`` ``(n,)``."""

    index: int
    rows: NDArray[np.int64]
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
    with read_ahead(functools.partial(_read, cube, part), stretches) as read:

        def batches(epoch: int) -> Iterator[Batch]:
            for one in _cut(_served(islice(read, blocks)), part, batch):
                if turn:
                    which = symmetries(one.rows, seed=seed, epoch=epoch)
                    one = replace(one, images=apply_symmetries(one.images, which))
                yield one

        yield map(batches, epochs)


@contextmanager
def ordered_batches(cube: Cube, part: LabelledRows, *, batch: int) -> Iterator[Iterator[Batch]]:
    """Give the rows of `part` once, in the cube's order, in batches."""
    blocks, starts = np.unique(part.rows // cube.rows_per_block, return_index=True)
    stretches = [
        Stretch(int(block), rows)
        for block, rows in zip(blocks, np.split(part.rows, starts[1:]), strict=True)
        if len(rows)
    ]
    with read_ahead(functools.partial(_read, cube, part), stretches) as read:
        yield _cut(_served(read), part, batch)


def _read(
    cube: Cube, part: LabelledRows, stretch: Stretch
) -> tuple[Stretch, NDArray[np.int64], NDArray[Any]]:
    """Return the stretch, and the rows of `part` in its block with their images."""
    start = stretch.block * cube.rows_per_block
    stop = min(start + cube.rows_per_block, cube.rows)
    first, last = np.searchsorted(part.rows, [start, stop])
    images = cube.read(arrays.IMAGE.name, start, stop)
    mine = part.rows[first:last]
    return stretch, mine, images if len(mine) == len(images) else images[mine - start]


def _served(
    blocks: Iterator[tuple[Stretch, NDArray[np.int64], NDArray[Any]]],
) -> Iterator[tuple[NDArray[np.int64], list[tuple[NDArray[np.int64], NDArray[Any]]]]]:
    """Yield each stretch's rows with the two blocks they lie in."""
    held: list[tuple[NDArray[np.int64], NDArray[Any]]] = []
    for stretch, rows, images in blocks:
        held = [*held[-1:], (rows, images)]
        yield stretch.rows, held


def _cut(
    served: Iterator[tuple[NDArray[np.int64], list[tuple[NDArray[np.int64], NDArray[Any]]]]],
    part: LabelledRows,
    batch: int,
) -> Iterator[Batch]:
    """Cut the stretches into batches; a batch may take the end of one and the start of the next."""
    index, rest_rows, rest_images = 0, part.rows[:0], None
    for rows, held in served:
        start = batch - len(rest_rows) if len(rest_rows) else 0
        if len(rest_rows):
            rest_images = np.concatenate([rest_images, _gather(rows[:start], held)])
            rest_rows = np.concatenate([rest_rows, rows[:start]])
            if len(rest_rows) < batch:
                continue
            yield _batch(index, rest_rows, rest_images, part)
            index += 1
        whole = start + (len(rows) - start) // batch * batch
        for first in range(start, whole, batch):
            chosen = rows[first : first + batch]
            yield _batch(index, chosen, _gather(chosen, held), part)
            index += 1
        rest_rows, rest_images = rows[whole:], _gather(rows[whole:], held)
    if len(rest_rows):
        yield _batch(index, rest_rows, rest_images, part)


def _batch(index: int, rows: NDArray[np.int64], images: Any, part: LabelledRows) -> Batch:
    return Batch(index, rows, images, part.labels[np.searchsorted(part.rows, rows)])


def _gather(rows: NDArray[np.int64], held: list[tuple[NDArray[np.int64], NDArray[Any]]]) -> NDArray[Any]:
    images = held[-1][1]
    out = np.empty((len(rows), *images.shape[1:]), images.dtype)
    for known, pixels in held:
        place = np.minimum(np.searchsorted(known, rows), len(known) - 1)
        found = known[place] == rows
        out[found] = pixels[place[found]]
    return out
