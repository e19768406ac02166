"""Recalibration: PDFs and errors that say how often they are right, by what `model.recalibration_fits` has learnt.

NumPy only, since every worker that predicts applies it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.estimates import Estimates, estimate
from model.pdfs import cumulative, normalised
from schemas.errors import ModelError

Array = NDArray[Any]

KINDS: Mapping[str, str] = {"gaussian": "alpha", "bins": "pit"}
"""Of the heads that can be recalibrated: the kind that suits them."""


def recalibrated(found: Estimates, head: Mapping[str, Any], fitted: Mapping[str, Any]) -> Estimates:
    """Return estimates recalibrated: read once more from mended PDFs, or with other errors.

    Raises
    ------
    ModelError
        `fitted` does not suit the head.
    """
    if fitted["kind"] == "alpha" and found.pdf is None:
        return replace(found, error=(found.error * fitted["alpha"]).astype(np.float32))
    if found.pdf is None:
        raise ModelError(
            f"head {head['kind']!r} cannot be recalibrated by {fitted['kind']!r}",
            "set recalibration.kind to auto",
        )
    return estimate(recalibrate(found.pdf, fitted), head)


def recalibrate(pdf: Array, fitted: Mapping[str, Any]) -> Array:
    """Return PDFs recalibrated by a map of the PIT that was learnt, as probabilities.

    A row that cannot be normalised is NaN, as it was.

    Raises
    ------
    ModelError
        `fitted` is not a recalibration of PDFs.
    """
    if fitted.get("kind") != KINDS["bins"]:
        raise ModelError(
            f"PDFs cannot be recalibrated by {fitted.get('kind')!r}", f"learn {KINDS['bins']!r} from them"
        )
    total = np.minimum(cumulative(normalised(pdf)), 1.0)
    total[:, -1] = np.where(np.isnan(total[:, -1]), np.nan, 1.0)  # a sum of many terms is not quite 1
    return np.asarray(np.maximum(np.diff(mapped(total, fitted), axis=1), 0))


def mapped(values: Array, fitted: Mapping[str, Any]) -> Array:
    """Return cumulative probabilities by the map of the PIT: its cubic pieces (Hermite's form), clipped to [0, 1]."""
    x, y, slope = (np.asarray(fitted[key], np.float64) for key in ("pit", "level", "slope"))
    place = np.clip(np.searchsorted(x, values, side="right") - 1, 0, len(x) - 2)
    width, rise = np.diff(x)[place], np.diff(y)[place]
    t = (values - x[place]) / width
    bend = (1 - t) * (width * slope[place] - rise) - t * (width * slope[place + 1] - rise)
    return np.asarray(np.clip(y[place] + t * (rise + (1 - t) * bend), 0, 1))
