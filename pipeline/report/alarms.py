"""The scientific part of the report where signals are told from noise."""

from typing import Any

from model.definitions import DETECTION_TEXT, allowed
from model.detection import FALSE_ALARMS, LEAST_NOISE, roc, true_alarms
from pipeline.report import plots_detection as plots
from pipeline.report.against import TAP_WORDS, alarm_cell, alarm_head, by_columns
from pipeline.report.facts import ReportFacts
from pipeline.report.gathering import Gathered
from pipeline.report.holdouts import by_holdout
from pipeline.report.markup import THIN, Raw, count, decimal, figure, grid, percent, section, sentence, table
from pipeline.report.predictions import Cloud, capped
from schemas.flags import Part

TITLE = "Signals and noise"


def alarms(facts: ReportFacts, found: Gathered) -> Raw:
    """Write the section on how well signals are told from noise."""
    noise, signals = _classes(found.cloud)
    if not len(noise) or not len(signals):
        missing = (
            f"The test part has {count(len(signals))} labelled rows with a signal and {count(len(noise))} without that "
            "were predicted: both are needed to compare."
        )
        return section("estimates", TITLE, sentence(missing, quiet=True))
    curve = roc(noise, signals)
    counted = f"N = {count(len(signals))} with and {count(len(noise))} without a signal"
    drawn = [
        figure(
            plots.roc(curve),
            f"ROC curve, test part, {counted}. Band: 1 σ, binomial. Dashed: the rates of the table below.",
        ),
        figure(plots.scores(noise, signals), "Probability of a signal, by class of the label, test part."),
    ]
    return section(
        "estimates",
        TITLE,
        sentence(capped(found.cloud)) if capped(found.cloud) else "",
        grid(drawn),
        "<h3>True alarms</h3>",
        _true_alarms(noise, signals),
        "<h3>By part of the split</h3>",
        _by_part(found),
        by_columns(facts, found),
        by_holdout(facts, found),
    )


def _classes(cloud: Cloud) -> tuple[Any, Any]:
    """Return the probabilities of rows without a signal, and of those with one."""
    return cloud.z_phot[cloud.z_spec == 0], cloud.z_phot[cloud.z_spec == 1]


def _true_alarms(noise: Any, signals: Any) -> Raw:
    rates = allowed(len(noise))
    rows = [
        [
            percent(alarm.false_alarm),
            percent(alarm.false_alarm_found),
            decimal(alarm.threshold, digits=5),
            alarm_cell(alarm),
            count(alarm.n_signal),
            count(alarm.n_noise),
        ]
        for alarm in (true_alarms(noise, signals, rates=rates, least_noise=1) if rates else ())
    ]
    rows += [
        [percent(rate), "–", "–", "–", count(len(signals)), count(len(noise))]
        for rate in FALSE_ALARMS
        if rate not in rates
    ]
    head = ["false alarms", "found", "threshold", "true alarms", "N signal", "N noise"]
    few = (
        f"A rate of 1{THIN}% good to a tenth of itself needs {count(LEAST_NOISE)} samples without a signal: here its "
        f"threshold rests on {count(0.01 * len(noise))} of them."
    )
    told = sentence(few) if len(noise) < LEAST_NOISE else ""
    return Raw(table(head, rows, note=f"Definition: detection ({DETECTION_TEXT}).") + told)


def _by_part(found: Gathered) -> Raw:
    rows = []
    for part, cloud in {**found.others, Part.TEST: found.cloud}.items():
        noise, signals = _classes(cloud)
        cells = dict.fromkeys(FALSE_ALARMS, "–")
        if len(noise) and len(signals) and (rates := allowed(len(noise))):
            found_alarms = true_alarms(noise, signals, rates=rates, least_noise=1)
            cells |= {alarm.false_alarm: alarm_cell(alarm) for alarm in found_alarms}
        area = decimal(roc(noise, signals).area) if len(noise) and len(signals) else "–"
        rows.append([part.name.lower(), count(len(signals)), count(len(noise)), area, *cells.values()])
    head = ["part", "N signal", "N noise", "area", *map(alarm_head, FALSE_ALARMS)]
    return table(head, rows, note=TAP_WORDS)
