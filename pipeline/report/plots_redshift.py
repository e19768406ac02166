"""Plots of estimates against truth: scatter, residuals, calibration, and example PDFs."""

from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from model.pdfs import coverage
from pipeline.report.figure import BLUE, DENSE, GREEN, INK, MUTED, ORANGE, canvas, points, running, span
from pipeline.report.predictions import FINE_EDGES, Calibration, Cloud, Tally

FLOOR = 0.001
"""Shares of a histogram below this do not widen its axis."""


class Words:
    """How a target is called on axes: ``z_{spec}`` for redshifts, ``velDisp_{true}`` for others.

    A `number`, whatever its column, is called as in the catalogue: ``velDisp_{label}``.
    """

    def __init__(self, target: str, *, number: bool = False) -> None:
        redshift = target.lower() in {"z", "redshift", "z_spec", "specz"}
        self.symbol = "z" if redshift else target
        self.true = "z_{spec}" if redshift else f"{target}_{{true}}"
        self.estimate = "z_{phot}" if redshift else f"{target}_{{estimated}}"
        if number:
            self.symbol, self.true, self.estimate = target, f"{target}_{{label}}", f"{target}_{{predicted}}"
        self.residual = f"Δ = ({self.estimate} − {self.true}) / (1 + {self.true})"
        self.difference = f"{self.estimate} − {self.true}"


def frame(cloud: Cloud) -> tuple[float, float]:
    """Return the range of both axes of `estimates`; some extreme values may lie outside."""
    return span(np.concatenate([cloud.z_spec, cloud.z_phot]))


def reach_of(delta: NDArray[Any], threshold: float) -> float:
    """Return the largest |Δ| that `residuals` shows."""
    return float(max(np.percentile(np.abs(delta), 99), 1.25 * threshold))


def estimates(cloud: Cloud, words: Words, *, threshold: float) -> str:
    """Draw estimate against truth, with the line of equality and those of outliers."""
    low, high = frame(cloud)
    line = np.array([low, high])
    with canvas("estimates", size_in=(4.6, 3.9)) as drawn:
        axes = drawn.axes
        points(drawn, cloud.z_spec, cloud.z_phot, ((low, high), (low, high)))
        axes.plot(line, line, color=INK, lw=1.0)
        for sign in (-1, 1):
            axes.plot(line, line + sign * threshold * (1 + line), color=ORANGE, lw=1.1, ls=(0, (4, 3)))
        axes.set(xlim=line, ylim=line, xlabel=words.true, ylabel=words.estimate, aspect="equal")
    return drawn.svg


def residuals(cloud: Cloud, x: NDArray[Any], *, name: str, label: str, words: Words, threshold: float) -> str:
    """Draw Δ against `x`, with its running median and the band that holds 68 %."""
    good = np.isfinite(x)
    x, y = x[good], cloud.delta[good]
    reach = reach_of(cloud.delta, threshold)
    with canvas(name, size_in=(4.6, 3.9)) as drawn:
        axes = drawn.axes
        points(drawn, x, y, (span(x, tail=0.1), (-reach, reach)))
        axes.axhline(0, color=INK, lw=0.8)
        for sign in (-1, 1):
            axes.axhline(sign * threshold, color=ORANGE, lw=1.1, ls=(0, (4, 3)))
        centres, median, below, above = running(x, y)
        axes.plot(centres, median, color=INK, lw=1.6, marker="o", ms=2.8, label="running median")
        shade = 0.14 if len(x) < DENSE else 0.06
        axes.fill_between(centres, below, above, color=INK, alpha=shade, lw=0, label="68 % band")
        for edge in (below, above):
            axes.plot(centres, edge, color=INK, lw=0.9, ls=(0, (1, 1.4)))
        axes.set(xlim=span(x, tail=0.1), ylim=(-reach, reach), xlabel=label, ylabel=words.residual)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, handlelength=1.8, borderpad=0.1)
    return drawn.svg


