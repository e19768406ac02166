"""How well a detector tells signal from noise: the ROC curve, and true alarms at a fixed rate of false ones.

A score above a threshold is an alarm. The false-alarm probability is the share of noise-only samples that alarm,
the true-alarm probability that of samples with a signal (Zhang et al. 2022, PRD 105, 123027). Bands are binomial:
sqrt(p (1 - p) / n), one sigma.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ModelError

Array = NDArray[Any]

FALSE_ALARMS = (0.01, 0.05)
"""The rates that published detectors state; the paper's own is not known, so both are reported."""
LEAST_NOISE = 10_000
"""Noise-only scores that a rate of 1 % needs: 100 false alarms, a threshold good to 10 % of its rate."""


@dataclass(frozen=True)
class Roc:
    """A receiver operating characteristic: arrays ``(k,)`` from the strictest threshold to the loosest.

    ``*_sigma`` are binomial 1-sigma half-widths; ``area`` is the probability that a signal scores above noise,
    ties counted half.
    """

    threshold: Array
    false_alarm: Array
    true_alarm: Array
    false_alarm_sigma: Array
    true_alarm_sigma: Array
    area: float
    n_noise: int
    n_signal: int


@dataclass(frozen=True)
class TrueAlarm:
    """The true-alarm probability at one false-alarm rate.

    ``false_alarm`` is the rate asked for, ``false_alarm_found`` that of the threshold: never above it, below it
    where scores are equal. ``n_noise`` and ``n_signal`` are the numbers the two rest on.
    """

    false_alarm: float
    false_alarm_found: float
    threshold: float
    true_alarm: float
    true_alarm_sigma: float
    n_noise: int
    n_signal: int

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as JSON-able values."""
        return asdict(self)


def binomial_sigma(probability: Any, n: int) -> Any:
    """Return the 1-sigma half-width of a share found among `n`, shaped as `probability`."""
    return np.sqrt(np.asarray(probability) * (1 - np.asarray(probability)) / n)


def area_sigma(area: float, n_noise: int, n_signal: int) -> float:
    """Return the standard error of the area under a ROC curve.

    Hanley and McNeil 1982, equation 1, with their Q1 = A / (2 - A) and Q2 = 2 A² / (1 + A).

    >>> round(area_sigma(0.9, 50, 50), 4)
    0.0321
    """
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (n_signal - 1) * (q1 - area**2) + (n_noise - 1) * (q2 - area**2)
    return float(np.sqrt(max(0.0, variance) / (n_noise * n_signal)))


def roc(noise_scores: Array, signal_scores: Array) -> Roc:
    """Return the ROC curve of scores, one point a distinct score, with (0, 0) first and (1, 1) last.

    Parameters
    ----------
    noise_scores, signal_scores : ndarray
        Scores of samples without and with a signal, ``(n,)`` and ``(m,)``; higher means signal.

    Raises
    ------
    ModelError
        One of the two is empty, or has a score that is not finite.

    >>> roc(np.array([0.1, 0.2]), np.array([0.3, 0.15])).area
    0.75
    """
    noise, signals = _checked(noise_scores, "noise-only"), _checked(signal_scores, "signal")
    threshold = np.concatenate([[np.inf], np.unique(np.concatenate([noise, signals]))[::-1]])
    # At least, not above: the curve's points are those of alarms from this score on.
    false, true = (1 - np.searchsorted(s, threshold, side="left") / s.size for s in (noise, signals))
    return Roc(
        threshold=threshold,
        false_alarm=false,
        true_alarm=true,
        false_alarm_sigma=binomial_sigma(false, noise.size),
        true_alarm_sigma=binomial_sigma(true, signals.size),
        area=float(np.trapezoid(true, false)),
        n_noise=int(noise.size),
        n_signal=int(signals.size),
    )


def threshold_at(noise_scores: Array, false_alarm: float, *, least_noise: int = LEAST_NOISE) -> float:
    """Return the lowest threshold above which at most this share of noise-only scores lies.

    Parameters
    ----------
    noise_scores : ndarray
        Scores of samples without a signal, ``(n,)``.
    false_alarm : float
        Share in (0, 1).
    least_noise : int
        Fewer scores than this are refused.

    Raises
    ------
    ModelError
        There are too few scores, one is not finite, or the share is no share.
    """
    noise = _checked(noise_scores, "noise-only")
    if noise.size < least_noise:
        raise ModelError(
            f"expected at least {least_noise} noise-only scores for a false-alarm rate of {false_alarm:g},"
            f" found {noise.size}",
            "predict more noise-only samples",
        )
    if not 0 < false_alarm < 1:
        raise ModelError(f"expected a false-alarm rate between 0 and 1, found {false_alarm}", "choose 0.01")
    allowed = int(np.floor(false_alarm * noise.size + 1e-9))
    return float(noise[noise.size - 1 - allowed])


def true_alarms(
    noise_scores: Array,
    signal_scores: Array,
    *,
    rates: Sequence[float] = FALSE_ALARMS,
    least_noise: int = LEAST_NOISE,
) -> list[TrueAlarm]:
    """Return the true-alarm probability at each false-alarm rate.

    Parameters
    ----------
    noise_scores, signal_scores : ndarray
        Scores of samples without and with a signal, ``(n,)`` and ``(m,)``; higher means signal.
    rates : sequence of float
        False-alarm rates.
    least_noise : int
        See `threshold_at`.

    Raises
    ------
    ModelError
        As `threshold_at`, or there is no signal, or a signal's score is not finite.
    """
    noise, signals = _checked(noise_scores, "noise-only"), _checked(signal_scores, "signal")
    found = []
    for rate in rates:
        threshold = threshold_at(noise, rate, least_noise=least_noise)
        true = float(np.mean(signals > threshold))
        found.append(
            TrueAlarm(
                false_alarm=float(rate),
                false_alarm_found=float(np.mean(noise > threshold)),
                threshold=threshold,
                true_alarm=true,
                true_alarm_sigma=float(binomial_sigma(true, signals.size)),
                n_noise=int(noise.size),
                n_signal=int(signals.size),
            )
        )
    return found


def _checked(scores: Array, kind: str) -> NDArray[np.float64]:
    """Return finite scores in ascending order."""
    values = np.sort(np.asarray(scores, np.float64).ravel())
    if values.size == 0 or not np.isfinite(values).all():
        bad = int(np.count_nonzero(~np.isfinite(values)))
        raise ModelError(
            f"expected finite {kind} scores, found {values.size} of which {bad} are not finite",
            "leave out samples that were not predicted",
        )
    return values
