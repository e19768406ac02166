"""Binned probability densities: their estimates, and how well they are calibrated. NumPy only.

A PDF is a row of probabilities of bins, ``(n, bins)``, with the edges of the bins, ``(bins + 1,)``; the density is
constant in a bin.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_EQUAL = 1e-6
"""Densities that differ by less, relative to them, are equal: the widths of equal bins differ in their last bits."""


def normalised(pdf: Array) -> Array:
    """Return PDFs whose probabilities sum to 1; a row that has nothing to sum, or a NaN, becomes NaN.

    >>> normalised(np.array([[1.0, 3.0], [0.0, 0.0]])).tolist()
    [[0.25, 0.75], [nan, nan]]
    """
    found = np.asarray(pdf, np.float64)
    total = found.sum(1, keepdims=True)
    good = np.isfinite(total) & (total > 0) & (found.min(1, keepdims=True, initial=np.inf) >= 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(good, found / total, np.nan)


def cumulative(pdf: Array) -> Array:
    """Return the cumulative probability at the edges of the bins, ``(n, bins + 1)``."""
    total = np.cumsum(np.asarray(pdf, np.float64), axis=1)
    return np.concatenate([np.zeros((len(total), 1)), total], axis=1)


def mode_of(pdf: Array, edges: Array) -> Array:
    """Return the middle of the bin with the highest density, the lowest of equal ones; NaN where a PDF has a NaN.

    It is as coarse as the bins (Dey et al. 2022, their code, an option beside the mean).

    >>> mode_of(np.array([[0.2, 0.5, 0.3]]), np.array([0.0, 0.1, 0.2, 0.3])).round(3).tolist()
    [0.15]
    """
    density = np.asarray(pdf, np.float64) / np.diff(edges)
    middle = (edges[1:] + edges[:-1]) / 2
    known = np.isfinite(density).all(1)
    highest = density >= density.max(1, keepdims=True, initial=0) * (1 - _EQUAL)
    return np.where(known, middle[np.argmax(highest, axis=1)], np.nan)


def pit(pdf: Array, edges: Array, z_true: Array) -> Array:
    """Return the probability integral transform: each PDF's cumulative value at the true redshift.

    Parameters
    ----------
    pdf : ndarray
        Probabilities of the bins, ``(n, bins)``; the density is constant in a bin.
    edges : ndarray
        Edges of the bins, ``(bins + 1,)``.
    z_true : ndarray
        True redshifts, ``(n,)``.

    >>> pit(np.array([[0.5, 0.5]]), np.array([0.0, 0.1, 0.2]), np.array([0.15])).tolist()
    [0.75]
    """
    total = cumulative(pdf)
    position = bin_of(edges, z_true)
    share = np.clip((z_true - edges[position]) / np.diff(edges)[position], 0, 1)
    rows = np.arange(len(pdf))
    low, high = total[rows, position], total[rows, position + 1]
    return np.asarray(low + share * (high - low))


def crps(pdf: Array, edges: Array, z_true: Array) -> Array:
    """Return the continuous ranked probability score of each PDF, in z: lower is better.

    The binned form of Dey et al. 2022: the sum over bins of (C_k - H_k)² times the bin's width, where C is
    the cumulative PDF and H the cumulative one-hot label. A label outside the bins counts as the nearest bin.
    """
    step = np.arange(pdf.shape[1]) >= bin_of(edges, z_true)[:, None]
    return np.asarray(((cumulative(pdf)[:, 1:] - step) ** 2 * np.diff(edges)).sum(1))


def cde_loss(pdf: Array, edges: Array, z_true: Array) -> Array:
    """Return the conditional density estimation loss of each PDF, ∫p² dz - 2 p(z_true): lower is better.

    Izbicki and Lee 2017, equation 4, up to a constant of the data.
    """
    density = np.asarray(pdf, np.float64) / np.diff(edges)
    inside = (z_true >= edges[0]) & (z_true <= edges[-1])
    at_true = np.where(inside, density[np.arange(len(pdf)), bin_of(edges, z_true)], 0.0)
    return np.asarray((density**2 * np.diff(edges)).sum(1) - 2 * at_true)


def coverage(pit_values: Array, levels: Array) -> Array:
    """Return the share of true redshifts inside the central interval of each probability in `levels`.

    >>> coverage(np.linspace(0.005, 0.995, 100), np.array([0.5])).tolist()
    [0.5]
    """
    distance = np.abs(np.asarray(pit_values) - 0.5) * 2
    return np.asarray([(distance <= level).mean() for level in levels])


def pdf_scores(pdf: Array, edges: Array, z_true: Array) -> Array:
    """Return `pit`, `crps` and `cde_loss` of each PDF, ``(n, 3)``: all that `pdf_metrics` needs of it."""
    return np.stack([score(pdf, edges, z_true) for score in (pit, crps, cde_loss)], axis=1)


def pdf_metrics(scores: Array) -> dict[str, Any]:
    """Return how well PDFs are calibrated, from their `pdf_scores`, as JSON-able numbers.

    ``pit_ks`` is the largest distance of the PIT's distribution from uniform (Kolmogorov and Smirnov), ``pit_cvm``
    the sum of squared distances (Cramér and von Mises: a sixth is expected of uniform ones, whatever their number);
    ``coverage_68`` and ``coverage_95`` should be 0.68 and 0.95.
    """
    values, n = np.sort(scores[:, 0]), len(scores)
    above, below = np.arange(1, n + 1) / n - values, values - np.arange(n) / n
    inside = coverage(values, np.array([0.68, 0.95]))
    return {
        "crps": float(scores[:, 1].mean()),
        "cde_loss": float(scores[:, 2].mean()),
        "pit_ks": float(max(above.max(), below.max())),
        "pit_cvm": float(1 / (12 * n) + np.sum(((2 * np.arange(1, n + 1) - 1) / (2 * n) - values) ** 2)),
        "pit_histogram": np.histogram(values, bins=20, range=(0, 1))[0].tolist(),
        "coverage_68": float(inside[0]),
        "coverage_95": float(inside[1]),
    }


def bin_of(edges: Array, z: Array) -> Array:
    """Return the index of the bin each `z` lies in, the nearest bin for those outside."""
    return np.clip(np.searchsorted(edges, z, side="right") - 1, 0, len(edges) - 2)
