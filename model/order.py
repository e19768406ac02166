"""In which order rows are learnt from, and by whom: a function of the seed and the epoch alone.

Neither the number of members nor how often a training was killed has a say. Blocks come in a shuffled order;
what is served is, shuffled together, the second half of one block's rows and the first half of the next one's.
So a batch mixes two blocks, every row comes exactly once an epoch, every block is read once, and less than
three blocks in memory are enough for a cube of any size.
"""

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
_ORDER, _SYMMETRY, _EVALUATION, _NOISE = 1, 2, 4, 8


def epoch_batches(
    rows: Rows, *, batch: int, rows_per_block: int, seed: int, epoch: int, skip: int = 0
) -> Iterator[tuple[int, Rows]]:
    """Yield the number, from 0, and the rows of each global batch of an epoch; the last may be smaller.

    Parameters
    ----------
    rows : ndarray of int64
        The cube rows to learn from, ascending.
    batch : int
        Rows of a global batch.
    rows_per_block : int
        Length of a block.
    seed, epoch : int
        Decide the order; the first epoch is 0.
    skip : int
        Batches at the start that are left out.
    """
    order = epoch_order(rows, rows_per_block=rows_per_block, seed=seed, epoch=epoch)
    for index in range(skip, batches_per_epoch(len(order), batch)):
        yield index, order[index * batch : (index + 1) * batch]


