"""In which order rows are learnt from: a function of the seed and the epoch alone.

Neither the number of processes nor how often a training was killed has a say. Blocks come in a shuffled
order; each step serves, shuffled together, the second half of one block's rows and the first half of the
next one's. So a batch mixes two blocks, every row comes exactly once an epoch, every block is read once, and
less than three blocks in memory are enough for a cube of any size.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
_ORDER, _SYMMETRY = 1, 2


@dataclass(frozen=True)
class Stretch:
    """Rows that are served once the block ``block`` has been read; they lie in it or in the one before it."""

    block: int
    rows: Rows


def epoch_stretches(rows: Rows, *, rows_per_block: int, seed: int, epoch: int) -> Iterator[Stretch]:
    """Yield one epoch's rows, block after block.

    Parameters
    ----------
    rows : ndarray of int64
        The cube rows to learn from, ascending.
    rows_per_block : int
        Length of a block; blocks without a row of `rows` are not read.
    seed, epoch : int
        Decide the order; the first epoch is 0.
    """
    blocks, starts = np.unique(rows // rows_per_block, return_index=True)
    parts = np.split(rows, starts[1:])
    random = np.random.default_rng([_ORDER, seed, epoch])
    kept: Rows = rows[:0]
    order = random.permutation(len(blocks))
    for place, index in enumerate(order):
        part = random.permutation(parts[index])
        cut = len(part) if place == len(order) - 1 else len(part) // 2
        yield Stretch(int(blocks[index]), random.permutation(np.concatenate([kept, part[:cut]])))
        kept = part[cut:]


def batches_per_epoch(rows: int, batch: int) -> int:
    """Return the number of batches, a partial last one included."""
    return -(-rows // batch)


def symmetries(rows: Rows, *, seed: int, epoch: int) -> NDArray[Any]:
    """Return for each row which of the 8 symmetries of the square it is seen in, 0 to 7.

    The hash SplitMix64 (Steele, Lea and Flood 2014) of seed, epoch and row, so that it does not matter who
    asks for which rows, or when.

    >>> whole = symmetries(np.arange(8), seed=137, epoch=0)
    >>> bool((whole[4:] == symmetries(np.arange(4, 8), seed=137, epoch=0)).all())
    True
    """
    key = np.random.SeedSequence([_SYMMETRY, seed, epoch]).generate_state(1, np.uint64)[0]
    with np.errstate(over="ignore"):
        value = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + key
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            value = (value ^ (value >> np.uint64(shift))) * np.uint64(factor)
        value ^= value >> np.uint64(31)
    return (value >> np.uint64(61)).astype(np.uint8)


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
