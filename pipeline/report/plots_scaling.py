"""Plots of a scaling run."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from pipeline.report.figure import BLUE, GREEN, INK, LINE, MUTED, ORANGE, canvas
from pipeline.scale.laws import Fit
from pipeline.scale.measuring import Measurement

BEYOND = 2.0
"""The laws are drawn so many times beyond the largest number of nodes."""
PARTS = {"work": BLUE, "wait": GREEN, "io": ORANGE, "scheduler": MUTED, "idle": LINE}
STYLES = ((ORANGE, (0, (5, 2))), (GREEN, "-"))


def throughput(name: str, own: Sequence[Measurement], fits: Sequence[Fit]) -> str:
    """Draw throughput against nodes: measurements, the ideal line, and each law with its band."""
    with canvas(f"{name}-rate") as drawn:
        axes = drawn.axes
        x = _grid(own)
        ideal = _ideal(own)
        axes.plot(x, ideal * x, color=MUTED, lw=1.0, ls=(0, (1, 2)), label="ideal")
        for found, (colour, style) in zip(fits, STYLES, strict=True):
            if found.found:
                if not found.unsure:
                    axes.fill_between(x, *found.band(x), color=colour, alpha=0.18, lw=0)
                axes.plot(x, found.curve(x), color=colour, lw=1.4, ls=style, label=found.law.name)
        _points(axes, own, "rows_per_s")
        axes.set(xlabel="nodes", ylabel="rows / s", yscale="log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}".replace(",", "\u202f"))
        _node_axis(axes, own)
        axes.legend(loc="upper left")
    return drawn.svg


def efficiency(name: str, own: Sequence[Measurement], fits: Sequence[Fit]) -> str:
    """Draw efficiency against nodes, of the measurements and of each law."""
    with canvas(f"{name}-efficiency") as drawn:
        axes = drawn.axes
        x = _grid(own)
        ideal = _ideal(own)
        axes.axhline(1.0, color=MUTED, lw=1.0, ls=(0, (1, 2)))
        for found, (colour, style) in zip(fits, STYLES, strict=True):
            if found.found:
                axes.plot(
                    x, found.curve(x) / (ideal * x), color=colour, lw=1.4, ls=style, label=found.law.name
                )
        _points(axes, own, "efficiency")
        axes.set(xlabel="nodes", ylabel="efficiency", ylim=(0, None))
        _node_axis(axes, own)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(loc="lower left")
    return drawn.svg


def split(name: str, own: Sequence[Measurement]) -> str:
    """Draw where the time of the slots went, as shares, a bar for each number of nodes."""
    numbers = sorted({each.nodes for each in own})
    places = np.arange(len(numbers))
    with canvas(f"{name}-split") as drawn:
        bottom = np.zeros(len(numbers))
        for part, colour in PARTS.items():
            shares = np.array(
                [
                    np.mean([each.split.share(part) for each in own if each.nodes == number])
                    for number in numbers
                ]
            )
            drawn.axes.bar(places, shares, 0.62, bottom=bottom, color=colour, label=part)
            bottom += shares
        drawn.axes.set(xlabel="nodes", ylabel="share of the slots' time", ylim=(0, 1))
        drawn.axes.set_xticks(places, [str(number) for number in numbers])
        drawn.axes.grid(visible=False, axis="x")
        drawn.axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=len(PARTS))
    return drawn.svg


def _points(axes: Any, own: Sequence[Measurement], column: str) -> None:
    values = [getattr(each, column) for each in own]
    axes.plot(
        [each.nodes for each in own], values, "o", ms=4.5, mfc="none", mec=INK, mew=1.1, label="measured"
    )


def _ideal(own: Sequence[Measurement]) -> float:
    """Return the throughput a node, by the smallest number of nodes."""
    least = min(each.nodes for each in own)
    return float(np.median([each.rows_per_s for each in own if each.nodes == least])) / least


def _grid(own: Sequence[Measurement]) -> Any:
    least, most = min(each.nodes for each in own), max(each.nodes for each in own)
    return np.geomspace(least, BEYOND * most, 100)


def _node_axis(axes: Any, own: Sequence[Measurement]) -> None:
    axes.set_xscale("log", base=2)
    numbers = sorted({each.nodes for each in own})
    axes.xaxis.set_major_locator(FixedLocator([*numbers, round(BEYOND * numbers[-1])]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
