"""What recalibrations are learnt by: from labelled rows that neither the weights nor the choice of the epoch have seen.

Two ways, each a few JSON-able numbers: a monotone map of the PIT, for any PDF; a factor of Gaussian errors.
`model.recalibration` applies them. What is wrong for one kind of galaxy, and the other way round
for another, stays wrong.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.optimize import bisect
from scipy.special import ndtri
from scipy.stats import kstwo

from schemas.errors import ModelError

Array = NDArray[Any]
Fitted = dict[str, Any]

MIN_ROWS = 200
"""Fewest rows a recalibration is learnt from (decided here): a distribution of 200 PITs is uncertain by 0.06, the
mean of its Kolmogorov-Smirnov distance, 0.87 / sqrt(n); with fewer, it is as likely to harm."""
_INNER, _ROWS_BEYOND = np.array([0.2, 0.4, 0.6, 0.8]), 10
"""Where the PIT's map is pinned: at every fifth, and towards both ends at half the level before as long as ten rows
lie beyond (decided here: more points carry the rows' noise into the densities, fewer miss the tails; of six ways
tried on Gaussian PDFs of wrong widths and on a forest's it did best on the whole, if not in each case)."""
_FACTORS = (1e-3, 1e3)
_LEVELS = np.arange(1, 10) / 10
"""Levels of the coverage curve: bins of 10 % of confidence (Zhou X. et al. 2022, their code)."""


def fit_pit_map(pit_values: Array, *, least: int = MIN_ROWS) -> Fitted:
    """Learn the map that makes PITs uniform: their own distribution, as a smooth curve through some quantiles.

    If G is the distribution of F(z_true), the cumulative PDFs G(F(z)) have uniform PITs (Bordoloi et al. 2010;
    Kuleshov et al. 2018). G passes through 0 and 1, so a PDF stays one. True values outside the
    range of the bins have a PIT of 0 or 1 whatever the map; they are spread over its outermost steps. Where ``p`` is
    not small, the PDFs were calibrated as far as so many rows can tell, and a map adds little but noise.

    `pit_values` ``(n,)`` that are not finite are left out.

    Returns
    -------
    dict
        ``kind`` "pit"; ``pit``, ``level`` and ``slope``: the points of the curve; ``n`` rows; their ``ks``, and ``p``,
        the probability of such a distance or a larger one if they were uniform.

    Raises
    ------
    ModelError
        There are too few rows, or all have the same PIT.
    """
    found = np.sort(pit_values[np.isfinite(pit_values)])
    check_enough(len(found), least)
    levels = _levels(len(found))
    points = np.clip(np.quantile(found, levels, method="inverted_cdf"), 0, 1)
    inner = np.flatnonzero((points > 0) & (points < 1) & (np.append(np.diff(points), 1) > 0))
    if not len(inner):
        raise ModelError(
            f"all {len(found)} PITs are 0 or 1: the PDFs say nothing of where the true values are",
            "widen head.z_min and head.z_max, or train longer",
        )
    ks, p = uniformity(found)
    x, y = np.array([0.0, *points[inner], 1.0]), np.array([0.0, *levels[inner], 1.0])
    slope = PchipInterpolator(x, y).derivative()(x)  # monotone between the points (Fritsch and Carlson 1980)
    columns = {"pit": x.tolist(), "level": y.tolist(), "slope": slope.tolist()}
    return {"kind": "pit", **columns, "n": len(found), "ks": ks, "p": p}


def uniformity(values: Array) -> tuple[float, float]:
    """Return how far the distribution of `values` is from uniform in [0, 1], and how probable that is by chance.

    The distance of Kolmogorov and Smirnov, and the probability of such a distance or a larger one.
    """
    found, n = np.sort(values), len(values)
    share = np.arange(1, n + 1) / n
    ks = float(max((share - found).max(), (found - share + 1 / n).max()))
    return ks, float(kstwo.sf(ks, n))


def fit_alpha(z_true: Array, z_phot: Array, error: Array, *, least: int = MIN_ROWS) -> Fitted:
    """Learn the factor of Gaussian errors with which central intervals hold as many true values as they should.

    The root, by bisection, of the sum over confidences of 10 % to 90 % of coverage less confidence (Zhou X. et al.
    2022, their code, whose terms at 0 and 100 % are always nought; 1 if that sum is below 0.001 without it).

    All are ``(n,)``; rows where one is not finite, or the error not positive, are left out.

    Returns
    -------
    dict
        ``kind`` "alpha", ``alpha`` (above 1: the errors were too small) and ``n`` rows.

    Raises
    ------
    ModelError
        There are too few rows, or no factor between 0.001 and 1000 will do.
    """
    used = np.isfinite(z_true) & np.isfinite(z_phot) & np.isfinite(error) & (error > 0)
    check_enough(int(used.sum()), least)
    pull = np.sort(np.abs(z_true[used] - z_phot[used]) / error[used])
    reach = ndtri((1 + _LEVELS) / 2)

    def excess(log_alpha: float) -> float:
        inside = np.searchsorted(pull, reach * np.exp(log_alpha), side="right") / len(pull)
        return float((inside - _LEVELS).sum())

    low, high = np.log(_FACTORS)
    if excess(low) > 0 or excess(high) < 0:
        raise ModelError(
            f"no factor between {_FACTORS[0]:g} and {_FACTORS[1]:g} makes {len(pull)} errors right: the median of "
            f"|z_true - z_phot| / error is {np.median(pull):.3g}",
            "look whether labels and estimates belong to the same galaxies",
        )
    log_alpha = 0.0 if abs(excess(0.0)) < 1e-3 else bisect(excess, low, high, xtol=1e-4)
    return {"kind": "alpha", "alpha": float(np.exp(log_alpha)), "n": len(pull)}


def _levels(rows: int) -> Array:
    """Return where a map that is learnt from so many rows is pinned.

    >>> _levels(200).tolist()
    [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95]
    """
    halvings = int(np.log2(_INNER[0] * rows / _ROWS_BEYOND))
    tail = _INNER[0] / 2.0 ** np.arange(halvings, 0, -1)
    return np.concatenate([tail, _INNER, 1 - tail[::-1]])


def check_enough(n: int, least: int = MIN_ROWS) -> None:
    """Refuse to learn from fewer than `least` rows.

    Raises
    ------
    ModelError
        There are fewer.
    """
    if n < least:
        raise ModelError(
            f"a recalibration is learnt from at least {least} labelled rows, found {n}",
            "enlarge split.calibration or the sample, or set recalibration.kind to none",
        )
