"""The scientific part of the report: scatter, residuals, metrics by interval, and calibration."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.metrics import DEFINITIONS, photoz_metrics
from model.pdfs import pdf_metrics
from pipeline.report import plots_redshift as plots
from pipeline.report.against import by_columns
from pipeline.report.facts import ReportFacts
from pipeline.report.gathering import Gathered
from pipeline.report.intervals import MANY, interval_edges
from pipeline.report.markup import Raw, count, decimal, figure, grid, percent, section, sentence, table
from pipeline.report.predictions import Calibration, Cloud, capped


def redshifts(facts: ReportFacts, found: Gathered) -> Raw:
    """Write the section on estimates against truth."""
    cloud, title = found.cloud, "Estimates against truth"
    distributions = _distributions(facts, found)
    if not len(cloud):
        missing = "No galaxy of the test part has both a label and an estimate: nothing to compare."
        return section("estimates", title, sentence(missing, quiet=True), grid(distributions))
    no_magnitude = "No column of the sample looks like a magnitude, so residuals are not shown against one."
    intervals = "The same measures in intervals of the true value; fewer than ten galaxies are not measured."
    return section(
        "estimates",
        title,
        sentence(capped(cloud)) if capped(cloud) else "",
        grid(_comparisons(facts, found) + distributions),
        "" if found.magnitude_name else sentence(no_magnitude, quiet=True),
        sentence(intervals),
        by_interval(facts, cloud),
        by_columns(facts, found),
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
    definition = facts.run_file.target.definition
    threshold = photoz_metrics(cloud.z_spec, cloud.z_phot, definition=definition).outlier_threshold
    low, high = plots.frame(cloud)
    both = np.stack([cloud.z_spec, cloud.z_phot])
    inside = (both.min(axis=0) >= low) & (both.max(axis=0) <= high)
    shown = np.abs(cloud.delta) <= plots.reach_of(cloud.delta, threshold)
    mark = f"Dashed orange: outliers by “{definition}”, |\u2060Δ\u2060|\u2060\u00a0>\u00a0{threshold:.3g}."
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
    definition, rows = facts.run_file.target.definition, []
    for low, high in pairwise(edges):
        inside = (cloud.z_spec >= low) & (cloud.z_spec < high)
        pair = cloud.z_spec[inside], cloud.z_phot[inside]
        rows.append(_measured(f"{low:.{places}f} – {high:.{places}f}", *pair, definition, interval=True))
    rows.append(_measured("all", cloud.z_spec, cloud.z_phot, definition))
    symbol = plots.Words(facts.target).symbol
    own = ["σ"] if DEFINITIONS[definition].sigma != "nmad" else []
    head = [f"true {symbol}", "N", *own, "σ NMAD", "bias", "outliers", "RMSE"]
    note = f"Definition: {definition} ({DEFINITIONS[definition].text})."
    return table(head, [row for row in rows if row[1] != "0"], note=note)


def pdfs(facts: ReportFacts, found: Gathered) -> Raw:
    """Write the section on probability densities."""
    calibration, title = found.calibration, "Probability densities"
    if calibration is None:
        return section(
            "pdfs", title, sentence("The predictions hold no PDF, or no test galaxy has a label.", quiet=True)
        )
    meaning = (
        "A calibrated network has a flat PIT histogram and a coverage on the diagonal; a PIT heaped at both ends means "
        "PDFs that are too narrow, one heaped in the middle PDFs that are too broad."
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
    return section("pdfs", title, _scores(calibration), sentence(meaning), curves, told, examples)


def _scores(calibration: Calibration) -> Raw:
    found = pdf_metrics(calibration.scores)
    numbers = [decimal(found[name], digits=5) for name in ("crps", "cde_loss", "pit_ks")]
    shares = [percent(found[name]) for name in ("coverage_68", "coverage_95")]
    return table(
        ["N", "CRPS", "CDE loss", "PIT KS", "inside 68 %", "inside 95 %"],
        [[count(len(calibration.scores)), *numbers, *shares]],
        words=0,
        note="Means of the continuous ranked probability score, in units of the target, and of the conditional "
        "density estimation loss (Izbicki and Lee 2017), in their inverse: lower is better. PIT KS: the largest "
        "distance of the PITs' distribution from a uniform one (Kolmogorov and Smirnov). Inside: true values in "
        "the central interval of that probability.",
    )


def _examples(calibration: Calibration, cloud: Cloud, words: plots.Words) -> Raw:
    drawn = []
    for place, (i, shape) in enumerate(calibration.shown):
        if shape.max() > 0:
            values = (cloud.z_spec[i], cloud.z_phot[i])
            svg = plots.pdf(shape, calibration.edges, values=values, words=words, name=f"pdf-{place}")
            drawn.append(figure(svg, f"{int(cloud.id[i])}"))
    return grid(drawn, kind="small")


def _measured(
    name: str, true: NDArray[Any], estimate: NDArray[Any], definition: str, *, interval: bool = False
) -> list[Any]:
    own = DEFINITIONS[definition].sigma != "nmad"
    if len(true) < MANY:
        return [name, count(len(true)), *("–" * (5 if own else 4))]
    found = photoz_metrics(true, estimate, definition=definition, interval=interval)
    return [
        name,
        count(found.n),
        *([decimal(found.sigma)] if own else []),
        decimal(found.sigma_nmad),
        decimal(found.bias, signed=True),
        percent(found.outlier_fraction),
        decimal(found.rmse),
    ]


def _outside(inside: NDArray[Any]) -> str:
    lost = int((~inside).sum())
    return f" Outside the frame: {count(lost)}." if lost else ""
