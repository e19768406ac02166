"""Calibrating: what the rows kept for it say of the PDFs or errors, and the recalibration that mends them if need be.

A recalibration is used only where it is justified. First, the PDFs must be worse than chance makes calibrated ones: a
map that is learnt from calibrated PDFs adds its own noise to every galaxy. Second, it must make rows better that it was
not learnt from: so what is said of "after" is of a fifth of the rows each, by what the other four fifths have learnt.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from model.answering import answered
from model.cubes import Cube
from model.estimates import bin_edges, combine
from model.pdfs import bin_of, coverage, cumulative, normalised
from model.predictor import Predictor, check_geometry, opened, predictor_for
from model.recalibration import mapped
from model.recalibration_fits import check_enough, fit_alpha, fit_pit_map, uniformity
from schemas import arrays
from schemas.flags import Part, Status

Array = NDArray[Any]
Numbers = Mapping[str, Any]

LEVEL = 0.05
"""A recalibration is used where calibrated PDFs would look as bad with less than this probability (decided here)."""
FOLDS = 5
_FOLDS_SEED = 5
_BARS = 20
_PROBABILITIES = np.array([*(np.arange(1, 20) / 20), 0.68])
"""Of the central intervals whose coverage is told."""


def calibrate(
    *,
    cube: str,
    bundles: Sequence[str],
    kind: str,
    least: int,
    passes: int = 0,
    engine: str = "auto",
    batch: int | None = None,
    threads: int = 1,
) -> dict[str, Any]:
    """Predict the calibration rows of a cube, and say how calibrated they are and what would mend them.

    Parameters
    ----------
    cube : str
        The cube.
    bundles : sequence of str
        Folders of the networks that predict together.
    kind : str
        ``pit`` for PDFs of bins, ``alpha`` for Gaussian errors.
    least : int
        Fewest rows it is learnt from.
    passes, engine, batch, threads
        As of `model.predictor.Predictor`.

    Returns
    -------
    dict
        See `judged`.

    Raises
    ------
    ModelError
        There are too few rows, or what they say cannot be mended; or the networks cannot predict them.
    StoreError
        The cube cannot be read.
    """
    source = opened(cube)
    predictor = predictor_for(tuple(bundles), passes=passes, engine=engine, batch=batch, threads=threads)
    check_geometry(source, predictor)
    evidence = _evidence(source, predictor)
    good = np.isfinite(evidence).all(1)
    return {"left_out": int((~good).sum()), **judged(evidence[good], kind, least=least)}


def judged(evidence: Array, kind: str, *, least: int) -> dict[str, Any]:
    """Learn a recalibration, and say whether it is justified.

    Parameters
    ----------
    evidence : ndarray
        What is known of each row, ``(n, 3)``: for ``pit`` the PDF's cumulative value at the lower and the upper edge of
        the true value's bin, and where in the bin it lies, 0 to 1; for ``alpha`` true value, estimate and error.
    kind : str
        ``pit`` or ``alpha``.
    least : int
        Fewest rows.

    Returns
    -------
    dict
        Plain data: ``kind``; ``applied`` and ``why``; ``fitted``, the numbers; ``rows``; ``ks``, ``p``, ``coverage``
        and ``pit_histogram``, each ``before`` and ``after`` by cross-fitting. ``ks`` is the distance of the PITs from
        uniform; for ``alpha``, which knows no shift, that of the coverage of central intervals.

    Raises
    ------
    ModelError
        There are too few rows, or no recalibration of this kind mends them.
    """
    check_enough(len(evidence), least)
    fit, pits, mended = _WAYS[kind]
    before, after = pits(evidence), _cross_fitted(evidence, fit, mended)
    tested = [uniformity(_central(values) if kind == "alpha" else values) for values in (before, after)]
    (ks, p), (ks_after, p_after) = tested
    applied, why = _verdict(ks, p, ks_after)
    return {
        "kind": kind,
        "applied": applied,
        "why": why,
        "fitted": fit(evidence),
        "rows": len(evidence),
        "ks": {"before": ks, "after": ks_after},
        "p": {"before": p, "after": p_after},
        "coverage": {
            "levels": _PROBABILITIES.tolist(),
            "before": coverage(before, _PROBABILITIES).tolist(),
            "after": coverage(after, _PROBABILITIES).tolist(),
        },
        "pit_histogram": {"before": _bars(before), "after": _bars(after)},
    }


def _verdict(ks: float, p: float, ks_after: float) -> tuple[bool, str]:
    if p >= LEVEL:
        return False, f"calibrated already, as far as so many rows can tell (p = {p:.2g}): left as they are"
    if ks_after >= ks:
        return (
            False,
            f"no help to rows it was not learnt from (KS {ks:.3f}, then {ks_after:.3f}): left as they are",
        )
    return True, f"not calibrated (p = {p:.2g}): KS {ks:.3f}, then {ks_after:.3f}"


def _cross_fitted(evidence: Array, fit: Callable[[Array], Numbers], mended: Callable[..., Array]) -> Array:
    """Return each row's PIT after a recalibration that was learnt from the other folds."""
    fold = np.random.default_rng(_FOLDS_SEED).permutation(len(evidence)) % FOLDS
    after = np.empty(len(evidence))
    for number in range(FOLDS):
        after[fold == number] = mended(evidence[fold == number], fit(evidence[fold != number]))
    return after