def distribution(tally: Tally, words: Words, *, name: str) -> str:
    """Draw the histogram of a sample's estimates, and of its labels where there are any."""
    total = tally.z_phot + tally.z_spec
    used = np.flatnonzero(total > FLOOR * total.max())
    first, last = int(used[0]), int(used[-1]) + 1
    step = max(1, (last - first) // 40)
    last = first + -(-(last - first) // step) * step
    with canvas(name, size_in=(4.6, 3.4)) as drawn:
        for histogram, colour, label in (
            (tally.z_phot, BLUE, words.estimate),
            (tally.z_spec, ORANGE, words.true),
        ):
            counts = np.pad(histogram, (0, step))[first:last].reshape(-1, step).sum(1)
            edges = FINE_EDGES[0] + np.arange(first, last + 1, step) * (FINE_EDGES[1] - FINE_EDGES[0])
            if counts.sum():
                drawn.axes.stairs(counts, edges, color=colour, lw=1.5, label=label)
        drawn.axes.set(xlabel=words.symbol, ylabel=f"galaxies per {step * 0.005:g}", ylim=(0, None))
        drawn.axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}".replace(",", "\u202f"))
        drawn.axes.legend(loc="upper right")
    return drawn.svg


def pit_histogram(calibration: Calibration) -> str:
    """Draw the PIT's density; the band is where 95 % of bars of a calibrated network would end."""
    bins, n = 20, len(calibration.pit)
    counts, edges = np.histogram(calibration.pit, bins, (0, 1))
    noise = 1.96 * np.sqrt((1 - 1 / bins) * bins / n)
    with canvas("pit", size_in=(4.6, 3.1)) as drawn:
        drawn.axes.stairs(counts * bins / n, edges, fill=True, color=BLUE, alpha=0.55)
        drawn.axes.axhspan(max(0, 1 - noise), 1 + noise, color=MUTED, alpha=0.25, lw=0)
        drawn.axes.axhline(1, color=INK, lw=1)
        drawn.axes.set(xlim=(0, 1), ylim=(0, None), xlabel="PIT", ylabel="density")
    return drawn.svg


def coverage_curve(calibration: Calibration) -> str:
    """Draw the share of truths inside central intervals against the probability these should hold."""
    levels = np.linspace(0, 1, 51)
    found = coverage(calibration.pit, levels)
    with canvas("coverage", size_in=(4.6, 3.1)) as drawn:
        drawn.axes.plot([0, 1], [0, 1], color=INK, lw=1)
        drawn.axes.plot(levels, found, color=BLUE, lw=2)
        for level in (0.6827, 0.9545):
            inside = float(coverage(calibration.pit, np.array([level]))[0])
            drawn.axes.plot([level], [inside], "o", color=ORANGE, ms=5)
            drawn.axes.annotate(
                f"{100 * inside:.1f} % in the {100 * level:.0f} % interval",
                (level, inside),
                (-7, 6),
                textcoords="offset points",
                ha="right",
            )
        drawn.axes.set(
            xlim=(0, 1), ylim=(0, 1.03), xlabel="probability of the central interval", ylabel="share inside"
        )
    return drawn.svg


def pdf(
    probabilities: NDArray[Any], edges: NDArray[Any], *, values: tuple[float, float], words: Words, name: str
) -> str:
    """Draw one PDF with `values`: the truth (solid) and the estimate (dashed)."""
    z_spec, z_phot = values
    density = probabilities / np.diff(edges)
    held = np.flatnonzero(density > 0.003 * density.max())
    low, high = min(edges[held[0]], z_spec, z_phot), max(edges[held[-1] + 1], z_spec, z_phot)
    margin = 0.08 * (high - low)
    with canvas(name, size_in=(2.7, 1.9)) as drawn:
        drawn.axes.stairs(density, edges, fill=True, color=BLUE, alpha=0.35)
        drawn.axes.stairs(density, edges, color=BLUE, lw=1.2)
        drawn.axes.axvline(z_spec, color=ORANGE, lw=1.6)
        drawn.axes.axvline(z_phot, color=GREEN, lw=1.2, ls=(0, (4, 2)))
        drawn.axes.set(xlim=(low - margin, high + margin), ylim=(0, None))
        drawn.axes.set(xlabel=words.symbol, ylabel=f"p({words.symbol})")
        drawn.axes.xaxis.set_major_locator(MaxNLocator(4))
        drawn.axes.yaxis.set_major_locator(MaxNLocator(4))
    return drawn.svg
