"""The report's section on recalibration: what the calibration part said, before and after."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.report.errors import TOLD
from pipeline.report.facts import ReportFacts
from pipeline.report.figure import BLUE, INK, MUTED, ORANGE, canvas
from pipeline.report.markup import Raw, count, decimal, figure, grid, section, sentence, table

_WORDS = {"alpha": "the factor of Gaussian errors", "pit": "the map of the PIT"}
"""Probabilities of the central intervals whose coverage is in the table."""


def recalibration(facts: ReportFacts) -> Raw:
    """Write the section; nothing where a run was not asked to recalibrate."""
    found = facts.calibration
    if not found:
        return Raw("")
    done = "applied to every prediction" if found["applied"] else "not applied"
    told = (
        f"{count(found['rows'])} galaxies of the calibration part, which nothing was learnt from and which are not "
        f"among the test's, say of {_words(found)}: {found['why']}. It is {done}. What is said of “after” is of rows "
        "that it was not learnt from: a fifth each, by what the other four fifths have learnt."
    )
    left_out = found["left_out"]
    lost = sentence(f"{count(left_out)} without a finite prediction are left out.") if left_out else ""
    plots = grid(
        (
            figure(_pits(found), "PIT of the calibration part before (grey) and after. Line: calibrated."),
            figure(_coverage(found), "Coverage of central intervals before (grey) and after."),
        )
    )
    return section("recalibration", "Recalibration", sentence(told), lost, _table(found), plots)


def _words(found: Mapping[str, Any]) -> str:
    words, fitted = _WORDS[found["kind"]], found["fitted"]
    return f"{words} ({decimal(fitted['alpha'], digits=3)})" if "alpha" in fitted else words


def _table(found: Mapping[str, Any]) -> Raw:
    levels = found["coverage"]["levels"]
    rows = []
    for when in ("before", "after"):
        inside = dict(zip(levels, found["coverage"][when], strict=True))
        shares = [decimal(inside[level], digits=3) for level in TOLD]
        rows.append([when, decimal(found["ks"][when], digits=3), f"{found['p'][when]:.2g}", *shares])
    return table(["", "KS distance", "p if calibrated", *(f"coverage of {level:g}" for level in TOLD)], rows)


def _pits(found: Mapping[str, Any]) -> str:
    bars = found["pit_histogram"]
    edges = np.linspace(0, 1, len(bars["before"]) + 1)
    with canvas("recalibration-pit", size_in=(4.6, 3.1)) as drawn:
        for when, colour in (("before", MUTED), ("after", BLUE)):
            density = np.array(bars[when]) * len(bars[when]) / found["rows"]
            drawn.axes.stairs(density, edges, color=colour, lw=1.6, label=when)
        drawn.axes.axhline(1, color=INK, lw=1)
        drawn.axes.set(xlim=(0, 1), ylim=(0, None), xlabel="PIT", ylabel="density")
        drawn.axes.legend()
    return drawn.svg


def _coverage(found: Mapping[str, Any]) -> str:
    levels = np.array(found["coverage"]["levels"])
    order = np.argsort(levels)
    with canvas("recalibration-coverage", size_in=(4.6, 3.1)) as drawn:
        drawn.axes.plot([0, 1], [0, 1], color=INK, lw=1)
        for when, colour in (("before", MUTED), ("after", ORANGE)):
            inside = np.array(found["coverage"][when])[order]
            drawn.axes.plot(levels[order], inside, color=colour, lw=1.8, label=when)
        drawn.axes.set(
            xlim=(0, 1), ylim=(0, 1.03), xlabel="probability of the central interval", ylabel="share inside"
        )
        drawn.axes.legend()
    return drawn.svg