def epoch_order(rows: Rows, *, rows_per_block: int, seed: int, epoch: int) -> Rows:
    """Return `rows`, ascending, in the order in which an epoch learns from them."""
    if not len(rows):
        return rows
    starts = np.unique(rows // rows_per_block, return_index=True)[1]
    blocks = np.split(rows, starts[1:])
    random = np.random.default_rng([_ORDER, seed, epoch])
    served, kept = [], rows[:0]
    turns = random.permutation(len(blocks))
    for place, block in enumerate(turns):
        mixed = random.permutation(blocks[block])
        cut = len(mixed) if place == len(turns) - 1 else len(mixed) // 2
        served.append(random.permutation(np.concatenate([kept, mixed[:cut]])))
        kept = mixed[cut:]
    return np.concatenate(served)


def batches_per_epoch(rows: int, batch: int) -> int:
    """Return the number of batches, a partial last one included."""
    return -(-rows // batch)


def pieces_of(size: int, *, pieces: int, rank: int, members: int) -> list[NDArray[np.int64]]:
    """Return which places of a global batch of `size` rows the member `rank` takes of each piece it is learnt from in.

    Rows go to the pieces in turn, so that a piece is the same for any number of members, which cut it evenly. Of a
    piece with fewer rows than members each takes all: none is ever without a row, which not every operation can
    bear (convolutions of TensorFlow on some processors). What they find is then counted once for each member.

    >>> [places.tolist() for places in pieces_of(7, pieces=2, rank=1, members=2)]
    [[4, 6], [5]]
    >>> [places.tolist() for places in pieces_of(4, pieces=3, rank=1, members=2)]
    [[3], [1], [2]]
    """
    turns = [np.arange(number, size, pieces) for number in range(min(pieces, size))]
    return [np.array_split(turn, members)[rank] if len(turn) >= members else turn for turn in turns]


def slices_of(size: int, *, pieces: int, rank: int = 0, members: int = 1) -> list[tuple[slice, int]]:
    """Return of each piece the rows of a member's share that belong to it, and how many rows it has of all members.

    >>> slices_of(7, pieces=2, rank=1, members=2)
    [(slice(0, 2, None), 4), (slice(2, 3, None), 3)]
    """
    lengths = [len(own) for own in pieces_of(size, pieces=pieces, rank=rank, members=members)]
    ends = list(accumulate(lengths))
    among = [len(range(number, size, len(lengths))) for number in range(len(lengths))]
    return [
        (slice(end - length, end), all_rows)
        for end, length, all_rows in zip(ends, lengths, among, strict=True)
    ]


def share(rows: Rows, *, rows_per_block: int, rank: int, members: int, pieces: int = 1) -> NDArray[np.int64]:
    """Return which of the `rows` of a global batch are those of the member `rank`: indices into `rows`, by piece.

    The rows are sorted by their place within their blocks and cut as `pieces_of` says, so that a member finds its rows
    in the same part of every block, and reads little of the rest.

    >>> share(np.array([9, 2, 17, 8]), rows_per_block=8, rank=0, members=2).tolist()
    [3, 0]
    """
    order = np.lexsort((rows, rows % rows_per_block))
    own = pieces_of(len(rows), pieces=pieces, rank=rank, members=members)
    found: NDArray[np.int64] = order[np.concatenate([order[:0], *own])]
    return found


def symmetries(rows: Rows, *, seed: int, epoch: int) -> NDArray[Any]:
    """Return for each row which of the 8 symmetries of the square it is seen in, 0 to 7.

    >>> whole = symmetries(np.arange(8), seed=137, epoch=0)
    >>> bool((whole[4:] == symmetries(np.arange(4, 8), seed=137, epoch=0)).all())
    True
    """
    return (_hash(rows, _SYMMETRY, seed, epoch) >> np.uint64(61)).astype(np.uint8)


def draws(rows: Rows, *, seed: int, epoch: int) -> NDArray[np.int32]:
    """Return for each row 32 random bits, from which all is drawn that differs from row to row, as dropout does.

    They are other bits of the hash than those of `symmetries`.
    """
    return _hash(rows, _SYMMETRY, seed, epoch).astype(np.uint32).view(np.int32)


def evaluation_draws(rows: Rows) -> NDArray[np.int32]:
    """Return for each row 32 random bits, from which layers that draw in evaluation too take what they draw.

    They are a function of the row alone: every network, epoch and run is measured on the same draws.

    >>> whole = evaluation_draws(np.arange(8))
    >>> bool((whole[4:] == evaluation_draws(np.arange(4, 8))).all())
    True
    """
    return _hash(rows, _EVALUATION).astype(np.uint32).view(np.int32)


def normals(rows: Rows, count: int, *, seed: int, epoch: int) -> NDArray[np.float64]:
    """Return `count` normal deviates for each row ``(n, count)``, by the transform of Box and Muller (1958).

    >>> found = normals(np.arange(40000), 2, seed=137, epoch=3)
    >>> found.mean().round(2), found.std().round(2), abs(np.corrcoef(found.T)[0, 1]) < 0.02
    (np.float64(0.0), np.float64(1.0), np.True_)
    """
    words = [_hash(rows, _NOISE, seed, epoch, number) for number in range(2 * count)]
    uniform = (np.stack(words, axis=1) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    radius = np.sqrt(-2 * np.log1p(-uniform[:, :count]))
    return np.asarray(radius * np.cos(2 * np.pi * uniform[:, count:]))


def _hash(rows: Rows, *words: int) -> NDArray[np.uint64]:
    """Return 64 bits of each row, the same whoever asks, for which rows, and when.

    The hash SplitMix64 (Steele, Lea and Flood 2014) of some words (a seed, an epoch) and the row.
    """
    key = np.random.SeedSequence(list(words)).generate_state(1, np.uint64)[0]
    with np.errstate(over="ignore"):
        value = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + key
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            value = (value ^ (value >> np.uint64(shift))) * np.uint64(factor)
        return value ^ (value >> np.uint64(31))


def apply_symmetry(images: NDArray[Any], code: int) -> NDArray[Any]:
    """Return a view of `images` ``(n, y, x, band)`` turned or mirrored.

    Bit 0 of `code` mirrors y, bit 1 mirrors x, bit 2 exchanges the two before.
    """
    turned = images.transpose(0, 2, 1, 3) if code & 4 else images
    return turned[:, :: -1 if code & 1 else 1, :: -1 if code & 2 else 1]


def apply_symmetries(images: NDArray[Any], which: NDArray[Any]) -> NDArray[Any]:
    """Return `images` ``(n, y, x, band)``, each turned or mirrored as `which` (0 to 7) says."""
    turned = np.empty_like(images)
    for code in range(8):
        chosen = which == code
        turned[chosen] = apply_symmetry(images[chosen], code)
    return turned
