"""Plots of the work: sky, training and throughput."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import NDArray

from pipeline.report.cubes import Sky
from pipeline.report.figure import BLUE, INK, MUTED, ORANGE, PAPER, canvas
from schemas.ledger_rows import TimelinePoint

CENTRE_DEG = 180.0
"""Right ascension in the middle of the sky map; that of SDSS's northern cap."""
CLOSE_DEG = 40.0
"""A footprint smaller than this is shown close up as well."""
TIME_BINS = 60


def sky(positions: Mapping[str, Sky], *, compact: bool = False) -> str:
    """Draw fetched and failed galaxies on the whole sky, Mollweide's equal-area projection.

    In a `compact` footprint failures lie below, as their marks would cover all of it.
    """
    with canvas("sky", size_in=(5.6, 3.3), projection="mollweide") as drawn:
        for label, ra, dec, style in _layers(positions):
            x = -np.radians((ra - CENTRE_DEG + 180) % 360 - 180)
            below = compact and label == "failed"
            drawn.axes.plot(x, np.radians(dec), label=label, zorder=2 if below else 3, **style)
        ticks = np.arange(-120, 121, 60)
        behind = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
        labels = [f"{(CENTRE_DEG - t) % 360:.0f}°" for t in ticks]
        drawn.axes.set_xticks(np.radians(ticks), labels, color=MUTED, bbox=behind)
        drawn.axes.set_yticks(np.radians([-60, -30, 0, 30, 60]), ["−60°", "−30°", "0°", "30°", "60°"])
        drawn.axes.set_longitude_grid_ends(90)
        drawn.axes.set_xlabel("right ascension, J2000")
        drawn.axes.set_ylabel("declination, J2000")
        drawn.axes.legend(loc="upper right", bbox_to_anchor=(1.02, 1.1), markerscale=2.5)
    return drawn.svg


def close_up(positions: Mapping[str, Sky]) -> str | None:
    """Draw the footprint itself where it is small; None where the whole sky shows it well enough."""
    layers = list(_layers(positions))
    ra = np.concatenate([layer[1] for layer in layers])
    dec = np.concatenate([layer[2] for layer in layers])
    middle = float(np.degrees(np.angle(np.exp(1j * np.radians(ra)).mean())))
    offset = (ra - middle + 180) % 360 - 180
    if np.ptp(offset) > CLOSE_DEG or np.ptp(dec) > CLOSE_DEG:
        return None
    with canvas("close", size_in=(4.6, 3.7)) as drawn:
        for label, part_ra, part_dec, style in layers:
            x = middle % 360 + (part_ra - middle + 180) % 360 - 180
            drawn.axes.plot(x, part_dec, label=label, **style)
        drawn.axes.set_aspect(1 / np.cos(np.radians(dec.mean())), adjustable="datalim")
        drawn.axes.invert_xaxis()
        drawn.axes.set(xlabel="right ascension, J2000 [deg]", ylabel="declination, J2000 [deg]")
    return drawn.svg


def training(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Draw both losses by epoch, of each member of an ensemble, and ring the lowest validation loss of each."""
    alone = len(histories) == 1
    with canvas("training", size_in=(5.2, 3.1)) as drawn:
        everything = []
        for number, history in enumerate(histories.values()):
            epochs = np.array([entry["epoch"] for entry in history])
            for key, label, colour in (("loss", "training", BLUE), ("val_loss", "validation", ORANGE)):
                values = np.array([_number(entry.get(key)) for entry in history])
                if np.isfinite(values).any():
                    style = {"lw": 1.6, "marker": "o", "ms": 2.5} if alone else {"lw": 1.0, "alpha": 0.8}
                    named = {} if number else {"label": label}
                    drawn.axes.plot(epochs, values, color=colour, **style, **named)
                    everything.append(values)
            if (best := best_epoch(history)) is not None:
                size = 9 if alone else 5
                drawn.axes.plot(
                    [best["epoch"]], [best["val_loss"]], "o", ms=size, mfc="none", mec=INK, mew=1.2
                )
                if alone:
                    drawn.axes.axvline(best["epoch"], color=MUTED, lw=0.8, ls=(0, (2, 2)), zorder=0)
        _loss_axis(drawn.axes, np.concatenate(everything or [np.zeros(1)]))
        drawn.axes.set(xlabel="epoch", ylabel="loss")
        drawn.axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        drawn.axes.legend(loc="upper right")
    return drawn.svg


def best_epoch(history: Sequence[Mapping[str, float]]) -> Mapping[str, float] | None:
    """Return the epoch with the lowest finite validation loss, None if there is none."""
    finite = [entry for entry in history if np.isfinite(_number(entry.get("val_loss")))]
    return min(finite, key=lambda entry: entry["val_loss"]) if finite else None


def throughput(stage: str, units: Sequence[TimelinePoint]) -> str:
    """Draw a stage's rows per second over time; each receipt's rows are spread over the time it took."""
    ends = np.array([unit.ended.timestamp() for unit in units])
    starts = ends - np.array([unit.seconds for unit in units])
    edges = np.linspace(starts.min(), max(ends.max(), starts.min() + 1e-3), TIME_BINS + 1)
    rate = np.zeros(TIME_BINS)
    for unit, start, end in zip(units, starts, ends, strict=True):
        overlap = np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0, None)
        rate += unit.rows * overlap / max(float(overlap.sum()), 1e-9)
    rate /= np.diff(edges)
    scale, unit_name = _time_unit(float(edges[-1] - edges[0]))
    with canvas(f"rate-{stage}", size_in=(4.6, 2.7)) as drawn:
        drawn.axes.stairs(rate, (edges - edges[0]) / scale, fill=True, color=BLUE, alpha=0.35)
        drawn.axes.stairs(rate, (edges - edges[0]) / scale, color=BLUE, lw=1.3)
        drawn.axes.set(xlabel=f"time since the stage began [{unit_name}]", ylabel="rows / s", ylim=(0, None))
        drawn.axes.margins(x=0)
        drawn.axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}".replace(",", "\u202f"))
    return drawn.svg


def _layers(
    positions: Mapping[str, Sky],
) -> list[tuple[str, NDArray[Any], NDArray[Any], dict[str, Any]]]:
    """Return what is drawn on the sky: failures above, and told apart by shape as well as by colour."""
    styles = {
        "fetched": {"ls": "", "marker": ".", "ms": 2.4, "mew": 0, "color": "#3f93c9", "alpha": 0.6},
        "failed": {"ls": "", "marker": "x", "ms": 3.2, "mew": 0.9, "color": "#dd6a12"},
    }
    return [
        (name, found.ra, found.dec, {**styles[name], "rasterized": len(found.ra) > 1500})
        for name, found in positions.items()
        if len(found.ra)
    ]


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)  # the ledger keeps no NaN


def _loss_axis(axes: Any, values: NDArray[Any]) -> None:
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > 10 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(LogLocator(subs=()))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _time_unit(seconds: float) -> tuple[float, str]:
    return (1.0, "s") if seconds < 180 else (60.0, "min") if seconds < 3 * 3600 else (3600.0, "h")
