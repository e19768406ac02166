"""Quality by columns of the sample (``target.against``): a plot and a table of each."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.definitions import DETECTION, REDSHIFT, REGRESSION, allowed, errors_of, kind_of
from model.detection import TrueAlarm, true_alarms
from model.metrics import DEFINITIONS, photoz_metrics
from model.regression import regression_metrics
from model.tables import Bootstrap, Row, Subset
from model.tables import table as measured
from pipeline.report import plots_detection, plots_redshift, plots_regression
from pipeline.report.facts import ReportFacts
from pipeline.report.gathering import Gathered
from pipeline.report.intervals import MANY, known_values, subsets_of
from pipeline.report.markup import (
    THIN,
    Raw,
    count,
    decimal,
    figure,
    grid,
    percent,
    sentence,
    significant,
    table,
    text,
)
from pipeline.report.predictions import Cloud

BOOTSTRAP = Bootstrap(50)
"""Resamples of each subset: an uncertainty good to 10 % of itself (decided here)."""

TAP_WORDS = "TAP: true-alarm probability at that false-alarm probability, ± 1 σ, binomial (0 where all or none alarm)."

Values = NDArray[np.float64]
Write = Callable[[str, int, Values], tuple[str, Raw]]
"""What is written of a column, by its name, its number and its values: a plot, if there is one, and a table."""


def by_columns(facts: ReportFacts, found: Gathered, *, first: int = 0) -> Raw:
    """Write a plot and a table for each column that the run file names, of the test part; nothing for none.

    Plots are numbered from `first`.
    """
    write, redshifts = _writer(facts, found.cloud), kind_of(facts.run_file.target.definition) == REDSHIFT
    written: list[str] = []
    for number, (name, values) in enumerate(found.against.items(), first):
        written.append(Raw(f"<h3>By {text(name)}</h3>"))
        if values is None:
            lacks = f"No cube holds {name} as a column of numbers, so nothing is shown by it."
            written.append(sentence(lacks, quiet=True))
            continue
        plot, rows = write(name, number, known_values(name, values))
        drawn_above = redshifts and name == found.magnitude_name
        written += [grid([plot]) if plot and not drawn_above else "", rows]
    return Raw("".join(written))


def _writer(facts: ReportFacts, cloud: Cloud) -> Write:
    definition = facts.run_file.target.definition
    kind = kind_of(definition)
    words = plots_redshift.Words(facts.target, number=kind == REGRESSION)
    if kind == DETECTION:
        return partial(_alarms, cloud)
    if kind == REGRESSION:
        return partial(_numbers, cloud, words)
    return partial(_redshifts, cloud, words, definition)


def _redshifts(
    cloud: Cloud, words: plots_redshift.Words, definition: str, name: str, number: int, values: Values
) -> tuple[str, Raw]:
    subsets = subsets_of(name, values)
    rows = measured(cloud.z_spec, cloud.z_phot, subsets=subsets, definition=definition, bootstrap=BOOTSTRAP)
    threshold = photoz_metrics(cloud.z_spec, cloud.z_phot, definition=definition).outlier_threshold
    shown = [("sigma_nmad", "σ NMAD"), ("bias", "bias"), ("outlier_fraction", "outliers"), ("rmse", "RMSE")]
    if DEFINITIONS[definition].sigma != "nmad":
        shown.insert(0, ("sigma", "σ"))
    note = f"Definition: {definition} ({rows[-1]['text']}). ± 1 σ of {BOOTSTRAP.resamples} resamples."
    head = [name, "N", *(title for _, title in shown)]
    body = [[row["subset"], count(row["n"]), *(_cell(row, key) for key, _ in shown)] for row in rows]
    if not np.isfinite(values).any():
        return "", table(head, body, note=note)
    label, x = plots_regression.axis(name, values)
    plot = plots_redshift.residuals(
        cloud, x, name=f"against-{number}", label=label, words=words, threshold=threshold
    )
    told = f"Residual against {name}. Dashed orange: outliers by “{definition}”, |\u2060Δ\u2060| > {threshold:.3g}."
    return figure(plot, told), table(head, body, note=note)


def _cell(row: Row, key: str) -> str:
    """Return a number of a subset with its uncertainty; a dash where too few were measured."""
    if row["n"] < MANY or row[key] is None:
        return "–"
    error = row[f"{key}_err"]
    if key == "outlier_fraction":
        return f"{decimal(100 * row[key], digits=2)} ± {decimal(100 * (error or 0), digits=2)}{THIN}%"
    return f"{decimal(row[key], signed=key == 'bias')} ± {decimal(error)}"


def _numbers(
    cloud: Cloud, words: plots_redshift.Words, name: str, number: int, values: Values
) -> tuple[str, Raw]:
    whole = Subset("all", "all", np.ones(len(cloud), bool))
    body = []
    for one in (*subsets_of(name, values), whole):
        n = int(one.inside.sum())
        many = n >= MANY or one is whole
        found = regression_metrics(cloud.z_spec[one.inside], cloud.z_phot[one.inside]) if many else None
        body.append([one.name, count(n), *number_cells(found)])
    rows = table([name, "N", *NUMBER_HEADS], body, note="Definition: regression.")
    if not np.isfinite(values).any():
        return "", rows
    off = errors_of(REGRESSION, cloud.z_spec, cloud.z_phot)
    label, x = plots_regression.axis(name, values)
    plot = plots_regression.deviations(x, off, name=f"against-{number}", label=label, words=words)
    return figure(plot, f"Prediction − label against {name}, test part."), rows


NUMBER_HEADS = ("Pearson r", "Spearman ρ", "R²", "MAE", "RMSE", "bias")


def number_cells(found: Mapping[str, Any] | None) -> list[str]:
    """Return the cells of `NUMBER_HEADS` for `model.regression.regression_metrics`; dashes for None."""
    if found is None:
        return ["–"] * len(NUMBER_HEADS)
    shares = [decimal(found[name], digits=3) for name in ("pearson", "spearman", "r2")]
    errors = [significant(found["mae"]), significant(found["rmse"]), significant(found["bias"], signed=True)]
    return [*shares, *errors]


def _alarms(cloud: Cloud, name: str, number: int, values: Values) -> tuple[str, Raw]:
    """Tell true alarms among the signals of each interval; all samples without a signal set the threshold."""
    noise, signal = cloud.z_phot[cloud.z_spec == 0], cloud.z_spec == 1
    rates, found, own = allowed(len(noise)), cloud.z_phot[signal], values[signal]
    head = [name, "N signal", *(alarm_head(rate) for rate in rates)]
    body, points = [], {rate: list[tuple[float, float, float]]() for rate in rates}
    cells = subsets_of(name, own) if len(own) else []
    for one in (*cells, Subset("all", "all", np.ones(len(own), bool))):
        alarms: list[TrueAlarm] = []
        if one.inside.any() and rates:
            alarms = true_alarms(noise, found[one.inside], rates=rates, least_noise=1)
        body.append(
            [one.name, count(one.inside.sum()), *(map(alarm_cell, alarms) if alarms else "–" * len(rates))]
        )
        if one.by != "all" and np.isfinite(own[one.inside]).any():
            for alarm in alarms:
                place = float(np.median(own[one.inside]))
                points[alarm.false_alarm].append((place, alarm.true_alarm, alarm.true_alarm_sigma))
    note = f"{TAP_WORDS} The thresholds are those of all {count(len(noise))} test samples without a signal."
    rows = table(head, body, note=note)
    if not any(points.values()):
        return "", rows
    plot = plots_detection.true_alarms(points, name=f"against-{number}", label=name)
    return figure(plot, f"True-alarm probability against {name} (median of each interval), test part."), rows


def alarm_head(rate: float) -> str:
    """Return the head of a column of true-alarm probabilities."""
    return f"TAP at {100 * rate:g}{THIN}%"


def alarm_cell(alarm: TrueAlarm) -> str:
    """Return a true-alarm probability with its 1 σ."""
    sigma = percent(alarm.true_alarm_sigma)
    return f"{decimal(100 * alarm.true_alarm, digits=2)} ± {sigma}"
