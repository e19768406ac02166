"""Batches of a cube's rows, in a fixed order, with the next block read in the background.

The plan comes first: which global batches there are, which of their rows are this member's, and after which
block's reading each can be served. A block is read once, chunks without a wanted row are not, and what a row holds is
put straight where it will be served. Memory: this member's content of two and a half blocks, a slice and a batch,
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
from model.intake import Content, Intake
from model.order import Rows, apply_symmetries, draws, epoch_batches, evaluation_draws, share, symmetries

IMAGES = Intake()
Places = NDArray[np.int64]
_Kept = dict[int, list[tuple[Places, Content]]]
"""Content of groups to come, and the slots it will have there, by the group's number."""

_ROWS_PER_SLICE = 512
"""Rows read at once, or a quarter of a block: few enough to be small beside it, enough that a read costs little."""


@dataclass(frozen=True)
class Batch:
    """One member's share of a global batch.

    ``index`` is the number of the global batch in its epoch, from 0, and ``size`` counts its rows, those of all
    members. Of the n rows of the share: cube ``rows``, ``content`` (see `model.intake`), ``labels``, ``weights`` and
    ``draws`` ``(n,)``, labels of pixels ``(n, y, x, class)`` (see `model.order`), all in the same order.
    """

    index: int
    size: int
    rows: Rows
    content: Content
    labels: NDArray[np.float32]
    weights: NDArray[np.float32]
    draws: NDArray[np.int32]

    @property
    def images(self) -> NDArray[Any]:
        """The images of `content`."""
        return self.content[0]

    def inputs(self, names: Iterable[str]) -> list[NDArray[Any]]:
        """Return what a network is given whose inputs have these names."""
        given = {"image": self.content[0], "vector": self.content[1], "draw": self.draws}
        return [given[name] for name in names]


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
    """A group with its content, share after share; ``last`` says that the epoch ends with it."""

    group: _Group
    content: Content
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
    intake: Intake = IMAGES,
    rank: int = 0,
    members: int = 1,
    pieces: int = 1,
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
    intake : Intake
        What is read of a row.
    rank, members : int
        Which share of each global batch is given, of how many. The global batches are the same for any.
    pieces : int
        In how many pieces a batch is learnt from; a share's rows come piece after piece (`model.order.pieces_of`).
    skip : int
        Global batches at the start of the first of `epochs` that are neither read nor given.
    """
    size, epochs = cube.rows_per_block, list(epochs)

    def plan(epoch: int, left_out: int) -> Iterator[_Share]:
        whole = epoch_batches(
            part.rows, batch=batch, rows_per_block=size, seed=seed, epoch=epoch, skip=left_out
        )
        for index, rows in whole:
            own = rows[share(rows, rows_per_block=size, rank=rank, members=members, pieces=pieces)]
            yield _Share(index, len(rows), np.searchsorted(part.rows, own))

    plans = (plan(epoch, 0 if number else skip) for number, epoch in enumerate(epochs))
    with read_ahead(_served(cube, part, plans, intake)) as (served, go_on):

        def batches(epoch: int) -> Iterator[Batch]:
            for one in _cut(served, go_on, part):
                images, vectors = one.content
                vectors = intake.seen(vectors, one.rows, seed=seed, epoch=epoch)
                one = replace(one, content=(images, vectors), draws=draws(one.rows, seed=seed, epoch=epoch))
                if turn and intake.image:
                    which = symmetries(one.rows, seed=seed, epoch=epoch)
                    images, vectors = one.content
                    one = replace(one, content=(apply_symmetries(images, which), vectors))
                    if intake.target:
                        one = replace(one, labels=apply_symmetries(one.labels, which))
                yield one

        yield map(batches, epochs)


@contextmanager
def ordered_batches(
    cube: Cube,
    part: LabelledRows,
    *,
    batch: int,
    intake: Intake = IMAGES,
    rank: int = 0,
    members: int = 1,
) -> Iterator[Iterator[Batch]]:
    """Give one member's contiguous part of the rows of `part` once, in the cube's order, `batch` rows at a time.

    The parts of all members, in the order of their ranks, are the rows of `part`. The ``draws`` are those of
    evaluation.
    """
    own = np.array_split(np.arange(len(part.rows)), members)[rank]
    pieces = (own[first : first + batch] for first in range(0, len(own), batch))
    plan = (_Share(index, len(places), places) for index, places in enumerate(pieces))
    with read_ahead(_served(cube, part, [plan], intake)) as (served, go_on):
        yield (replace(one, draws=evaluation_draws(one.rows)) for one in _cut(served, go_on, part))


def _cut(served: Iterator[_Served], go_on: Callable[[], None], part: LabelledRows) -> Iterator[Batch]:
    """Yield the batches of an epoch.

    Who takes the batches holds the last one of a group until the first one of the next is there: only after
    that may the reader go on.
    """
    for one in served:
        shares = one.group.shares
        ends = accumulate((len(each.places) for each in shares), initial=0)
        for number, (each, span) in enumerate(zip(shares, pairwise(ends), strict=True)):
            yield _batch(each, tuple(values[slice(*span)] for values in one.content), part)
            if number == 0:
                go_on()
        if not shares:
            go_on()
        if one.last:
            return


def _batch(one: _Share, content: Content, part: LabelledRows) -> Batch:
    places = one.places
    nothing = np.zeros(len(places), np.int32)
    labels = content[2] if len(content) > 2 else part.labels[places]
    return Batch(one.index, one.size, part.rows[places], content[:2], labels, part.weights[places], nothing)


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
    """Where in an epoch each row of a part is served: in which group, and at which place of the group's content."""

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


