"""From a head's answer to a redshift, its uncertainty and flags. NumPy only."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.pdfs import mode_of
from schemas.errors import ModelError
from schemas.flags import PredictionFlag

Array = NDArray[Any]

_SECOND_PEAK = 0.5
_WIDE = 0.1


@dataclass(frozen=True)
class Estimates:
    """What is said of n objects: ``z``, ``error``, ``flags`` ``(n,)`` and ``pdf`` ``(n, bins)`` or None.

    ``error`` is the standard deviation of the PDF; NaN for a head without one.
    """

    z: Array
    error: Array
    flags: Array
    pdf: Array | None


def bin_edges(head: Mapping[str, Any]) -> Array:
    """Return the edges of the bins of a PDF head, ``(bins + 1,)``.

    >>> bin_edges({"z_min": 0.0, "z_max": 0.4, "bins": 2}).tolist()
    [0.0, 0.2, 0.4]
    """
    return np.linspace(head["z_min"], head["z_max"], head["bins"] + 1)


def answer_width(head: Mapping[str, Any], shape: tuple[int, ...] = ()) -> int:
    """Return how many numbers an answer of `model.heads.summarise` has, to images of `shape` (y, x)."""
    if head["kind"] == "pixel":
        return math.prod(shape) * len(head["classes"])
    return int(head["bins"]) if head["kind"] == "bins" else 2 if head["kind"] == "gaussian" else 1


def estimate(answer: Array, head: Mapping[str, Any]) -> Estimates:
    """Read the answer of `model.heads.summarise`: values ``(n, 1)``, with errors ``(n, 2)``, or PDFs ``(n, bins)``."""
    if head["kind"] == "pixel":
        raise ModelError(
            "head 'pixel' says classes of pixels, and no number of an object",
            "classify fields with it: name them as [fields.NAME] in the run file",
        )
    if head["kind"] != "bins":
        z = np.asarray(answer[:, 0], np.float32)
        error = (
            np.asarray(answer[:, 1], np.float32) if head["kind"] == "gaussian" else np.full_like(z, np.nan)
        )
        finite, nothing = np.isfinite(z), np.float32(np.nan)
        flags = np.where(finite, 0, int(PredictionFlag.NOT_FINITE)).astype(np.int32)
        return Estimates(np.where(finite, z, nothing), np.where(finite, error, nothing), flags, None)
    edges = bin_edges(head)
    pdf = np.asarray(answer, np.float64)
    middle = (edges[1:] + edges[:-1]) / 2
    mean = (pdf * middle).sum(1)
    variance = (pdf * (middle - mean[:, None]) ** 2).sum(1) + np.diff(edges).mean() ** 2 / 12
    error = np.sqrt(variance)
    others = {"median": median_of, "mode": mode_of}
    z = mean if head["estimate"] == "mean" else others[head["estimate"]](pdf, edges)
    return Estimates(z.astype(np.float32), error.astype(np.float32), _flags(pdf, z, error, edges), answer)


def combine(answers: Array, head: Mapping[str, Any]) -> Estimates:
    """Read the answers of several networks, or passes of one, to the same n objects: ``(m, n, width)``.

    They are taken as equally likely. PDFs are averaged; the mixture's mean is the mean of their means, and its
    variance is, by the law of total variance,

        error² = mean of their variances + variance of their means

    so the spread between them is a part of ``error``. A head without errors has the second term alone, the standard
    deviation ``sqrt(mean((z_m - mean(z))²))``, and NaN for a single answer.
    """
    if len(answers) == 1:
        return estimate(answers[0], head)
    mean = np.asarray(answers, np.float64).mean(0).astype(np.float32)
    found = estimate(mean, head)
    if head["kind"] == "bins":
        return found
    with np.errstate(invalid="ignore"):  # of infinite answers
        variance = np.asarray(answers[..., 0], np.float64).var(0)
        if head["kind"] == "gaussian":
            variance = variance + (np.asarray(answers[..., 1], np.float64) ** 2).mean(0)
        spread = np.sqrt(variance).astype(np.float32)
    return replace(found, error=np.where(np.isfinite(found.z), spread, np.float32(np.nan)))


def median_of(pdf: Array, edges: Array) -> Array:
    """Return the z at which each cumulative PDF passes one half, linear in a bin."""
    cumulative = np.cumsum(pdf, axis=1)
    place = np.minimum((cumulative < 0.5).sum(1), pdf.shape[1] - 1)
    rows = np.arange(len(pdf))
    below = cumulative[rows, place] - pdf[rows, place]
    share = np.clip((0.5 - below) / np.maximum(pdf[rows, place], 1e-12), 0, 1)
    return np.asarray(edges[place] + share * np.diff(edges)[place])


def _flags(pdf: Array, z: Array, error: Array, edges: Array) -> Array:
    flags = np.zeros(len(pdf), np.int32)
    flags[(z < edges[1]) | (z > edges[-2])] |= PredictionFlag.EDGE
    flags[_has_second_peak(pdf)] |= PredictionFlag.MULTIMODAL
    flags[error > _WIDE * (1 + z)] |= PredictionFlag.WIDE
    flags[~np.isfinite(z)] = PredictionFlag.NOT_FINITE
    return flags


def _has_second_peak(pdf: Array) -> Array:
    """Say which PDFs have a second maximum at least half as high as the first, with a dip between them.

    A dip is a bin below half of the lower of the highest values on its two sides, so that a ripple on a broad
    peak is not called a second one.
    """
    left = np.maximum.accumulate(pdf, axis=1)
    right = np.maximum.accumulate(pdf[:, ::-1], axis=1)[:, ::-1]
    lower = np.minimum(left, right)
    dip = (lower >= _SECOND_PEAK * left[:, -1:]) & (pdf < _SECOND_PEAK * lower)
    return np.asarray(dip.any(1))
