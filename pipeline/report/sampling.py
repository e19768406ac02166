"""Draw bounded random samples from streams of rows, the same ones for the same seed."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
Columns = dict[str, Array]


class Reservoir:
    """A uniform sample of at most `capacity` rows of a stream.

    Each row is given a random number and those with the smallest numbers are kept (a bottom-k sample), so
    memory is bounded by `capacity` and one batch whatever the length of the stream.

    Parameters
    ----------
    capacity : int
        Most rows that are kept.
    seed : int
        The same seed and stream give the same sample.
    """

    def __init__(self, capacity: int, *, seed: int) -> None:
        self.capacity = capacity
        self.seen = 0
        self._generator = np.random.default_rng(seed)
        self._priority: NDArray[np.float64] = np.empty(0)
        self._columns: Columns = {}

    def add(self, batch: Mapping[str, Array]) -> None:
        """Offer rows: arrays of one length, the same names each time."""
        rows = len(next(iter(batch.values())))
        if not rows:
            return
        self.seen += rows
        priority = np.concatenate([self._priority, self._generator.random(rows)])
        joined = {
            name: np.concatenate([self._columns[name], values]) if self._columns else np.asarray(values)
            for name, values in batch.items()
        }
        if len(priority) > self.capacity:
            keep = np.sort(np.argpartition(priority, self.capacity - 1)[: self.capacity])
            priority, joined = priority[keep], {name: values[keep] for name, values in joined.items()}
        self._priority, self._columns = priority, joined

    @property
    def columns(self) -> Columns:
        """The rows kept, in the order of the stream; empty if nothing was offered."""
        return self._columns