def _served(
    cube: Cube, part: LabelledRows, plans: Iterable[Iterable[_Share]], intake: Intake
) -> Iterator[_Served]:
    """Yield the groups of each epoch with their content; what a later group serves is kept until then."""
    for shares in plans:
        groups = _grouped(shares, part, cube.rows_per_block)
        destinations = _Destinations(groups, part)
        kept: _Kept = defaultdict(list)
        for number, group in enumerate(groups):
            content = intake.room(cube, destinations.lengths[number])
            _put_all(content, kept.pop(number, []))
            for block in group.blocks:
                targets = _targets(cube, block, destinations, kept, (number, content), intake)
                _read(cube, block * cube.rows_per_block, targets, intake)
            yield _Served(group, content, number == len(groups) - 1)


def _put_all(content: Content, pieces: list[tuple[Places, Content]]) -> None:
    """Put pieces that were kept to their places."""
    for slots, piece in pieces:
        _put(content, slots, piece)


def _put(content: Content, slots: Places, piece: Iterable[NDArray[Any]]) -> None:
    for room, values in zip(content, piece, strict=True):
        room[slots] = values


def _targets(
    cube: Cube,
    block: int,
    destinations: _Destinations,
    kept: _Kept,
    now: tuple[int, Content],
    intake: Intake,
) -> list[tuple[Rows, Places, Content]]:
    """Return where the rows of a block go: to the group that is served `now`, and to `kept` for later ones."""
    start, targets = block * cube.rows_per_block, []
    for number, rows, slots in destinations.within(start, start + cube.rows_per_block):
        if number == now[0]:
            targets.append((rows, slots, now[1]))
        else:
            piece = intake.room(cube, len(rows))
            targets.append((rows, np.arange(len(rows)), piece))
            kept[number].append((slots, piece))
    return targets


def _read(cube: Cube, start: int, targets: list[tuple[Rows, Places, Content]], intake: Intake) -> None:
    """Read the rows of the targets, all in the block that begins at `start`, and put each to its slot."""
    length, size = cube.rows_per_chunk, cube.rows_per_block
    stop = min(start + size, cube.rows)
    chunks = np.unique((np.concatenate([rows for rows, _, _ in targets]) - start) // length)
    most = max(1, min(_ROWS_PER_SLICE, size // 4) // length)
    for first_chunk, last_chunk in _runs(chunks, most):
        first, last = start + first_chunk * length, min(start + last_chunk * length, stop)
        found = intake.read(cube, first, last)
        for rows, slots, content in targets:
            part = slice(*np.searchsorted(rows, [first, last]))
            _put(content, slots[part], (values[rows[part] - first] for values in found))


def _runs(numbers: NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Yield the first and the last (exclusive) of runs of consecutive `numbers`, at most `most` in each.

    >>> list(_runs(np.array([0, 1, 2, 5, 7, 8]), 2))
    [(0, 2), (2, 3), (5, 6), (7, 9)]
    """
    for run in np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1):
        for first in run[::most].tolist():
            yield first, min(first + most, int(run[-1]) + 1)
