"""How good predicted numbers are that are no redshifts: correlations, errors, and the relation by bins of the label.

Differences are prediction - label, in the label's own unit. NumPy only.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ModelError

Array = NDArray[Any]

TEXT = (
    "Pearson r and Spearman ρ of label and prediction; MAE, RMSE and bias (mean) of prediction - label; "
    "R² = 1 - Σ(prediction - label)² / Σ(label - mean label)²"
)
BINS = 10
"""Bins of the label's relation, at most (decided here)."""
LEAST = 10
"""Fewest objects a bin is made for: of fewer, the 16th and 84th percentiles say nothing (decided here)."""
_PERCENTILES = (16.0, 50.0, 84.0)


@dataclass(frozen=True)
class Bin:
    """The predictions of the ``n`` objects whose label is in [``low``, ``high``], the upper end in the last bin only.

    ``label`` is their median label; ``median``, ``p16`` and ``p84`` are the median of their predictions and the ends
    of the interval that holds 68 % of them.
    """

    low: float
    high: float
    n: int
    label: float
    median: float
    p16: float
    p84: float


def finite_pairs(labels: Array, predictions: Array) -> tuple[Array, Array]:
    """Return labels and predictions, ``(n,)`` float64, of those objects that have both.

    Raises
    ------
    ModelError
        The shapes differ, or no object has both.
    """
    true, pred = np.asarray(labels, np.float64), np.asarray(predictions, np.float64)
    if true.shape != pred.shape:
        raise ModelError(
            f"expected as many predictions as labels, found {pred.shape} and {true.shape}",
            "pass two arrays of the same shape",
        )
    known = np.isfinite(true) & np.isfinite(pred)
    if not known.any():
        raise ModelError(
            f"none of {true.size} pairs of label and prediction is finite",
            "measure on labelled objects that were predicted",
        )
    return true[known], pred[known]


def regression_metrics(labels: Array, predictions: Array) -> dict[str, Any]:
    """Measure predictions of a number, as JSON-able values.

    Parameters
    ----------
    labels, predictions : ndarray
        Of shape ``(n,)``; objects that lack one of the two are left out.

    Returns
    -------
    dict
        ``n``, ``pearson``, ``spearman``, ``mae``, ``rmse``, ``r2``, ``bias``, and ``binned``, a list of `Bin` as dicts.
        What cannot be said, as a correlation where all labels are equal, is None.

    Raises
    ------
    ModelError
        The shapes differ, or no object has both.

    >>> found = regression_metrics(np.array([1.0, 2.0, 4.0]), np.array([2.0, 3.0, 5.0]))
    >>> found["bias"], found["spearman"], round(found["r2"], 4)
    (1.0, 1.0, 0.3571)
    """
    true, pred = finite_pairs(labels, predictions)
    difference = pred - true
    squares = float(np.sum((true - true.mean()) ** 2))
    return {
        "n": int(true.size),
        "pearson": pearson(true, pred),
        "spearman": pearson(ranks(true), ranks(pred)),
        "mae": float(np.mean(np.abs(difference))),
        "rmse": float(np.sqrt(np.mean(difference**2))),
        "r2": float(1 - np.sum(difference**2) / squares) if squares > 0 else None,
        "bias": float(difference.mean()),
        "binned": [asdict(one) for one in binned_relation(true, pred)],
    }


def pearson(x: Array, y: Array) -> float | None:
    """Return Pearson's product-moment correlation (Pearson 1895); None where x or y does not vary.

    >>> round(pearson(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 1.0])), 4), pearson(np.ones(3), np.arange(3))
    (0.866, None)
    """
    dx, dy = x - x.mean(), y - y.mean()
    scale = float(np.sqrt(np.sum(dx**2) * np.sum(dy**2)))
    return float(np.clip(np.sum(dx * dy) / scale, -1, 1)) if scale > 0 else None


def ranks(values: Array) -> NDArray[np.float64]:
    """Return ranks from 1 on; equal values share the mean of theirs, as Spearman's ρ wants it (Spearman 1904).

    >>> ranks(np.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place], np.float64)


def binned_relation(labels: Array, predictions: Array, *, bins: int = BINS, least: int = LEAST) -> list[Bin]:
    """Return the median and the 68 % interval of predictions in bins of the label.

    The bins hold about equally many objects, and about `least` or more; equal labels are never in two bins.

    Parameters
    ----------
    labels, predictions : ndarray
        Finite, of shape ``(n,)``, n at least 1.
    bins : int
        Bins, at most.
    least : int
        Fewest objects of a bin, about: so many fewer bins are made.
    """
    wanted = max(1, min(bins, len(labels) // least))
    edges = np.unique(np.quantile(labels, np.linspace(0, 1, wanted + 1), method="lower"))
    place = np.searchsorted(edges[1:-1], labels, side="right")
    found = []
    for number in range(max(1, len(edges) - 1)):
        inside = place == number
        low, middle, high = np.percentile(predictions[inside], _PERCENTILES)
        bounds = float(edges[number]), float(edges[min(number + 1, len(edges) - 1)])
        label = float(np.median(labels[inside]))
        found.append(Bin(*bounds, int(inside.sum()), label, float(middle), float(low), float(high)))
    return found
