"""What is learnt, and by which definition it is measured: a redshift, another number, or yes and no.

A definition is one of `model.metrics.DEFINITIONS`, which are of redshifts, or ``regression``, or ``detection``.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model import regression
from model.detection import FALSE_ALARMS, area_sigma, roc, true_alarms
from model.metrics import DEFINITIONS, photoz_metrics
from model.regression import finite_pairs, regression_metrics
from schemas.errors import ModelError

Array = NDArray[Any]

REDSHIFT, REGRESSION, DETECTION = "redshift", "regression", "detection"
"""Kinds of targets; the last two have one definition each, of the same name."""
PIXELS = "pixels"
"""Of classes of pixels, which `model.pixel_metrics` counts."""
NAMES = (*DEFINITIONS, REGRESSION, DETECTION, PIXELS)
"""What ``target.definition`` may be."""
DETECTION_TEXT = (
    "area under the ROC curve, its σ by Hanley and McNeil (1982); true-alarm probability at a false-alarm probability, "
    "its σ binomial"
)
_LIKE_A_REDSHIFT = re.compile(r"^z|redshift|(spec|photo?|true)_?z", re.IGNORECASE)
"""Names of columns that are taken for redshifts where no definition is said (decided here)."""


def kind_of(definition: str) -> str:
    """Return the kind of target a definition is for.

    >>> kind_of("wei2025"), kind_of("detection")
    ('redshift', 'detection')
    """
    return definition if definition in (REGRESSION, DETECTION, PIXELS) else REDSHIFT


def measure_by(definition: str, labels: Array, predictions: Array) -> dict[str, Any]:
    """Measure predictions by a definition, as JSON-able values.

    Parameters
    ----------
    definition : str
        One of `NAMES`.
    labels, predictions : ndarray
        Of shape ``(n,)``; objects that lack one of the two are left out. Of a detection, labels are 0 and 1, and
        predictions the probability of 1.

    Returns
    -------
    dict
        ``definition``, ``text``, ``n``, and the numbers of `photoz_metrics`, `regression_metrics` or
        `detection_metrics`.

    Raises
    ------
    ModelError
        There is no such definition, the shapes differ, or no object has both.
    """
    check_name(definition)
    if definition == REGRESSION:
        return {"definition": REGRESSION, "text": regression.TEXT, **regression_metrics(labels, predictions)}
    if definition == DETECTION:
        return {"definition": DETECTION, "text": DETECTION_TEXT, **detection_metrics(labels, predictions)}
    return photoz_metrics(labels, predictions, definition=definition).as_dict()


def detection_metrics(labels: Array, scores: Array) -> dict[str, Any]:
    """Measure a detector, as JSON-able values.

    Returns
    -------
    dict
        ``n``, ``n_signal``, ``n_noise``, ``area`` and ``area_sigma`` (None where one of the two classes has no
        object), and ``alarms``: `model.detection.TrueAlarm` as a dict at each of `FALSE_ALARMS` that the samples
        without a signal allow, that is those of which one is a smaller share.

    Raises
    ------
    ModelError
        The shapes differ, or no object has both.
    """
    true, found = finite_pairs(labels, scores)
    noise, signals = found[true == 0], found[true == 1]
    both = bool(len(noise) and len(signals))
    area = roc(noise, signals).area if both else None
    return {
        "n": len(found),
        "n_signal": len(signals),
        "n_noise": len(noise),
        "area": area,
        "area_sigma": None if area is None else area_sigma(area, len(noise), len(signals)),
        "alarms": [
            alarm.as_dict()
            for alarm in (
                true_alarms(noise, signals, rates=allowed(len(noise)), least_noise=1) if both else ()
            )
        ],
    }


def allowed(n_noise: int) -> tuple[float, ...]:
    """Return those of `FALSE_ALARMS` that one of `n_noise` samples does not exceed.

    >>> allowed(50), allowed(100)
    ((0.05,), (0.01, 0.05))
    """
    return tuple(rate for rate in FALSE_ALARMS if n_noise >= math.ceil(1 / rate - 1e-9))


def check_name(definition: str) -> None:
    """Refuse a definition that does not exist.

    Raises
    ------
    ModelError
        Naming those there are.
    """
    if definition not in NAMES:
        raise ModelError(
            f"there is no definition of metrics {definition!r}",
            f"set target.definition to one of: {', '.join(NAMES)}",
        )


def check_suits(definition: str, head: Mapping[str, Any], column: str, *, said: bool) -> None:
    """Refuse a definition that does not measure what the head says, or that nobody has chosen for what is learnt.

    Parameters
    ----------
    definition : str
        One of `NAMES`.
    head : Mapping
        The preset's ``head``.
    column : str
        The column that is learnt.
    said : bool
        Whether the run file itself names the definition; its default is for columns that are called as redshifts.

    Raises
    ------
    ModelError
        Naming the definition to take.
    """
    binary = head["kind"] == "binary"
    if (head["kind"] == "pixel") != (definition == PIXELS):
        raise ModelError(
            f"target.definition {definition!r} does not measure what head {head['kind']!r} answers",
            f'set target.definition = "{PIXELS}" for classes of pixels, and for nothing else',
        )
    if definition == PIXELS:
        return
    if binary and definition != DETECTION:
        raise ModelError(
            f"target.definition {definition!r} measures {kind_of(definition)}, and head 'binary' answers with the "
            "probability of yes",
            f'set target.definition = "{DETECTION}", or take a preset with another head',
        )
    if definition == DETECTION and not binary:
        raise ModelError(
            f"target.definition {definition!r} measures the probability of yes, and head {head['kind']!r} answers "
            "with another number",
            f"set target.definition to {REGRESSION!r} or that of a redshift; or take a preset whose head is 'binary'",
        )
    if not said and not binary and not _LIKE_A_REDSHIFT.search(column):
        raise ModelError(
            f"target.definition is not said, and target.column {column!r} is not called as a redshift",
            f'set target.definition = "{REGRESSION}"; or "{definition}", if it is a redshift',
        )


def of_an_epoch(definition: str, labels: Array, predictions: Array) -> dict[str, float]:
    """Return the one number that a training tells of each epoch, by its name; NaN where it cannot be said.

    Of redshifts it is skymill's σ_NMAD, whatever the definition; else the RMSE, or the area under the ROC curve.

    >>> of_an_epoch("regression", np.array([1.0, 2.0]), np.array([1.0, np.nan]))
    {'val_rmse': 0.0}
    """
    kind = kind_of(definition)
    name = {REGRESSION: "val_rmse", DETECTION: "val_area"}.get(kind, "val_sigma_nmad")
    if not (np.isfinite(labels) & np.isfinite(predictions)).any():
        return {name: math.nan}
    if kind == REDSHIFT:
        return {name: photoz_metrics(labels, predictions).sigma_nmad}
    found = measure_by(definition, labels, predictions)["rmse" if kind == REGRESSION else "area"]
    return {name: math.nan if found is None else found}


def errors_of(definition: str, labels: Array, predictions: Array) -> Array:
    """Return how far each prediction is off, ``(n,)``: Δ of a redshift, else prediction - label.

    >>> errors_of("skymill", np.array([1.0]), np.array([1.2])).round(3).tolist()
    [0.1]
    """
    difference = np.asarray(predictions) - np.asarray(labels)
    return np.asarray(
        difference / (1 + np.asarray(labels)) if kind_of(definition) == REDSHIFT else difference
    )