def _evidence(cube: Cube, predictor: Predictor) -> Array:
    """Return what `judged` wants of each labelled calibration row that was fetched well, in the cube's order."""
    found = [np.empty((0, 3))]
    for start in range(0, cube.rows, cube.rows_per_block):
        stop = min(start + cube.rows_per_block, cube.rows)
        split, status, label = (
            cube.read(array.name, start, stop) for array in (arrays.SPLIT, arrays.STATUS, arrays.LABEL)
        )
        wanted = (split == Part.CALIBRATION) & (status == Status.OK) & np.isfinite(label)
        if wanted.any():
            for columns, answers in answered(cube, predictor, start, wanted):
                found.append(_seen(columns["z_spec"].astype(np.float64), answers, predictor.head))
    return np.concatenate(found)


def _seen(truth: Array, answers: Array, head: Numbers) -> Array:
    estimates = combine(answers, head)
    if estimates.pdf is None:
        return np.stack([truth, estimates.z, estimates.error], axis=1)
    edges, total = bin_edges(head), cumulative(normalised(estimates.pdf))
    rows, place = np.arange(len(truth)), bin_of(edges, truth)
    share = np.clip((truth - edges[place]) / np.diff(edges)[place], 0, 1)
    return np.stack([total[rows, place], total[rows, place + 1], share], axis=1)


def _fit_pit(evidence: Array) -> Numbers:
    return fit_pit_map(_pits_of_bins(evidence), least=0)


def _pits_of_bins(evidence: Array) -> Array:
    low, high, share = evidence.T
    return np.asarray(low + share * (high - low))


def _mapped_pits(evidence: Array, fitted: Numbers) -> Array:
    low, high, share = evidence.T
    low, high = mapped(np.minimum(low, 1), fitted), mapped(np.minimum(high, 1), fitted)
    return np.asarray(low + share * (high - low))


def _fit_alpha(evidence: Array) -> Numbers:
    return fit_alpha(*evidence.T, least=0)


def _pits_of_gaussians(evidence: Array, fitted: Numbers | None = None) -> Array:
    truth, estimate, error = evidence.T
    return np.asarray(ndtr((truth - estimate) / (error * (fitted["alpha"] if fitted else 1.0))))


def _central(pits: Array) -> Array:
    """Return the probability of the smallest central interval that holds the true value."""
    return np.abs(2 * pits - 1)


def _bars(pits: Array) -> list[int]:
    counts: list[int] = np.histogram(pits, bins=_BARS, range=(0, 1))[0].tolist()
    return counts


_WAYS: Mapping[str, tuple[Callable[[Array], Numbers], Callable[[Array], Array], Callable[..., Array]]] = {
    "pit": (_fit_pit, _pits_of_bins, _mapped_pits),
    "alpha": (_fit_alpha, _pits_of_gaussians, _pits_of_gaussians),
}
"""How each kind is learnt; each row's PIT before; and after it."""
