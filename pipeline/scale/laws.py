"""Laws of scaling, fitted to throughputs.

All give the throughput ``X(N)`` on N nodes from that of one, ``rate``. Amdahl (1967, AFIPS Spring Joint Computer
Conference 30, 483): a share ``sigma`` of the same work is serial, ``X = rate / (sigma + (1 - sigma) / N)``.
Gustafson (1988, Communications of the ACM 31, 532), for as much work a node: ``X = rate (N - sigma (N - 1))``.
Gunther's universal scalability law (1993, CMG Proceedings; 2007, "Guerrilla Capacity Planning", Springer) adds
what all pairs of nodes cost each other: ``X = rate N / (1 + sigma (N - 1) + kappa N (N - 1))``, whose peak is at
``N = sqrt((1 - sigma) / kappa)``; for kappa = 0 it is Amdahl's.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeWarning, curve_fit

Array = NDArray[np.float64]

DRAWS = 100
"""Fits to synthetic throughputs, whose scatter is the uncertainty."""
LEAST_NODES = 3
"""Fewer different numbers of nodes cannot tell one law from another, or from none."""
BAND = (15.87, 84.13)
"""Percentiles of one standard deviation."""
LEAST_SCATTER, LEAST_RATE = 1e-4, 1e-9
MISFIT, NOTHING = 2.0, 0.02
"""A law from which the points lie so many times as far as repeats from each other, and farther than the share, is
another one's."""


@dataclass(frozen=True)
class Law:
    """A law's name, formula and the names of its parameters, the first of which is the rate on one node."""

    name: str
    formula: str
    parameters: tuple[str, ...]
    throughput: Callable[..., Array]


def _amdahl(nodes: Array, rate: float, sigma: float) -> Array:
    return rate * nodes / (1 + sigma * (nodes - 1))


def _gustafson(nodes: Array, rate: float, sigma: float) -> Array:
    return rate * (nodes - sigma * (nodes - 1))


def _universal(nodes: Array, rate: float, sigma: float, kappa: float) -> Array:
    return rate * nodes / (1 + sigma * (nodes - 1) + kappa * nodes * (nodes - 1))


AMDAHL = Law("Amdahl", "X(N) = rate / (σ + (1 − σ) / N)", ("rate", "sigma"), _amdahl)
GUSTAFSON = Law("Gustafson", "X(N) = rate (N − σ (N − 1))", ("rate", "sigma"), _gustafson)
UNIVERSAL = Law(
    "Universal scalability law",
    "X(N) = rate N / (1 + σ (N − 1) + κ N (N − 1))",
    ("rate", "sigma", "kappa"),
    _universal,
)


@dataclass(frozen=True)
class Fit:
    """A law fitted to throughputs.

    ``values`` and ``errors`` (one standard deviation) are by parameter; ``draws`` are parameters of fits to synthetic
    data, ``(n, parameters)``. ``unsure`` says in words why the data cannot tell; empty if they can. The peak and the
    number of nodes whose efficiency is one half are infinite where there is none.
    """

    law: Law
    values: Mapping[str, float] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)
    draws: Array = field(default_factory=lambda: np.empty((0, 0)), repr=False)
    scatter: float = math.nan
    unsure: str = ""

    @property
    def found(self) -> bool:
        """Whether there are parameters at all."""
        return bool(self.values)

    @property
    def peak(self) -> float:
        """Number of nodes beyond which throughput falls."""
        return peak_of(self.values.get("sigma", 0.0), self.values.get("kappa", 0.0))

    @property
    def half(self) -> float:
        """Number of nodes that each do half of what one alone does."""
        return half_of(self.law, self.values.get("sigma", 0.0), self.values.get("kappa", 0.0))

    def spread(self, of: Callable[["Fit"], float]) -> tuple[float, float]:
        """Return the interval of one standard deviation of what `of` says of a fit."""
        names = self.law.parameters
        found = [of(Fit(self.law, dict(zip(names, draw, strict=True)))) for draw in self.draws]
        return _percentiles(np.array(found or [math.nan]))

    def curve(self, nodes: Array) -> Array:
        """Return the throughput on some numbers of nodes."""
        return self.law.throughput(nodes, *(self.values[name] for name in self.law.parameters))

    def band(self, nodes: Array) -> tuple[Array, Array]:
        """Return the interval of one standard deviation of the throughput on some numbers of nodes."""
        curves = np.array([self.law.throughput(nodes, *draw) for draw in self.draws])
        low, high = np.percentile(curves, BAND, axis=0)
        return low, high


def peak_of(sigma: float, kappa: float) -> float:
    """Return the number of nodes with the highest throughput; infinite where more always help.

    Examples
    --------
    >>> round(peak_of(0.02, 0.0005), 1), peak_of(0.1, 0.0), peak_of(0.9, 0.5)
    (44.3, inf, 1.0)
    """
    return max(1.0, math.sqrt((1 - sigma) / kappa)) if kappa > 1e-12 else math.inf


