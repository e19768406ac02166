"""The report's section on errors of estimates that have no PDF: how often the truth lies within them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from model.definitions import DETECTION, kind_of
from pipeline.report.facts import ReportFacts
from pipeline.report.figure import BLUE, INK, canvas
from pipeline.report.markup import Raw, count, decimal, figure, grid, section, sentence, table
from pipeline.report.predictions import open_part
from pipeline.stores.catalogue_names import names_of
from schemas.flags import Part

LEVELS = np.array([*(np.arange(1, 20) / 20), 0.68])
"""Probabilities of the central intervals whose coverage is measured."""
TOLD = (0.68, 0.95)
_COLUMNS = ["z_spec", "z_phot", "z_phot_err", "split"]


def errors(facts: ReportFacts) -> Raw:
    """Write the section; nothing where predictions have a PDF or no error, or are probabilities."""
    target = facts.run_file.target
    if kind_of(target.definition) == DETECTION:  # a probability of yes has no truth to be near to
        return Raw("")
    inside, rows = np.zeros(len(LEVELS), np.int64), 0
    for truth, estimate, error in _test_part(facts):
        pull = np.abs(truth - estimate) / error
        inside += (pull[:, None] <= ndtri((1 + LEVELS) / 2)).sum(0)
        rows += len(pull)
    if not rows:
        return Raw("")
    share = inside / rows
    column = names_of(target.column, target.definition).error
    told = (
        "The share of the test part's true values within the central interval of a probability, if "
        f"{column} is the standard deviation of a Gaussian; N = {count(rows)}. "
        "Below the diagonal, errors are too small."
    )
    values = [decimal(share[np.flatnonzero(level == LEVELS)[0]], digits=3) for level in TOLD]
    head = ["", *(f"coverage of {level:g}" for level in TOLD)]
    caption = "Coverage of central intervals. Line: what it should be."
    return section(
        "errors",
        "Errors",
        sentence(told),
        table(head, [["test part", *values]]),
        grid((figure(_curve(share), caption),)),
    )


def _test_part(facts: ReportFacts) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Yield truths, estimates and errors of the test galaxies whose predictions have an error and no PDF."""
    for path in (part for sample in facts.samples for part in sample.parts if part.exists()):
        with open_part(path) as file:
            if "pdf" in file.schema_arrow.names:
                return
            for batch in file.iter_batches(columns=_COLUMNS):
                columns = [batch.column(name).to_numpy(zero_copy_only=False) for name in _COLUMNS]
                known = np.isfinite(columns[:3]).all(0) & (columns[2] > 0) & (columns[3] == Part.TEST)
                yield tuple(values[known].astype(np.float64) for values in columns[:3])


def _curve(share: NDArray[Any]) -> str:
    order = np.argsort(LEVELS)
    with canvas("errors-coverage", size_in=(4.6, 3.1)) as drawn:
        drawn.axes.plot([0, 1], [0, 1], color=INK, lw=1)
        drawn.axes.plot(LEVELS[order], share[order], color=BLUE, lw=1.8)
        drawn.axes.set(
            xlim=(0, 1), ylim=(0, 1.03), xlabel="probability of the central interval", ylabel="share inside"
        )
    return drawn.svg
