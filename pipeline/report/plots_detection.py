"""Plots of a detector: the ROC curve, scores by class, and true alarms against a column."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from model.detection import FALSE_ALARMS, Roc
from pipeline.report.figure import BLUE, INK, MUTED, ORANGE, canvas
from pipeline.report.plots_regression import spans_decades

BINS = 40
MOST_POINTS = 1500
"""Points of a curve that are drawn; more are thinned."""
_MANY_NOISE = 200
"""From so many samples without a signal on the axis of false alarms is logarithmic."""
_COLOURS = (ORANGE, BLUE)
"""Of the two false-alarm probabilities, the lower first."""


def roc(curve: Roc, *, name: str = "roc") -> str:
    """Draw true against false alarms, with the band of 1 σ and lines at the rates that are tabled."""
    keep = _thinned(curve)
    false, true, sigma = (
        values[keep] for values in (curve.false_alarm, curve.true_alarm, curve.true_alarm_sigma)
    )
    logarithmic = curve.n_noise >= _MANY_NOISE
    low = 0.5 / curve.n_noise if logarithmic else 0.0
    false = np.maximum(false, low)
    chance = np.geomspace(low, 1, 100) if logarithmic else np.array([0.0, 1.0])
    with canvas(name, size_in=(4.6, 3.9)) as drawn:
        axes = drawn.axes
        axes.plot(chance, chance, color=MUTED, lw=0.9, ls=(0, (1, 1.6)), label="chance")
        band = (np.clip(true - sigma, 0, 1), np.clip(true + sigma, 0, 1))
        axes.fill_between(false, *band, step="post", color=BLUE, alpha=0.25, lw=0, label="1 σ")
        axes.plot(false, true, drawstyle="steps-post", color=BLUE, lw=1.7)
        for rate in FALSE_ALARMS:
            axes.axvline(rate, color=ORANGE, lw=1.0, ls=(0, (4, 3)))
        if logarithmic:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set(xlim=(low, 1), ylim=(0, 1.02))
        axes.set(xlabel="false-alarm probability", ylabel="true-alarm probability")
        axes.legend(loc="lower right")
    return drawn.svg


def scores(noise: NDArray[Any], signals: NDArray[Any]) -> str:
    """Draw the histograms of the probabilities of both classes, as shares of each, on a logarithmic axis."""
    with canvas("scores", size_in=(4.6, 3.9)) as drawn:
        least = 1.0
        for values, colour, label in ((noise, ORANGE, "label 0"), (signals, BLUE, "label 1")):
            counts, edges = np.histogram(values, BINS if len(values) >= 200 else 20, (0, 1))
            if len(values):
                least = min(least, 1 / len(values))
                drawn.axes.stairs(counts / len(values), edges, color=colour, lw=1.6, label=label)
        drawn.axes.set_yscale("log")
        drawn.axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        drawn.axes.set(
            xlim=(0, 1), ylim=(0.5 * least, 1.5), xlabel="probability", ylabel="share of the class"
        )
        drawn.axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.1), ncols=2)
    return drawn.svg


def true_alarms(
    points: Mapping[float, Sequence[tuple[float, float, float]]], *, name: str, label: str
) -> str:
    """Draw true-alarm probabilities with 1 σ against a column; `points` ``(x, probability, σ)`` by false-alarm rate."""
    with canvas(name, size_in=(4.6, 3.6)) as drawn:
        for (rate, found), colour in zip(points.items(), _COLOURS, strict=False):
            x, y, sigma = np.array(found).T
            marks = {"marker": "o", "ms": 4.5, "lw": 1.3, "capsize": 3, "color": colour}
            drawn.axes.errorbar(x, y, sigma, label=f"at {100 * rate:g} % false alarms", **marks)
            if spans_decades(x):
                drawn.axes.set_xscale("log")
                drawn.axes.xaxis.set_minor_formatter(NullFormatter())
                drawn.axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        drawn.axes.axhline(0, color=INK, lw=0.6)
        drawn.axes.set(ylim=(-0.03, 1.03), xlabel=label, ylabel="true-alarm probability")
        drawn.axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderpad=0.1)
    return drawn.svg


def _thinned(curve: Roc) -> NDArray[np.int64]:
    """Return the places of the corners of a curve, or of some of them, those with few false alarms first of all."""
    n = len(curve.threshold)
    if n <= MOST_POINTS:
        return np.arange(n)
    spaced = np.r_[np.geomspace(1, n, MOST_POINTS // 2) - 1, np.linspace(0, n - 1, MOST_POINTS // 2)]
    return np.unique(spaced.astype(np.int64))
