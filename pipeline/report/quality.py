"""The scientific part of the report: scatter, residuals, metrics by interval, and calibration."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.metrics import DEFINITIONS, photoz_metrics
from pipeline.report import plots_redshift as plots
from pipeline.report.facts import ReportFacts
from pipeline.report.gathering import Gathered
from pipeline.report.markup import Raw, count, decimal, figure, grid, percent, section, sentence, table
from pipeline.report.predictions import Calibration, Cloud

INTERVALS = 8
"""Intervals of the true value, about."""
MANY = 10
"""Fewest galaxies of an interval that are measured."""
STEPS = (0.005, 0.01, 0.02, 0.025, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0)


def redshifts(facts: ReportFacts, found: Gathered) -> Raw:
    """Write the section on estimates against truth."""
    cloud, title = found.cloud, "Estimates against truth"
    distributions = _distributions(facts, found)
    if not len(cloud):
        missing = "No galaxy of the test part has both a label and an estimate: nothing to compare."
        return section("redshifts", title, sentence(missing, quiet=True), grid(distributions))
    no_magnitude = "No column of the sample looks like a magnitude, so residuals are not shown against one."
    intervals = "The same measures in intervals of the true value; fewer than ten galaxies are not measured."
    return section(
        "redshifts",
        title,
        _cap(cloud),
        grid(_comparisons(facts, found) + distributions),
        "" if found.magnitude_name else sentence(no_magnitude, quiet=True),
        sentence(intervals),
        by_interval(facts, cloud),
    )


def _distributions(facts: ReportFacts, found: Gathered) -> list[Raw]:
    """Draw the histogram of each sample's estimates."""
    words, drawn = plots.Words(facts.target), []
    for name, tally in found.tallies.items():
        if not tally.z_phot.any():
            continue
        lost = (
            f"; {count(tally.not_finite)} without a finite estimate are left out" if tally.not_finite else ""
        )
        told = f"All {count(tally.rows)} predictions of the sample {name}{lost}."
        drawn.append(figure(plots.distribution(tally, words, name=f"nz-{name}"), told))
    return drawn


def _comparisons(facts: ReportFacts, found: Gathered) -> list[Raw]:
    """Draw estimates against truth, and residuals against truth and against a magnitude if there is one."""
    cloud, words = found.cloud, plots.Words(facts.target)
    threshold = DEFINITIONS[facts.run_file.target.definition].outlier
    low, high = plots.frame(cloud)
    both = np.stack([cloud.z_spec, cloud.z_phot])
    inside = (both.min(axis=0) >= low) & (both.max(axis=0) <= high)
    shown = np.abs(cloud.delta) <= plots.reach_of(cloud.delta, threshold)
    mark = f"Dashed orange: outliers, |\u2060Δ\u2060|\u2060\u00a0>\u00a0{threshold:g}."
    against = [("by-z", "truth", words.true, cloud.z_spec)]
    if found.magnitude_name:
        against.append(("by-mag", "magnitude", f"{found.magnitude_name} [mag]", found.magnitude))
    estimates = plots.estimates(cloud, words, threshold=threshold)
    told = f"Estimate against truth, test part, N = {count(len(cloud))}. {mark}{_outside(inside)}"
    drawn = [figure(estimates, told)]
    for name, what, label, x in against:
        residuals = plots.residuals(cloud, x, name=name, label=label, words=words, threshold=threshold)
        outside = _outside(shown | np.isnan(x))
        drawn.append(figure(residuals, f"Residual against {what}. {mark}{outside}"))
    return drawn


def by_interval(facts: ReportFacts, cloud: Cloud) -> Raw:
    """Return the table of metrics in intervals of the true value."""
    edges = interval_edges(cloud.z_spec)
    places = max(len(f"{edge:g}".partition(".")[2]) for edge in edges)
    rows = []
    for low, high in pairwise(edges):
        inside = (cloud.z_spec >= low) & (cloud.z_spec < high)
        rows.append(
            _measured(
                f"{low:.{places}f} – {high:.{places}f}", cloud.z_spec[inside], cloud.z_phot[inside], facts
            )
        )
    rows.append(_measured("all", cloud.z_spec, cloud.z_phot, facts))
    symbol = plots.Words(facts.target).symbol
    head = [f"true {symbol}", "N", "σ NMAD", "bias", "outliers", "RMSE"]
    return table(head, [row for row in rows if row[1] != "0"])


