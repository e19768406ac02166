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

from model.deviations import clipped, hodges_lehmann, nmad
from model.regression import finite_pairs
from schemas.errors import ModelError

Array = NDArray[Any]


@dataclass(frozen=True)
class Definition:
    """One author's way to measure.

    ``constant`` and ``centring`` are those of `model.deviations.nmad`. ``bias`` is the "mean" or "median" of Δ;
    ``interval_bias``, if another one is taken in intervals of z. An outlier has an absolute Δ above ``outlier``.
    ``sigma`` is "nmad", or a plain "deviation", or one "clipped" at ``outlier``: in the last two ``outlier`` counts
    in units of that σ, and the NMAD, which these authors do not use, is given with ``constant`` and ``centring``.
    """

    text: str
    constant: float = 1.4826
    centring: str = "median"
    bias: str = "mean"
    outlier: float = 0.05
    sigma: str = "nmad"
    interval_bias: str = ""


DEFINITIONS = {
    "skymill": Definition("1.4826 median|Δ - median Δ|; bias mean Δ; outlier |Δ| > 0.05"),
    "pasquet2019": Definition("1.48 median|Δ - median Δ|; bias mean Δ; outlier |Δ| > 0.05", constant=1.48),
    "dey2022": Definition(
        "1.4826 median|Δ - median Δ|; bias mean Δ, in intervals Hodges-Lehmann; outlier |Δ| > 0.05",
        interval_bias="hodges-lehmann",
    ),
    "wei2025": Definition(
        "1.48 median|Δ - median Δ|; bias median Δ; outlier |Δ| > 0.15", 1.48, bias="median", outlier=0.15
    ),
    "zhou_csst": Definition(
        "1.48 median(|δ - median δ| / (1 + z_spec)), δ = z_phot - z_spec; bias mean Δ; outlier |Δ| > 0.15",
        1.48,
        "raw median",
        outlier=0.15,
    ),
    "zhou2023": Definition("1.48 median|Δ|; bias mean Δ; outlier |Δ| > 0.10", 1.48, "none", outlier=0.10),
    "li2024": Definition(
        "1.48 median|Δ| (not stated; that of Zhou R. 2023, with whom they compare); bias mean Δ; outlier |Δ| > 0.10",
        1.48,
        "none",
        outlier=0.10,
    ),
    "brescia2014": Definition(
        "σ standard deviation of Δ; bias mean Δ; outlier |Δ| > 2 σ; NMAD as skymill's",
        outlier=2.0,
        sigma="deviation",
    ),
    "beck2016": Definition(
        "σ standard deviation and bias mean of the Δ left by clipping at 3 σ; outlier |Δ| > 3 σ; NMAD as skymill's",
        outlier=3.0,
        sigma="clipped",
    ),
}
"""Pasquet et al. 2019, Dey et al. 2022 (their threshold is configurable; the sample's usual 0.05 is taken),
Wei et al. 2025, Zhou X. et al. (CSST, DESI), Zhou R. et al. 2023, Li et al. 2024, Brescia et al. 2014 (σ and
outliers as in the abstract; in Table 2 its σ is that of Δ, its bias 3e-5 that of z_phot - z_spec), Beck et al. 2016.
Henghes et al. 2022 give a mean squared error: the square of ``rmse``. The default takes Dey's constant, and the 0.05
used on the SDSS main galaxy sample."""


@dataclass(frozen=True)
class Metrics:
    """Quality of point estimates, with the definition they were measured by.

    ``sigma`` is the definition's scatter, which is ``sigma_nmad`` for most; these and ``bias`` are in Δ;
    ``outlier_fraction`` is in [0, 1]; ``outlier_threshold`` is in Δ, also where the definition counts in σ; ``rmse``
    and ``mae`` are of z_phot - z_spec.
    """

    definition: str
    text: str
    n: int
    sigma_nmad: float
    sigma: float
    bias: float
    outlier_fraction: float
    outlier_threshold: float
    rmse: float
    mae: float
    r2: float

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as JSON-able values."""
        return asdict(self)


def photoz_metrics(
    z_true: Array, z_pred: Array, *, definition: str = "skymill", interval: bool = False
) -> Metrics:
    """Measure point estimates.

    Parameters
    ----------
    z_true, z_pred : ndarray
        Spectroscopic and photometric redshifts of shape ``(n,)``; pairs with a NaN are left out.
    definition : str
        A key of `DEFINITIONS`.
    interval : bool
        Whether these are the objects of an interval of z, where some authors take another bias.

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
    chosen, (true, pred) = DEFINITIONS[definition], finite_pairs(z_true, z_pred)
    difference = pred - true
    delta = difference / (1 + true)
    robust = nmad(difference, 1 + true, constant=chosen.constant, centring=chosen.centring)
    sigma, kept = _sigma(chosen, delta, robust)
    threshold = chosen.outlier * (1.0 if chosen.sigma == "nmad" else sigma)
    squares = float(np.sum((true - true.mean()) ** 2))
    return Metrics(
        definition=definition,
        text=chosen.text,
        n=int(true.size),
        sigma_nmad=robust,
        sigma=sigma,
        bias=_bias((interval and chosen.interval_bias) or chosen.bias, delta[kept]),
        outlier_fraction=float(np.mean(np.abs(delta) > threshold)),
        outlier_threshold=threshold,
        rmse=float(np.sqrt(np.mean(difference**2))),
        mae=float(np.mean(np.abs(difference))),
        r2=float(1 - np.sum(difference**2) / squares) if squares > 0 else float("nan"),
    )


def _sigma(definition: Definition, delta: Array, robust: float) -> tuple[float, Array]:
    """Return the definition's scatter, and which of `delta` its bias is taken of."""
    if definition.sigma == "clipped":
        return clipped(delta, definition.outlier)
    return robust if definition.sigma == "nmad" else float(delta.std()), np.ones(len(delta), bool)


def _bias(kind: str, delta: Array) -> float:
    if kind == "hodges-lehmann":
        return hodges_lehmann(delta)
    return float(delta.mean() if kind == "mean" else np.median(delta))
