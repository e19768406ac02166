"""Batches of a cube's rows, in a fixed order, with the next block read in the background.

The plan comes first: which global batches there are, which of their rows are this member's, and after which
block's reading each can be served. A block is read once, chunks without a wanted row are not, and each image is
put straight where it will be served. Memory: this member's images of two and a half blocks, a slice and a batch,
whatever the cube's size.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.cubes import Cube, LabelledRows, read_ahead
from model.order import Rows, apply_symmetries, draws, epoch_batches, share, symmetries
from schemas import arrays

Places = NDArray[np.int64]
Images = NDArray[Any]
_Kept = dict[int, list[tuple[Places, Images]]]
"""Images of groups to come, and the slots they will have there, by the group's number."""

_ROWS_PER_SLICE = 512
"""Rows read at once, or a quarter of a block: few enough to be small beside it, enough that a read costs little."""


@dataclass(frozen=True)
class Batch:
    """One member's share of a global batch; it may be empty.

    ``index`` is the number of the global batch in its epoch, from 0, and ``size`` counts its rows, those of all
    members. Of the n rows of the share: cube ``rows``, ``images`` ``(n, y, x, band)`` as stored, ``labels``,
    ``weights`` and ``draws`` ``(n,)`` (see `model.order.draws`), all in the same order.
    """

    index: int
    size: int
    rows: Rows
    images: Images
    labels: NDArray[np.float32]
    weights: NDArray[np.float32]
    draws: NDArray[np.int32]


@dataclass(frozen=True)
class _Share:
    """A batch before it is read: ``places`` are those of its rows in the part of the split."""

    index: int
    size: int
    places: Places


@dataclass(frozen=True)
class _Group:
    """Shares that can be served once ``blocks`` have been read as well."""

    blocks: list[int] = field(default_factory=list)
    shares: list[_Share] = field(default_factory=list)


@dataclass(frozen=True)
class _Served:
    """A group with its images, share after share; ``last`` says that the epoch ends with it."""

    group: _Group
    images: Images
    last: bool


@contextmanager
def training_epochs(
    cube: Cube,
    part: LabelledRows,
    *,
    batch: int,
    seed: int,
    epochs: Iterable[int],
    turn: bool,
    rank: int = 0,
    members: int = 1,
    skip: int = 0,
) -> Iterator[Iterator[Iterator[Batch]]]:
    """Give one member's batches of `part` for each of `epochs`, shuffled; each row comes exactly once an epoch.

    An epoch's batches must be taken to the last before the next epoch is. Its first block is read while the
    epoch before it, or what is done between the two, is going on. Leaving the context ends the reader thread.

    Parameters
    ----------
    cube, part : Cube, LabelledRows
        What to read, and its rows to learn from.
    batch : int
        Rows of a global batch; the last one of an epoch may be smaller.
    seed : int
        Decides, with the epoch, the order and all that is drawn for a row.
    epochs : iterable of int
        The epochs to give; the first of a training is 0.
    turn : bool
        Show each row in one of the 8 symmetries of the square, chosen by (seed, epoch, row).
    rank, members : int
        Which share of each global batch is given, of how many. The global batches are the same for any.
    skip : int
        Global batches at the start of the first of `epochs` that are neither read nor given.
    """
    size, epochs = cube.rows_per_block, list(epochs)

    def plan(epoch: int, left_out: int) -> Iterator[_Share]:
        whole = epoch_batches(
            part.rows, batch=batch, rows_per_block=size, seed=seed, epoch=epoch, skip=left_out
        )
        for index, rows in whole:
            own = rows[share(rows, rows_per_block=size, rank=rank, members=members)]
            yield _Share(index, len(rows), np.searchsorted(part.rows, own))

    plans = (plan(epoch, 0 if number else skip) for number, epoch in enumerate(epochs))
    with read_ahead(_served(cube, part, plans)) as (served, go_on):

        def batches(epoch: int) -> Iterator[Batch]:
            for one in _cut(served, go_on, part):
                one = replace(one, draws=draws(one.rows, seed=seed, epoch=epoch))
                if turn:
                    which = symmetries(one.rows, seed=seed, epoch=epoch)
                    one = replace(one, images=apply_symmetries(one.images, which))
                yield one

        yield map(batches, epochs)


@contextmanager
def ordered_batches(
    cube: Cube, part: LabelledRows, *, batch: int, rank: int = 0, members: int = 1
) -> Iterator[Iterator[Batch]]:
    """Give one member's contiguous part of the rows of `part` once, in the cube's order, `batch` rows at a time.

    The parts of all members, in the order of their ranks, are the rows of `part`. The ``draws`` are zeros.
    """
    own = np.array_split(np.arange(len(part.rows)), members)[rank]
    pieces = (own[first : first + batch] for first in range(0, len(own), batch))
    plan = (_Share(index, len(places), places) for index, places in enumerate(pieces))
    with read_ahead(_served(cube, part, [plan])) as (served, go_on):
        yield _cut(served, go_on, part)