def interval_edges(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return round edges that cut the bulk of `values` into about eight intervals, the tails joined.

    >>> interval_edges(np.linspace(0.01, 0.39, 100)).tolist()
    [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4]
    """
    low, high = np.percentile(values, [1, 99])
    step = next((s for s in STEPS if s >= (high - low) / INTERVALS), STEPS[-1])
    first, last = np.floor(low / step), max(np.floor(low / step) + 1, np.ceil(high / step))
    edges = np.round(np.arange(first, last + 1) * step, 6)
    edges[0] = min(edges[0], np.floor(values.min() / step) * step)
    edges[-1] = max(edges[-1], (np.floor(values.max() / step) + 1) * step)
    edges = np.round(edges, 6)
    if edges[-1] <= values.max():  # 0.7 is a little less than 7 * 0.1
        edges[-1] = np.round(edges[-1] + step, 6)
    return edges


def pdfs(facts: ReportFacts, found: Gathered) -> Raw:
    """Write the section on probability densities."""
    calibration, title = found.calibration, "Probability densities"
    if calibration is None:
        return section(
            "pdfs", title, sentence("The predictions hold no PDF, or no test galaxy has a label.", quiet=True)
        )
    numbers = (
        f"CRPS {decimal(calibration.crps.mean(), digits=5)} (mean over N = {count(len(calibration.pit))}, in "
        "units of the target; lower is better). A calibrated network has a flat PIT histogram and a coverage "
        "on the diagonal; a PIT heaped at both ends means PDFs that are too narrow, one heaped in the middle "
        "PDFs that are too broad."
    )
    curves = grid(
        (
            figure(
                plots.pit_histogram(calibration),
                "PIT histogram. Grey: where 95 % of bars of a calibrated network end.",
            ),
            figure(
                plots.coverage_curve(calibration),
                "Share of true values inside the central interval of a probability.",
            ),
        )
    )
    told = sentence(
        "PDFs of test galaxies drawn at random: the true value (solid, orange), the estimate (dashed, green)."
    )
    examples = _examples(calibration, found.cloud, plots.Words(facts.target))
    return section("pdfs", title, sentence(numbers), curves, told, examples)


def _examples(calibration: Calibration, cloud: Cloud, words: plots.Words) -> Raw:
    drawn = []
    for place, (i, shape) in enumerate(calibration.shown):
        if shape.max() > 0:
            values = (cloud.z_spec[i], cloud.z_phot[i])
            svg = plots.pdf(shape, calibration.edges, values=values, words=words, name=f"pdf-{place}")
            drawn.append(figure(svg, f"{int(cloud.id[i])}"))
    return grid(drawn, kind="small")


def _measured(name: str, true: NDArray[Any], estimate: NDArray[Any], facts: ReportFacts) -> list[Any]:
    if len(true) < MANY:
        return [name, count(len(true)), "–", "–", "–", "–"]
    found = photoz_metrics(true, estimate, definition=facts.run_file.target.definition)
    return [
        name,
        count(found.n),
        decimal(found.sigma_nmad),
        decimal(found.bias, signed=True),
        percent(found.outlier_fraction),
        decimal(found.rmse),
    ]


def _outside(inside: NDArray[Any]) -> str:
    lost = int((~inside).sum())
    return f" Outside the frame: {count(lost)}." if lost else ""


def _cap(cloud: Cloud) -> Raw:
    if cloud.total == len(cloud):
        return Raw("")
    return sentence(
        f"Plots and the table show {count(len(cloud))} of {count(cloud.total)} test galaxies, "
        "drawn at random by the run's seed."
    )
