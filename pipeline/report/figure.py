"""Figures that follow the page: inline SVG whose text is text and whose colours are CSS variables."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.report.intervals import are_classes

INK, MUTED, LINE, PAPER = "#101112", "#6a6b6c", "#d0d1d2", "#fdfdfc"
BLUE, ORANGE, GREEN = "#0072b3", "#d55e01", "#009e74"
"""Stand-ins that become CSS variables, so that a figure has the page's colours by day and by night.

The last three are Okabe and Ito's blue, vermillion and bluish green, safe for colour-blind readers.
"""
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    PAPER: "paper",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
}

DENSITY = matplotlib.colors.LinearSegmentedColormap.from_list(
    "density", matplotlib.colormaps["viridis"](np.linspace(0.2, 0.92, 128))
)
"""Viridis without its ends, which vanish on a dark or on a light page."""

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "skymill",
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.5,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "figure.dpi": 144,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}

SUBSCRIPT = r'<tspan font-size="78%" dy="0.28em">\1</tspan><tspan dy="-0.22em">&#8203;</tspan>'
"""Lowered text, and a character of no width that brings the line back up."""


DENSE = 2500
"""From this number of points on a plot shows their density instead of each."""
CELLS = 90


class Canvas:
    """A figure being drawn; ``svg`` holds the finished markup once its `canvas` block is left."""

    def __init__(self, size_in: tuple[float, float], projection: str | None) -> None:
        self.figure = Figure(figsize=size_in, layout="constrained")
        self.axes: Any = self.figure.add_subplot(projection=projection)
        self.svg = ""


@contextmanager
def canvas(
    name: str, *, size_in: tuple[float, float] = (4.6, 3.45), projection: str | None = None
) -> Iterator[Canvas]:
    """Draw a figure in the report's style; `name` keeps its ids apart from other figures' on the page."""
    with matplotlib.rc_context(STYLE):
        drawn = Canvas(size_in, projection)
        yield drawn
        body = io.StringIO()
        FigureCanvasSVG(drawn.figure).print_svg(body, metadata={"Date": None, "Creator": None})
    drawn.svg = for_the_page(body.getvalue(), name)


def for_the_page(svg: str, name: str) -> str:
    """Turn Matplotlib's SVG file into an element of the page.

    The size is left to the page, colours become CSS variables, ``z_{spec}`` gets a real subscript (which
    needs no font of its own, as mathematics would), and ids get the prefix `name`.
    """
    svg = svg[svg.index("<svg") :]
    head, rest = svg.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head) + ' aria-hidden="true"'
    rest = re.sub(r"<(metadata|style)\b.*?</\1>", "", rest, flags=re.DOTALL)
    rest = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 var(--sans)", rest)  # before Matplotlib 3.10
    rest = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", rest)
    rest = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", rest)
    rest = re.sub(r"_\{(\w+)\}", SUBSCRIPT, rest)
    for colour, variable in VARIABLES.items():
        rest = re.sub(colour, f"var(--{variable})", rest, flags=re.IGNORECASE)
    return f"{head}>{rest}"


def running(
    x: NDArray[Any], y: NDArray[Any], *, bins: int = 16, least: int = 25
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return centres, medians, and 16th and 84th percentiles of `y` in bins of `x` that hold equally many.

    Fewer bins are made when they would hold fewer than `least` points; each class of an `x` of classes is one.
    """
    if are_classes(x):
        groups = [np.flatnonzero(x == value) for value in np.unique(x)]
    else:
        bins = max(1, min(bins, len(x) // least))
        groups = np.array_split(np.argsort(x, kind="stable"), bins)
    centres = np.array([np.median(x[g]) for g in groups])
    low, median, high = np.array([np.percentile(y[g], [15.87, 50, 84.13]) for g in groups]).T
    return centres, median, low, high


def span(values: NDArray[Any], *, tail: float = 0.2) -> tuple[float, float]:
    """Return a range that holds all but `tail` percent of values at each end, with a margin."""
    low, high = (float(v) for v in np.percentile(values, [tail, 100 - tail]))
    margin = 0.05 * (high - low) or 0.01
    return low - margin, high + margin


def points(drawn: Canvas, x: NDArray[Any], y: NDArray[Any], limits: tuple[tuple[float, float], ...]) -> None:
    """Draw points, or their density where they are many; `limits` are those of x and of y."""
    if len(x) < DENSE:
        drawn.axes.plot(x, y, ".", color=BLUE, ms=4.6, mew=0, alpha=0.55)
        return
    counts, xs, ys = np.histogram2d(x, y, bins=CELLS, range=limits)
    shown = np.ma.masked_equal(counts.T, 0)
    mesh = drawn.axes.pcolormesh(xs, ys, shown, cmap=DENSITY, norm=LogNorm(), rasterized=True)
    bar = drawn.figure.colorbar(mesh, ax=drawn.axes, pad=0.02, fraction=0.045, label="galaxies per cell")
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    bar.ax.yaxis.set_minor_formatter(lambda value, _: "")
    bar.outline.set_visible(False)
