"""What the windows over a pixel say of it together, tile by tile.

A pixel is in many windows. Their votes are added in one order, that of the windows in the mosaic, so the tiles
put together hold what one pass over the whole mosaic holds, bit for bit, whatever their size and whoever
works on which. Only one tile and its surroundings are in memory.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model.windows import Region, Windows
from schemas.errors import ModelError, PlanError

Array = NDArray[Any]
Network = Callable[[Array], Array]
"""Of windows ``(batch, y, x, band)`` float32: the probabilities ``(batch, y, x, class)``."""

KINDS = ("rank", "mean")
_TOLERANCE = 0.01


class Source(Protocol):
    """Pixels that can be read in part: an array, a memory map, Zarr, a `pipeline.fields.mosaic.Mosaic`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, columns and bands."""

    def __getitem__(self, part: tuple[slice, slice]) -> Any:
        """Return the part ``(y, x, band)``."""


class RankVote:
    """Count which class each window finds the most probable.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the tile.
    classes : int
        How many classes there are.
    """

    def __init__(self, shape: tuple[int, int], classes: int) -> None:
        self._votes = np.zeros((*shape, classes), np.int32)

    def add(self, place: tuple[slice, slice], probabilities: Array, n: Array) -> None:
        """Add the votes of a window at `place`; `n` ``(y, x)`` counts them, this one included."""
        winner = probabilities.argmax(axis=-1)
        self._votes[place] += winner[..., None] == np.arange(probabilities.shape[-1])

    def maps(self, n: Array) -> dict[str, Array]:
        """Return ``rank`` ``(y, x, class)`` float32: the share of votes, NaN where there is none."""
        return {"rank": _over(self._votes, n)}


class MeanVote:
    """Keep mean and variance of the probabilities as they come (Welford 1962, Technometrics 4, 419).

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the tile.
    classes : int
        How many classes there are.
    """

    def __init__(self, shape: tuple[int, int], classes: int) -> None:
        self._mean, self._squares = (np.zeros((*shape, classes)) for _ in range(2))

    def add(self, place: tuple[slice, slice], probabilities: Array, n: Array) -> None:
        """Add the probabilities of a window at `place`; `n` ``(y, x)`` counts them, this one included."""
        mean = self._mean[place]
        change = probabilities - mean
        mean += change / n[..., None]
        self._squares[place] += change * (probabilities - mean)

    def maps(self, n: Array) -> dict[str, Array]:
        """Return ``mean`` and ``variance`` (of the population) ``(y, x, class)`` float32, NaN without votes."""
        mean = np.where(n[..., None] > 0, self._mean, np.nan).astype(np.float32)
        return {"mean": mean, "variance": _over(self._squares, n)}


def _over(total: Array, n: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return (total / n[..., None]).astype(np.float32)


_VOTES: dict[str, type[RankVote] | type[MeanVote]] = {"rank": RankVote, "mean": MeanVote}


def classify_tile(
    source: Source, network: Network, *, windows: Windows, tile: Region, classes: int, kinds: Sequence[str]
) -> dict[str, Array]:
    """Return the classes of a tile's pixels.

    A window that holds a pixel that is not finite has no vote. The network is always called with
    ``windows.per_call`` windows, those that a call at the mosaic's far edge lacks being zero, and never meets a
    pixel that is not finite.

    Parameters
    ----------
    source : Source
        The mosaic ``(y, x, band)``; only ``windows.halo(tile)`` of it is read.
    network : callable
        Of windows, their classes' probabilities; each window for itself.
    windows : Windows
        The windows over the mosaic.
    tile : Region
        Whose pixels to classify.
    classes : int
        How many classes there are.
    kinds : sequence of str
        ``rank`` (share of the windows in which a class is the most probable), ``mean`` (mean and variance of its
        probability), or both.

    Returns
    -------
    dict
        ``n`` ``(y, x)`` int32, the number of votes, and of each kind its maps ``(y, x, class)`` float32: ``rank``,
        ``mean`` and ``variance``. Where n is 0 they are NaN.

    Raises
    ------
    ModelError
        What the network gives are not probabilities of these classes.
    PlanError
        The windows are those of another mosaic, or there is no such kind.
    """
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise PlanError(f"there is no vote {unknown[0]!r}", f"choose of: {', '.join(KINDS)}")
    if tuple(source.shape[:2]) != tuple(windows.shape):
        raise PlanError(
            f"the windows were laid over {windows.shape} pixels, the mosaic has {tuple(source.shape[:2])}",
            "make the plan anew",
        )
    n = np.zeros(tile.shape, np.int32)
    votes = [_VOTES[kind](tile.shape, classes) for kind in kinds]
    for window, probabilities in _answers(source, network, windows, tile, classes=classes):
        into, part = _common(window, tile, windows.margin)
        n[into] += 1
        for vote in votes:
            vote.add(into, probabilities[part], n[into])
    return {"n": n} | {name: values for vote in votes for name, values in vote.maps(n).items()}


def _answers(
    source: Source, network: Network, windows: Windows, tile: Region, *, classes: int
) -> Iterator[tuple[Region, Array]]:
    """Yield the windows that vote in a tile, in the order of the mosaic, with their probabilities."""
    halo, side = windows.halo(tile), windows.side
    if not all(halo.shape):
        return
    pixels = np.asarray(source[halo.slices], np.float32)
    good = np.asarray(np.isfinite(pixels).all(axis=-1))
    batch = np.zeros((windows.per_call, side, side, pixels.shape[-1]), np.float32)
    for call in windows.calls(tile):
        batch[:] = 0
        voting = []
        for place, window in enumerate(call):
            inside = _within(window, halo)
            if good[inside].all():
                batch[place] = pixels[inside]
                voting.append((place, window))
        voting = [(place, window) for place, window in voting if _touches(window, tile, windows.margin)]
        if voting:
            places = [place for place, _ in voting]
            answers = _checked(np.asarray(network(batch)), (*batch.shape[:3], classes), places)
            yield from ((window, answers[place]) for place, window in voting)


def _checked(answers: Array, shape: tuple[int, ...], places: list[int]) -> Array:
    if answers.shape != shape:
        raise ModelError(
            f"expected probabilities {shape} (window, y, x, class) of the network, found {answers.shape}",
            "use a network of these windows and classes",
        )
    total = answers[places].sum(axis=-1)
    if not (np.abs(total - 1) <= _TOLERANCE).all() or (answers[places] < 0).any():
        raise ModelError(
            f"expected probabilities that sum up to 1 of the network, found sums from {total.min():g} to "
            f"{total.max():g}",
            "apply softmax to its logits; if they are not finite, train it again",
        )
    return answers


def _within(region: Region, other: Region) -> tuple[slice, slice]:
    """Return where `region` lies in an array that holds `other`."""
    y, x = region.y0 - other.y0, region.x0 - other.x0
    return slice(y, y + region.shape[0]), slice(x, x + region.shape[1])


def _inner(window: Region, margin: int) -> Region:
    return Region(window.y0 + margin, window.y1 - margin, window.x0 + margin, window.x1 - margin)


def _touches(window: Region, tile: Region, margin: int) -> bool:
    inner = _inner(window, margin)
    return inner.y0 < tile.y1 and tile.y0 < inner.y1 and inner.x0 < tile.x1 and tile.x0 < inner.x1


def _common(window: Region, tile: Region, margin: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where a window's inner part and a tile meet: as an index into the tile, and into the window."""
    inner = _inner(window, margin)
    both = Region(
        max(inner.y0, tile.y0), min(inner.y1, tile.y1), max(inner.x0, tile.x0), min(inner.x1, tile.x1)
    )
    return _within(both, tile), _within(both, window)
