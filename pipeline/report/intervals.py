"""Which objects are measured together: intervals and classes of a column."""

import numpy as np
from numpy.typing import NDArray

from model.tables import Subset, by_interval, by_magnitude
from pipeline.report.cubes import is_magnitude

INTERVALS = 8
"""Intervals of the values, about."""
MANY = 10
"""Fewest galaxies of an interval that are measured."""
CLASSES = 16
"""Up to so many different values are classes of their own; more are cut into intervals (decided here)."""
STEPS = (0.005, 0.01, 0.02, 0.025, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0)
_DIGITS = 3
"""Significant digits of the ends of intervals that hold equally many."""
_FAINTEST_MAG = 40.0


def interval_edges(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return round edges that cut the bulk of `values` into about eight intervals, the tails joined.

    >>> interval_edges(np.linspace(0.01, 0.39, 100)).tolist()
    [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4]
    """
    low, high = np.percentile(values, [1, 99])
    step = next((s for s in STEPS if s >= (high - low) / INTERVALS), STEPS[-1])
    first, last = np.floor(low / step), max(np.floor(low / step) + 1, np.ceil(high / step))
    edges = np.round(np.arange(first, last + 1) * step, 6)
    edges[0] = min(edges[0], np.floor(values.min() / step) * step)
    edges[-1] = max(edges[-1], (np.floor(values.max() / step) + 1) * step)
    edges = np.round(edges, 6)
    if edges[-1] <= values.max():  # 0.7 is a little less than 7 * 0.1
        edges[-1] = np.round(edges[-1] + step, 6)
    return np.asarray(edges, np.float64)


def known_values(name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a column's values, NaN where they are not finite or, of a magnitude, where none was measured."""
    known = np.isfinite(values)
    if is_magnitude(name):  # surveys write -9999 where nothing was measured
        known &= (values > 0) & (values < _FAINTEST_MAG)
    return np.where(known, values, np.nan)


def are_classes(values: NDArray[np.floating]) -> bool:
    """Whether finite values are few different ones, each there more than once on average.

    >>> are_classes(np.array([0.0, 1.0, 1.0, 0.0])), are_classes(np.array([14.2, 16.1, 15.8]))
    (True, False)
    >>> are_classes(np.repeat(np.arange(10.0, 140.0, 10.0), 2)), are_classes(np.repeat(np.arange(17.0), 2))
    (True, False)
    """
    distinct = len(np.unique(values))
    return distinct <= CLASSES and 2 * distinct <= len(values)


def subsets_of(name: str, values: NDArray[np.float64]) -> list[Subset]:
    """Return what objects are told apart by a column: its classes, round intervals of a magnitude, or intervals.

    Few different values are classes. Intervals of what is no magnitude hold about equally many objects, their ends
    rounded to three digits. Objects whose value is not known are a subset of their own.

    >>> [one.name for one in subsets_of("snr", np.array([20.0, 50.0, 50.0, 20.0, np.nan]))]
    ['snr = 20', 'snr = 50', 'snr not known']
    """
    values = known_values(name, values)
    known = values[np.isfinite(values)]
    distinct = np.unique(known)
    if are_classes(known):
        found = [Subset(name, f"{name} = {value:g}", values == value) for value in distinct]
        rest = np.isnan(values)
        return [*found, Subset(name, f"{name} not known", rest)] if rest.any() else found
    if is_magnitude(name):
        _, *inner, last = interval_edges(known).tolist()
        return by_magnitude(values, inner or [last], name=name)
    cuts = np.quantile(known, np.arange(1, INTERVALS) / INTERVALS)
    rounded = sorted({float(f"{cut:.{_DIGITS}g}") for cut in cuts})
    found = by_interval(values, rounded, name=name)
    return [Subset(one.by, one.name, one.inside) for one in found]  # a definition's intervals are those of z
