"""The scientific part of the report where a number is learnt that is no redshift."""

from typing import Any

from model.regression import TEXT, regression_metrics
from pipeline.report import plots_regression as plots
from pipeline.report.against import NUMBER_HEADS, by_columns, number_cells
from pipeline.report.facts import ReportFacts
from pipeline.report.gathering import Gathered
from pipeline.report.markup import Raw, count, figure, grid, section, sentence, significant, table
from pipeline.report.plots_redshift import Words
from pipeline.report.predictions import capped
from schemas.flags import Part

TITLE = "Predictions against labels"


def numbers(facts: ReportFacts, found: Gathered) -> Raw:
    """Write the section on predictions against labels."""
    cloud, words = found.cloud, Words(facts.target, number=True)
    if not len(cloud):
        missing = "No galaxy of the test part has both a label and a prediction: nothing to compare."
        return section("estimates", TITLE, sentence(missing, quiet=True))
    measured = regression_metrics(cloud.z_spec, cloud.z_phot)
    binned = measured["binned"]
    drawn = [
        figure(
            plots.predictions(cloud, words), f"Prediction against label, test part, N = {count(len(cloud))}."
        ),
        figure(
            plots.relation(binned, words),
            f"Median prediction and the interval of 16 to 84 %, in {count(len(binned))} bins of the label with "
            f"{count(min(one['n'] for one in binned))} galaxies or more. Line: prediction = label.",
        ),
        figure(
            plots.residuals(cloud, words), "Prediction − label, test part; the outer 0.5 % are not shown."
        ),
    ]
    return section(
        "estimates",
        TITLE,
        sentence(capped(cloud)) if capped(cloud) else "",
        grid(drawn),
        "<h3>By part of the split</h3>",
        _by_part(found, measured),
        "<h3>By bin of the label</h3>",
        _by_bin(facts, binned),
        by_columns(facts, found),
    )


def _by_part(found: Gathered, measured: Any) -> Raw:
    rows = []
    for part, cloud in found.others.items():
        numbers_of = regression_metrics(cloud.z_spec, cloud.z_phot) if len(cloud) else None
        rows.append([part.name.lower(), count(len(cloud)), *number_cells(numbers_of)])
    rows.append([Part.TEST.name.lower(), count(len(found.cloud)), *number_cells(measured)])
    return table(["part", "N", *NUMBER_HEADS], rows, note=f"Definition: regression ({TEXT}).")


def _by_bin(facts: ReportFacts, binned: Any) -> Raw:
    head = [facts.target, "N", "median label", "median prediction", "16 %", "84 %"]
    rows = [
        [
            f"{significant(one['low'])} to {significant(one['high'])}",
            count(one["n"]),
            *(significant(one[name]) for name in ("label", "median", "p16", "p84")),
        ]
        for one in binned
    ]
    return table(head, rows)
