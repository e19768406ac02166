"""How a mosaic is covered with windows, and cut into tiles that can be worked on apart.

A window's answer counts in its inner part only. The windows of a mosaic, and which of them are computed in one call
of the network and in which order, are laid down here for the whole mosaic; a tile takes from that what it
needs. So a window is always in the same place of the same batch, whoever computes it, and what a tile holds in
the end does not depend on the other tiles.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from schemas.errors import PlanError


@dataclass(frozen=True, order=True)
class Region:
    """A rectangle of pixels, ``y0 <= y < y1`` and ``x0 <= x < x1``."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """The region as an index of an array ``(y, x, ...)``."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y1 - self.y0, self.x1 - self.x0


@dataclass(frozen=True)
class Windows:
    """The windows over a mosaic; window, margin and stride are by default Morpheus' (Hausen & Robertson 2020).

    Windows start every `stride` pixels, and one more ends at the far edge where the stride does not fit. A pixel
    nearer to the mosaic's edge than `margin` is in no window's inner part; an inner one is, at stride 1, in
    ``(side - 2 * margin)**2`` of them.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns of the mosaic.
    side : int
        Rows and columns of a window.
    margin : int
        Pixels at each edge of a window that do not count.
    stride : int
        Pixels from one window to the next.
    batch : int
        Most windows of a call of the network.

    Raises
    ------
    PlanError
        The mosaic is smaller than a window, a window has no inner part, or the stride leaves gaps.
    """

    shape: tuple[int, int]
    side: int = 40
    margin: int = 5
    stride: int = 1
    batch: int = 64

    def __post_init__(self) -> None:
        if min(self.shape) < self.side:
            raise PlanError(
                f"a window has {self.side}x{self.side} pixels, the mosaic only {self.shape[0]}x{self.shape[1]}",
                "take a larger mosaic, or a network of smaller windows",
            )
        if self.margin < 0 or self.inner < 1:
            raise PlanError(
                f"a window of {self.side} pixels with a margin of {self.margin} has no inner part",
                f"set the margin to at least 0 and less than {self.side / 2:g}",
            )
        if not 1 <= self.stride <= self.inner or self.batch < 1:
            raise PlanError(
                f"expected a stride from 1 to {self.inner}, the inner part of a window, and a batch of 1 or "
                f"more, found a stride of {self.stride} and a batch of {self.batch}",
                "a larger stride would leave pixels between the windows without a class",
            )

    @property
    def inner(self) -> int:
        """Rows and columns of the part of a window that counts."""
        return self.side - 2 * self.margin

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Where windows begin along y, ascending."""
        return _starts(self.shape[0], self.side, self.stride)

    @cached_property
    def columns(self) -> NDArray[np.int64]:
        """Where windows begin along x, ascending."""
        return _starts(self.shape[1], self.side, self.stride)

    @cached_property
    def call_shape(self) -> tuple[int, int]:
        """Rows and columns of windows of each call: nearly square, so that calls reach little beyond a tile."""
        down = _even_part(len(self.rows), isqrt(self.batch))
        return down, _even_part(len(self.columns), self.batch // down)

    @property
    def per_call(self) -> int:
        """Windows of each call."""
        return self.call_shape[0] * self.call_shape[1]

    def tiles(self, side: int) -> list[Region]:
        """Cut the mosaic into tiles of `side` pixels, those at the far edges smaller.

        Raises
        ------
        PlanError
            If `side` is not 1 or more.
        """
        if side < 1:
            raise PlanError(f"expected tiles of 1 pixel or more, found {side}", "choose larger tiles")
        height, width = self.shape
        return [
            Region(y, min(y + side, height), x, min(x + side, width))
            for y in range(0, height, side)
            for x in range(0, width, side)
        ]

    @property
    def whole(self) -> Region:
        """The mosaic as one tile."""
        return Region(0, self.shape[0], 0, self.shape[1])

    def calls(self, tile: Region) -> Iterator[list[Region]]:
        """Yield the windows of each call of the network that a tile needs, in the order of the mosaic.

        A call has all windows of the mosaic's call of that place, also those that do not touch the tile.
        """
        down, across = self._calls(tile)
        for row, column in product(range(*down), range(*across)):
            rows, columns = (
                _part(self.rows, row, self.call_shape[0]),
                _part(self.columns, column, self.call_shape[1]),
            )
            yield [
                Region(y, y + self.side, x, x + self.side)
                for y, x in product(rows.tolist(), columns.tolist())
            ]

    def computed(self, tile: Region) -> int:
        """Return how many windows a tile makes the network compute."""
        down, across = self._calls(tile)
        return len(range(*down)) * len(range(*across)) * self.per_call

    def halo(self, tile: Region) -> Region:
        """Return what must be read of the mosaic for a tile; nothing for a tile that no window counts in."""
        down, across = self._calls(tile)
        if down[0] == down[1] or across[0] == across[1]:
            return Region(tile.y0, tile.y0, tile.x0, tile.x0)
        first, last = (_part(self.rows, place, self.call_shape[0]) for place in (down[0], down[1] - 1))
        left, right = (_part(self.columns, place, self.call_shape[1]) for place in (across[0], across[1] - 1))
        return Region(int(first[0]), int(last[-1]) + self.side, int(left[0]), int(right[-1]) + self.side)

    def _touching(self, starts: NDArray[np.int64], low: int, high: int) -> tuple[int, int]:
        """Return the first window, and the one after the last, whose inner part reaches into low to high."""
        first = np.searchsorted(starts, low - self.side + self.margin, side="right")
        last = np.searchsorted(starts, high - self.margin, side="left")
        return int(first), max(int(first), int(last))

    def _calls(self, tile: Region) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return which calls a tile needs, along y and along x: the first, and the one after the last."""
        rows = self._touching(self.rows, tile.y0, tile.y1)
        columns = self._touching(self.columns, tile.x0, tile.x1)
        if rows[0] == rows[1] or columns[0] == columns[1]:
            return (0, 0), (0, 0)
        down, across = self.call_shape
        return (rows[0] // down, -(-rows[1] // down)), (columns[0] // across, -(-columns[1] // across))


def _starts(size: int, side: int, stride: int) -> NDArray[np.int64]:
    return np.unique(np.append(np.arange(0, size - side + 1, stride), size - side))


def _even_part(count: int, most: int) -> int:
    """Return the size of the fewest equal parts that `count` can be cut into, the last one perhaps smaller."""
    return -(-count // -(-count // most))


def _part(starts: NDArray[np.int64], number: int, size: int) -> NDArray[np.int64]:
    return starts[number * size : (number + 1) * size]