def half_of(law: Law, sigma: float, kappa: float) -> float:
    """Return the number of nodes at which efficiency is one half.

    Examples
    --------
    >>> half_of(AMDAHL, 0.1, 0.0), round(half_of(UNIVERSAL, 0.0, 0.01), 2), round(half_of(GUSTAFSON, 0.6, 0.0), 2)
    (11.0, 10.51, 6.0)
    """
    if law is GUSTAFSON:  # 1 - sigma (N - 1) / N = 1/2
        return sigma / (sigma - 0.5) if sigma > 0.5 else math.inf
    if kappa > 1e-12:  # kappa N² + (sigma - kappa) N - (1 + sigma) = 0
        slope = sigma - kappa
        return (-slope + math.sqrt(slope**2 + 4 * kappa * (1 + sigma))) / (2 * kappa)
    return 1 + 1 / sigma if sigma > 1e-12 else math.inf


def laws_of(*, weak: bool) -> tuple[Law, Law]:
    """Return the two laws that are fitted: for the same work, or for as much work a node."""
    return (GUSTAFSON if weak else AMDAHL), UNIVERSAL


def fit(law: Law, nodes: Sequence[int], throughputs: Sequence[float], *, seed: int = 0) -> Fit:
    """Fit a law to measured throughputs, repeats and all.

    The scatter of a measurement is taken as one share of its throughput for all: that of the repeats about their
    mean, or of all points about the fit, whichever is larger. The uncertainties are the scatter of fits to synthetic
    throughputs drawn about the fitted curve (a parametric bootstrap), which is honest at the bounds too, where the
    covariance matrix of the fit is not.

    Parameters
    ----------
    law : Law
        What is fitted.
    nodes, throughputs : sequence
        Number of nodes and rows per second of each measurement.
    seed : int
        Of the synthetic data.
    """
    x, y = np.asarray(nodes, float), np.asarray(throughputs, float)
    different = len(set(nodes))
    if different < 2 or not np.all(np.isfinite(y) & (y > 0)):
        return Fit(law, unsure="no law can be fitted to a single number of nodes")
    if different < LEAST_NODES:
        return Fit(law, unsure=f"{different} different numbers of nodes cannot tell one law from another")
    best = _solve(law, x, y, start=None)
    curve = law.throughput(x, *best)
    of_repeats, of_fit = _scatter_of_repeats(x, y), _scatter_of_fit(y / curve, len(best))
    scatter = max(of_repeats, of_fit)
    unsure = _misfit(of_repeats, of_fit) or _doubt(different, len(law.parameters), scatter)
    rng = np.random.default_rng(seed)
    width = max(scatter, LEAST_SCATTER) if math.isfinite(scatter) else LEAST_SCATTER
    noise = np.maximum(1 + width * rng.standard_normal((DRAWS, len(x))), 0.05)
    draws = np.array([_solve(law, x, curve * each, start=best) for each in noise])
    errors = np.sqrt(np.mean((draws - best) ** 2, axis=0))
    return Fit(
        law,
        dict(zip(law.parameters, map(float, best), strict=True)),
        dict(zip(law.parameters, map(float, errors), strict=True)),
        draws,
        scatter,
        unsure,
    )


def _solve(law: Law, x: Array, y: Array, *, start: Array | None) -> Array:
    upper = [np.inf, 1.0, 1.0][: len(law.parameters)]
    per_node = float(np.max(y / x))
    # the solver stops early where the parameters differ by orders of magnitude, so the rate is taken in its own units
    first = np.array([1.0, 0.05, 1e-4][: len(law.parameters)])
    if start is not None:
        first = np.clip(
            start / np.r_[per_node, np.ones(len(start) - 1)], LEAST_RATE, 0.999 * np.minimum(upper, 1e9)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)  # of a covariance that is not used
        found, _ = curve_fit(
            lambda nodes, *values: np.log(law.throughput(nodes, *values)),
            x,
            np.log(y / per_node),  # the scatter is a share of the throughput
            p0=first,
            bounds=([LEAST_RATE] + [0.0] * (len(upper) - 1), upper),
            x_scale=[1.0, 0.1, 0.01][: len(upper)],
            ftol=1e-7,
            xtol=1e-7,
        )
    found[0] *= per_node
    return np.asarray(found)


def _scatter_of_repeats(x: Array, y: Array) -> float:
    groups = [y[x == number] for number in np.unique(x)]
    spare = sum(len(group) - 1 for group in groups)
    if not spare:
        return 0.0
    squares = sum(float(np.sum((group / group.mean() - 1) ** 2)) for group in groups)
    return math.sqrt(squares / spare)


def _scatter_of_fit(ratios: Array, parameters: int) -> float:
    spare = len(ratios) - parameters
    return math.sqrt(float(np.sum((ratios - 1) ** 2)) / spare) if spare > 0 else 0.0


def _misfit(of_repeats: float, of_fit: float) -> str:
    if of_repeats > 0 and of_fit > max(MISFIT * of_repeats, NOTHING):
        return f"it does not describe them: they lie {of_fit:.0%} off, and repeats {of_repeats:.0%} from each other"
    return ""


def _doubt(different: int, parameters: int, scatter: float) -> str:
    if scatter == 0.0:
        return "without repeats, and with no more points than parameters, its uncertainty is not known"
    if different == parameters:
        return (
            f"{different} numbers of nodes fix {parameters} parameters, and leave nothing to check the law by"
        )
    return ""


def _percentiles(values: Array) -> tuple[float, float]:
    """Return the interval of one standard deviation; infinite values are the largest."""
    ordered = np.sort(values)
    low, high = (ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))] for share in BAND)
    return float(low), float(high)
