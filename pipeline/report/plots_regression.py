"""Plots of predicted numbers against labels, and of how far they are off."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.report.figure import BLUE, DENSE, INK, ORANGE, canvas, points, running, span
from pipeline.report.plots_redshift import Words
from pipeline.report.predictions import Cloud

BINS = 40
_LOG_FROM = 30.0
"""A column whose highest value is so many times its lowest has a logarithmic axis."""


def predictions(cloud: Cloud, words: Words) -> str:
    """Draw predictions against labels, with the line of equality; their density where they are many."""
    low, high = span(np.concatenate([cloud.z_spec, cloud.z_phot]))
    with canvas("estimates", size_in=(4.6, 3.9)) as drawn:
        points(drawn, cloud.z_spec, cloud.z_phot, ((low, high), (low, high)))
        drawn.axes.plot([low, high], [low, high], color=INK, lw=1.0)
        drawn.axes.set(xlim=(low, high), ylim=(low, high), xlabel=words.true, ylabel=words.estimate)
        drawn.axes.set_aspect("equal")
    return drawn.svg


def relation(binned: Sequence[Mapping[str, Any]], words: Words) -> str:
    """Draw the median prediction and the interval of 16 to 84 % in bins of the label (`model.regression.Bin`)."""
    label, middle, low, high = (
        np.array([one[name] for one in binned]) for name in ("label", "median", "p16", "p84")
    )
    ends = min(label.min(), low.min()), max(label.max(), high.max())
    margin = 0.06 * (ends[1] - ends[0]) or 0.01
    limits = ends[0] - margin, ends[1] + margin
    with canvas("relation", size_in=(4.6, 3.9)) as drawn:
        drawn.axes.plot(limits, limits, color=INK, lw=1.0)
        drawn.axes.errorbar(
            label, middle, (middle - low, high - middle), fmt="o", color=BLUE, ms=5, lw=1.4, capsize=3
        )
        drawn.axes.set(xlim=limits, ylim=limits, xlabel=words.true, ylabel=words.estimate, aspect="equal")
    return drawn.svg


def residuals(cloud: Cloud, words: Words) -> str:
    """Draw the histogram of prediction - label, with zero and the median."""
    difference = cloud.z_phot - cloud.z_spec
    low, high = span(difference, tail=0.5)
    counts, edges = np.histogram(difference, BINS if len(difference) >= 200 else 16, (low, high))
    with canvas("residuals", size_in=(4.6, 3.4)) as drawn:
        drawn.axes.stairs(counts, edges, fill=True, color=BLUE, alpha=0.55)
        drawn.axes.axvline(0, color=INK, lw=1)
        drawn.axes.axvline(np.median(difference), color=ORANGE, lw=1.4, ls=(0, (4, 2)), label="median")
        drawn.axes.set(xlim=(low, high), ylim=(0, None), xlabel=words.difference, ylabel="galaxies")
        drawn.axes.legend(loc="upper right")
    return drawn.svg


def deviations(x: NDArray[Any], y: NDArray[Any], *, name: str, label: str, words: Words) -> str:
    """Draw prediction - label against `x`, with its running median and the band that holds 68 %."""
    good = np.isfinite(x)
    x, y = x[good], y[good]
    limits, reach = span(x, tail=0.1), float(np.percentile(np.abs(y), 99)) or 0.01
    with canvas(name, size_in=(4.6, 3.9)) as drawn:
        points(drawn, x, y, (limits, (-reach, reach)))
        drawn.axes.axhline(0, color=INK, lw=0.8)
        centres, median, below, above = running(x, y)
        drawn.axes.plot(centres, median, color=INK, lw=1.6, marker="o", ms=2.8, label="running median")
        shade = 0.14 if len(x) < DENSE else 0.06
        drawn.axes.fill_between(centres, below, above, color=INK, alpha=shade, lw=0, label="68 % band")
        drawn.axes.set(xlim=limits, ylim=(-reach, reach), xlabel=label, ylabel=words.difference)
        drawn.axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, handlelength=1.8, borderpad=0.1)
    return drawn.svg


def axis(name: str, x: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    """Return an axis's label and what is drawn along it: the logarithm of values that span decades."""
    known = x[np.isfinite(x)]
    return (f"log₁₀ {name}", np.log10(x)) if len(known) and spans_decades(known) else (name, x)


def spans_decades(x: NDArray[Any]) -> bool:
    """Whether the logarithm of values says more than they do themselves; they are finite."""
    return bool(x.min() > 0 and x.max() >= _LOG_FROM * x.min())
