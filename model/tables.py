"""Tables of metrics by subset: magnitude, class, interval of z, and all together, each with its N.

A row is a dict of plain values, for the report and the documentation alike. "all" is measured on all objects pooled,
never averaged over rows. A subset that was asked for is a row though nobody is in it.
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.metrics import photoz_metrics
from schemas.errors import ModelError

Array = NDArray[Any]
Row = dict[str, Any]

NUMBERS = ("sigma", "sigma_nmad", "bias", "outlier_fraction", "rmse", "mae", "r2")
"""Numbers of `model.metrics.Metrics` that a row has, each with its 1-σ uncertainty under ``<name>_err``."""


@dataclass(frozen=True)
class Subset:
    """Some of n objects: what they are chosen ``by``, their ``name``, and which they are, ``inside`` ``(n,)``.

    ``interval`` is whether they are an interval of z, where a definition may take another bias.
    """

    by: str
    name: str
    inside: NDArray[np.bool_]
    interval: bool = False


@dataclass(frozen=True)
class Bootstrap:
    """How uncertainties are estimated: so many ``resamples`` of a subset's objects, drawn by the ``seed``.

    What is drawn depends on the seed and the subset's name alone. 0 resamples: no uncertainties.
    """

    resamples: int = 200
    seed: int = 0


_BOOTSTRAP = Bootstrap()


def by_magnitude(magnitude: Array, cuts: Sequence[float], *, name: str = "r") -> list[Subset]:
    """Cut objects at magnitudes; one at a cut belongs to the brighter side (Wei et al. 2025, their code).

    >>> [subset.name for subset in by_magnitude(np.array([20.0, np.nan]), [21.5])]
    ['r ≤ 21.5', 'r > 21.5', 'r not known']
    """
    return _cut(magnitude, cuts, name, left_closed=False) + _unknown(magnitude, name)


def by_interval(z: Array, edges: Sequence[float], *, name: str = "z") -> list[Subset]:
    """Cut objects into intervals of z, each with its lower edge; those outside all of them are rows if there are any.

    >>> [subset.name for subset in by_interval(np.array([0.1, 0.7]), [0.0, 0.25, 0.5])]
    ['0 ≤ z < 0.25', '0.25 ≤ z < 0.5', 'z ≥ 0.5']
    """
    below, *inside, above = _cut(z, edges, name, left_closed=True)
    before, after = ([subset] if subset.inside.any() else [] for subset in (below, above))
    return [*before, *inside, *after, *_unknown(z, name)]


def table(
    z_true: Array,
    z_pred: Array,
    *,
    subsets: Sequence[Subset] = (),
    definition: str = "skymill",
    bootstrap: Bootstrap = _BOOTSTRAP,
) -> list[Row]:
    """Return the metrics of each subset, and last of all objects.

    Parameters
    ----------
    z_true, z_pred : ndarray
        Spectroscopic and photometric redshifts of shape ``(n,)``.
    subsets : sequence of Subset
        From `by_magnitude` and `by_interval`, or classes of one's own.
    definition : str
        A key of `model.metrics.DEFINITIONS`.
    bootstrap : Bootstrap
        How uncertainties are estimated.

    Returns
    -------
    list of dict
        ``by``, ``subset``, ``n``, ``missing`` (objects without a label or an estimate, which are not in ``n``), then
        `NUMBERS`, ``outlier_threshold``, their uncertainties, ``definition`` and ``text``. What cannot be said of a
        subset is None.

    Raises
    ------
    ModelError
        The arrays differ in length, or the definition is not known.
    """
    lengths = {len(z_true), len(z_pred), *(len(subset.inside) for subset in subsets)}
    if len(lengths) > 1:
        raise ModelError(
            f"expected arrays of one length, found {sorted(lengths)}", "pass the same objects in all of them"
        )
    text = photoz_metrics(np.zeros(1), np.zeros(1), definition=definition).text
    pairs = _Pairs(np.asarray(z_true, np.float64), np.asarray(z_pred, np.float64), definition)
    whole = Subset("all", "all", np.ones(len(z_true), bool))
    return [
        {**_row(pairs, subset, bootstrap), "definition": definition, "text": text}
        for subset in (*subsets, whole)
    ]


@dataclass(frozen=True)
class _Pairs:
    """All objects, and how they are measured."""

    true: Array
    pred: Array
    definition: str

    def measured(self, chosen: Array, *, interval: bool) -> Row:
        """Return the numbers of some objects, given by their places."""
        found = photoz_metrics(
            self.true[chosen], self.pred[chosen], definition=self.definition, interval=interval
        ).as_dict()
        return {name: _said(found[name]) for name in (*NUMBERS, "outlier_threshold")}


def _row(pairs: _Pairs, subset: Subset, bootstrap: Bootstrap) -> Row:
    chosen = np.flatnonzero(subset.inside & np.isfinite(pairs.true) & np.isfinite(pairs.pred))
    missing = int(subset.inside.sum()) - len(chosen)
    row: Row = {"by": subset.by, "subset": subset.name, "n": len(chosen), "missing": missing}
    if len(chosen):
        row |= pairs.measured(chosen, interval=subset.interval)
    else:
        row |= dict.fromkeys([*NUMBERS, "outlier_threshold"])
    return row | _uncertainties(pairs, subset, chosen, bootstrap)


def _uncertainties(pairs: _Pairs, subset: Subset, chosen: Array, bootstrap: Bootstrap) -> Row:
    """Return the standard deviation of each number over resamples (Efron 1979); None for fewer than two objects."""
    random = np.random.default_rng([bootstrap.seed, zlib.crc32(f"{subset.by} {subset.name}".encode())])
    drawn = [
        pairs.measured(random.choice(chosen, len(chosen)), interval=subset.interval)
        for _ in range(bootstrap.resamples if len(chosen) > 1 else 0)
    ]
    errors: Row = {}
    for name in NUMBERS:
        values = [one[name] for one in drawn if one[name] is not None]
        errors[f"{name}_err"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return errors


def _cut(values: Array, edges: Sequence[float], name: str, *, left_closed: bool) -> list[Subset]:
    """Return what is below the first edge, between two, and above the last; NaN is in none."""
    place = np.searchsorted(np.asarray(edges, float), values, side="right" if left_closed else "left")
    low, high = ("≤", "<") if left_closed else ("<", "≤")
    words = [f"{name} {high} {edges[0]:g}"]
    words += [f"{a:g} {low} {name} {high} {b:g}" for a, b in pairwise(edges)]
    words += [f"{name} {'≥' if left_closed else '>'} {edges[-1]:g}"]
    known = ~np.isnan(values)
    return [
        Subset(name, word, known & (place == number), interval=left_closed)
        for number, word in enumerate(words)
    ]


def _unknown(values: Array, name: str) -> list[Subset]:
    missing = np.isnan(values)
    return [Subset(name, f"{name} not known", missing)] if missing.any() else []


def _said(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