def _cut(served: Iterator[_Served], go_on: Callable[[], None], part: LabelledRows) -> Iterator[Batch]:
    """Yield the batches of an epoch.

    Who takes the batches holds the last one of a group until the first one of the next is there: only after
    that may the reader go on.
    """
    for one in served:
        shares = one.group.shares
        ends = accumulate((len(each.places) for each in shares), initial=0)
        for number, (each, span) in enumerate(zip(shares, pairwise(ends), strict=True)):
            yield _batch(each, one.images[slice(*span)], part)
            if number == 0:
                go_on()
        if not shares:
            go_on()
        if one.last:
            return


def _batch(one: _Share, images: Images, part: LabelledRows) -> Batch:
    places = one.places
    nothing = np.zeros(len(places), np.int32)
    return Batch(
        one.index, one.size, part.rows[places], images, part.labels[places], part.weights[places], nothing
    )


def _grouped(shares: Iterable[_Share], part: LabelledRows, rows_per_block: int) -> list[_Group]:
    """Group the shares of an epoch by the blocks whose reading completes them; there is always one group."""
    groups, read = [_Group()], set[int]()
    for one in shares:
        new = set((part.rows[one.places] // rows_per_block).tolist()) - read
        if new and groups[-1].shares:
            groups.append(_Group())
        groups[-1].blocks.extend(sorted(new))
        groups[-1].shares.append(one)
        read |= new
    return groups


class _Destinations:
    """Where in an epoch each row of a part is served: in which group, and at which place of the group's images."""

    def __init__(self, groups: list[_Group], part: LabelledRows) -> None:
        self._rows = part.rows
        self._group = np.full(len(part.rows), -1, np.int32)
        self._slot = np.zeros(len(part.rows), np.int32)
        self.lengths = []
        for number, group in enumerate(groups):
            places = np.concatenate([part.rows[:0], *(one.places for one in group.shares)])
            self._group[places] = number
            self._slot[places] = np.arange(len(places))
            self.lengths.append(len(places))

    def within(self, start: int, stop: int) -> Iterator[tuple[int, Rows, Places]]:
        """Yield each group that serves cube rows from `start` to `stop`, those rows, ascending, and their slots."""
        first, last = np.searchsorted(self._rows, [start, stop])
        groups, slots, rows = (a[first:last] for a in (self._group, self._slot, self._rows))
        for number in np.unique(groups[groups >= 0]).tolist():
            mine = groups == number
            yield number, rows[mine], slots[mine]


def _served(cube: Cube, part: LabelledRows, plans: Iterable[Iterable[_Share]]) -> Iterator[_Served]:
    """Yield the groups of each epoch with their images; images that a later group serves are kept until then."""
    for shares in plans:
        groups = _grouped(shares, part, cube.rows_per_block)
        destinations = _Destinations(groups, part)
        kept: _Kept = defaultdict(list)
        for number, group in enumerate(groups):
            images = _images(cube, destinations.lengths[number])
            _put(images, kept.pop(number, []))
            for block in group.blocks:
                _read_block(cube, block, destinations, kept, number, images)
            yield _Served(group, images, number == len(groups) - 1)


def _images(cube: Cube, count: int) -> Images:
    """Return room for `count` images."""
    return np.empty((count, *cube.array(arrays.IMAGE.name).shape[1:]), np.uint8)


def _put(images: Images, pieces: list[tuple[Places, Images]]) -> None:
    """Put pieces that were kept to their places."""
    for slots, piece in pieces:
        images[slots] = piece


def _read_block(
    cube: Cube, block: int, destinations: _Destinations, kept: _Kept, now: int, images: Images
) -> None:
    """Read a block into the `images` of the group `now`, and into `kept` what later groups serve of it."""
    start, targets = block * cube.rows_per_block, []
    for number, rows, slots in destinations.within(start, start + cube.rows_per_block):
        if number == now:
            targets.append((rows, slots, images))
        else:
            piece = _images(cube, len(rows))
            targets.append((rows, np.arange(len(rows)), piece))
            kept[number].append((slots, piece))
    _read(cube, start, targets)


def _read(cube: Cube, start: int, targets: list[tuple[Rows, Places, Images]]) -> None:
    """Read the rows of the targets, all in the block that begins at `start`, and put each image to its slot."""
    length, size = cube.rows_per_chunk, cube.rows_per_block
    stop = min(start + size, cube.rows)
    chunks = np.unique((np.concatenate([rows for rows, _, _ in targets]) - start) // length)
    most = max(1, min(_ROWS_PER_SLICE, size // 4) // length)
    for first_chunk, last_chunk in _runs(chunks, most):
        first, last = start + first_chunk * length, min(start + last_chunk * length, stop)
        pixels = cube.read(arrays.IMAGE.name, first, last)
        for rows, slots, images in targets:
            part = slice(*np.searchsorted(rows, [first, last]))
            images[slots[part]] = pixels[rows[part] - first]


def _runs(numbers: NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Yield the first and the last (exclusive) of runs of consecutive `numbers`, at most `most` in each.

    >>> list(_runs(np.array([0, 1, 2, 5, 7, 8]), 2))
    [(0, 2), (2, 3), (5, 6), (7, 9)]
    """
    for run in np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1):
        for first in run[::most].tolist():
            yield first, min(first + most, int(run[-1]) + 1)
