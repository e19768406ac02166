"""How good redshifts are, in the definitions of those who publish them.

With Δ = (z_phot - z_spec) / (1 + z_spec). The papers differ in the constant of the normalised median absolute
deviation, in what is centred, in what is called bias and in who counts as an outlier, so numbers can be
compared only within one definition. Each result carries the definition's text, its threshold and the number
of objects.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ModelError

Array = NDArray[Any]


@dataclass(frozen=True)
class Definition:
    """One author's way to measure.

    ``centring`` is what is subtracted before the absolute value: the "median" of Δ, the "raw median" of
    z_phot - z_spec before the division by 1 + z_spec, or "none". ``bias`` is the "mean" or "median" of Δ.
    An outlier has an absolute Δ above ``outlier``.
    """

    text: str
    constant: float
    centring: str
    bias: str
    outlier: float


DEFINITIONS = {
    "skymill": Definition(
        "1.4826 median|Δ - median Δ|; bias mean Δ; outlier |Δ| > 0.05", 1.4826, "median", "mean", 0.05
    ),
    "pasquet2019": Definition(
        "1.48 median|Δ - median Δ|; bias mean Δ; outlier |Δ| > 0.05", 1.48, "median", "mean", 0.05
    ),
    "dey2022": Definition(
        "1.4826 median|Δ - median Δ|; bias mean Δ; outlier |Δ| > 0.05", 1.4826, "median", "mean", 0.05
    ),
    "wei2025": Definition(
        "1.48 median|Δ - median Δ|; bias median Δ; outlier |Δ| > 0.15", 1.48, "median", "median", 0.15
    ),
    "zhou_csst": Definition(
        "1.48 median(|δ - median δ| / (1 + z_spec)), δ = z_phot - z_spec; bias mean Δ; outlier |Δ| > 0.15",
        1.48,
        "raw median",
        "mean",
        0.15,
    ),
    "zhou2023": Definition("1.48 median|Δ|; bias mean Δ; outlier |Δ| > 0.10", 1.48, "none", "mean", 0.10),
}
"""Pasquet et al. 2019, Dey et al. 2022 (their threshold is configurable; the sample's usual 0.05 is taken),
Wei et al. 2025, Zhou X. et al. (CSST, DESI), Zhou R. et al. 2023. The default takes Dey's constant, and the
0.05 used on the SDSS main galaxy sample."""


@dataclass(frozen=True)
class Metrics:
    """Quality of point estimates, with the definition they were measured by.

    ``sigma_nmad`` and ``bias`` are in Δ; ``outlier_fraction`` is in [0, 1]; ``rmse`` and ``mae`` are of
    z_phot - z_spec.
    """

    definition: str
    text: str
    n: int
    sigma_nmad: float
    bias: float
    outlier_fraction: float
    outlier_threshold: float
    rmse: float
    mae: float
    r2: float

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as JSON-able values."""
        return asdict(self)


def photoz_metrics(z_true: Array, z_pred: Array, *, definition: str = "skymill") -> Metrics:
    """Measure point estimates.

    Parameters
    ----------
    z_true, z_pred : ndarray
        Spectroscopic and photometric redshifts of shape ``(n,)``; pairs with a NaN are left out.
    definition : str
        A key of `DEFINITIONS`.

    Raises
    ------
    ModelError
        The definition is not known, the shapes differ, or no pair is finite.

    >>> photoz_metrics(np.array([0.0, 1.0]), np.array([0.1, 1.2])).outlier_fraction
    1.0
    """
    if definition not in DEFINITIONS:
        raise ModelError(
            f"there is no definition of metrics {definition!r}",
            f"set target.definition to one of: {', '.join(DEFINITIONS)}",
        )
    true, pred = np.asarray(z_true, np.float64), np.asarray(z_pred, np.float64)
    if true.shape != pred.shape:
        raise ModelError(
            f"expected as many estimates as labels, found {pred.shape} and {true.shape}",
            "pass two arrays of the same shape",
        )
    finite = np.isfinite(true) & np.isfinite(pred)
    if not finite.any():
        raise ModelError(
            f"none of {true.size} pairs of redshifts is finite",
            "measure on labelled objects that were predicted",
        )
    true, pred = true[finite], pred[finite]
    chosen, difference = DEFINITIONS[definition], pred - true
    delta = difference / (1 + true)
    squares = float(np.sum((true - true.mean()) ** 2))
    return Metrics(
        definition=definition,
        text=chosen.text,
        n=int(true.size),
        sigma_nmad=_sigma_nmad(chosen, difference, 1 + true),
        bias=float(delta.mean() if chosen.bias == "mean" else np.median(delta)),
        outlier_fraction=float(np.mean(np.abs(delta) > chosen.outlier)),
        outlier_threshold=chosen.outlier,
        rmse=float(np.sqrt(np.mean(difference**2))),
        mae=float(np.mean(np.abs(difference))),
        r2=float(1 - np.sum(difference**2) / squares) if squares > 0 else float("nan"),
    )


def _sigma_nmad(definition: Definition, difference: Array, one_plus_z: Array) -> float:
    delta = difference / one_plus_z
    deviation = {
        "median": lambda: np.abs(delta - np.median(delta)),
        "raw median": lambda: np.abs(difference - np.median(difference)) / one_plus_z,
        "none": lambda: np.abs(delta),
    }[definition.centring]()
    return float(definition.constant * np.median(deviation))


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
    cumulative = _cumulative(pdf)
    position = np.clip(np.searchsorted(edges, z_true, side="right") - 1, 0, pdf.shape[1] - 1)
    share = np.clip((z_true - edges[position]) / np.diff(edges)[position], 0, 1)
    rows = np.arange(len(pdf))
    low, high = cumulative[rows, position], cumulative[rows, position + 1]
    return np.asarray(low + share * (high - low))


def crps(pdf: Array, edges: Array, z_true: Array) -> Array:
    """Return the continuous ranked probability score of each PDF, in z: lower is better.

    The binned form of Dey et al. 2022: the sum over bins of (C_k - H_k)² times the bin's width, where C is
    the cumulative PDF and H the cumulative one-hot label. A label outside the bins counts as the nearest bin.
    """
    step = np.arange(pdf.shape[1]) >= bin_of(edges, z_true)[:, None]
    return np.asarray(((_cumulative(pdf)[:, 1:] - step) ** 2 * np.diff(edges)).sum(1))


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

    ``pit_ks`` is the largest distance of the PIT's distribution from uniform (Kolmogorov and Smirnov);
    ``coverage_68`` and ``coverage_95`` should be 0.68 and 0.95.
    """
    values, n = np.sort(scores[:, 0]), len(scores)
    above, below = np.arange(1, n + 1) / n - values, values - np.arange(n) / n
    inside = coverage(values, np.array([0.68, 0.95]))
    return {
        "crps": float(scores[:, 1].mean()),
        "cde_loss": float(scores[:, 2].mean()),
        "pit_ks": float(max(above.max(), below.max())),
        "pit_histogram": np.histogram(values, bins=20, range=(0, 1))[0].tolist(),
        "coverage_68": float(inside[0]),
        "coverage_95": float(inside[1]),
    }


def bin_of(edges: Array, z: Array) -> Array:
    """Return the index of the bin each `z` lies in, the nearest bin for those outside."""
    return np.clip(np.searchsorted(edges, z, side="right") - 1, 0, len(edges) - 2)


def _cumulative(pdf: Array) -> Array:
    total = np.cumsum(np.asarray(pdf, np.float64), axis=1)
    return np.concatenate([np.zeros((len(total), 1)), total], axis=1)
