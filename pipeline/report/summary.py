"""The head of the report: what was asked and made, how good it is, and where it is."""

from collections.abc import Mapping, Sequence
from typing import Any

from model.definitions import DETECTION, PIXELS, REDSHIFT, REGRESSION, kind_of
from model.metrics import DEFINITIONS
from pipeline.report.facts import ReportFacts
from pipeline.report.markup import (
    Raw,
    code,
    count,
    decimal,
    duration,
    grid,
    percent,
    section,
    sentence,
    significant,
    table,
    text,
)
from pipeline.report.predictions import Tally
from schemas.ledger_rows import TimelinePoint

FLAG_WORDS = (
    "Edge: the estimate lies in the first or last bin of the PDF. Multimodal: a second peak at least half as "
    "high as the first. Wide: a standard deviation above 0.1 (1 + z). Not finite: the network gave no number."
)


def summary(facts: ReportFacts, tallies: Mapping[str, Tally]) -> Raw:
    """Write the section on numbers that a reader looks for first."""
    return section(
        "summary",
        "Summary",
        _under_way(facts.under_way),
        _quality(facts.metrics),
        "<h3>Galaxies</h3>",
        _counts(facts),
        Raw("") if facts.fields else _flags(tallies),
        "<h3>Catalogue</h3>",
        _catalogue(facts),
    )


def source_name(facts: ReportFacts) -> str:
    """Say in words which sky the run looked at."""
    source, sky = facts.run_file.source, facts.run_file.sandbox.sky
    if source.url != "sandbox":
        return f"{source.url} (SDSS data release {source.release})"
    return "sandbox, skymill's own drawn sky" if sky == "default" else f"sandbox, recorded sky {sky}"


def stage_rows(timeline: Mapping[str, Sequence[TimelinePoint]]) -> list[list[Any]]:
    """Return a row a stage: units, rows, wall time in which it worked, its speed, and its workers.

    Gaps in which nothing of the stage was under way (a run that was stopped and resumed) are not counted.
    """
    rows = []
    for stage, units in timeline.items():
        seconds = _covered([(u.ended.timestamp() - u.seconds, u.ended.timestamp()) for u in units])
        done = sum(unit.rows for unit in units)
        workers = len({unit.worker for unit in units})
        speed = f"{done / seconds:.3g}" if seconds > 0 and done else "–"
        rows.append([stage, count(len(units)), count(done), duration(seconds), _plain(speed), count(workers)])
    return rows


def _under_way(lines: Sequence[str]) -> Raw:
    if not lines:
        return Raw("")
    told = "This run is not finished: the page shows what there is so far. “skymill report” writes it again."
    return Raw(sentence(told) + code("\n".join(lines)))


def _plain(number: str) -> str:
    return count(float(number)) if "e" in number else number


def _covered(intervals: Sequence[tuple[float, float]]) -> float:
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _quality(metrics: Mapping[str, Any]) -> Raw:
    if not metrics:
        return sentence(
            "No galaxy of the test part has both a label and an estimate, so there is nothing to measure.",
            quiet=True,
        )
    kind = kind_of(metrics["definition"])
    tiles = {REGRESSION: _number_tiles, DETECTION: _alarm_tiles, PIXELS: _pixel_tiles}.get(
        kind, _redshift_tiles
    )(metrics)
    shown = grid(
        (f'<div class="tile"><span>{text(name)}</span><b>{text(value)}</b></div>' for name, value in tiles),
        kind="tiles",
    )
    spelt = f"Measured on the test part only, by the definition “{metrics['definition']}”: {metrics['text']}."
    delta = Raw(
        " Here Δ = (<i>z</i><sub>phot</sub> − <i>z</i><sub>spec</sub>) / (1 + <i>z</i><sub>spec</sub>), where <i>z</i> "
        "stands for the target; RMSE and <i>R</i>² are of the difference itself."
    )
    return Raw(shown + sentence(Raw(text(spelt) + (delta if kind == REDSHIFT else ""))))


def _redshift_tiles(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    own = DEFINITIONS[metrics["definition"]].sigma != "nmad"
    return [
        *([(Raw("<i>σ</i>"), decimal(metrics["sigma"]))] if own else []),
        (Raw("<i>σ</i><sub>NMAD</sub>"), decimal(metrics["sigma_nmad"])),
        ("bias", decimal(metrics["bias"], digits=5, signed=True)),
        (f"outliers, |Δ| > {metrics['outlier_threshold']:.3g}", percent(metrics["outlier_fraction"])),
        (Raw("<i>R</i>²"), decimal(metrics["r2"], digits=3)),
        ("RMSE", decimal(metrics["rmse"])),
        (Raw("<i>N</i>, test part"), count(metrics["n"])),
    ]


def _pixel_tiles(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        ("pixels right", percent(metrics["accuracy"])),
        *((f"of {name}", percent(metrics[f"accuracy_{name}"])) for name in metrics["classes"]),
        ("mean IoU, background above 0.5", decimal(metrics["iou_0.5"], digits=3)),
        (Raw("<i>N</i>, test windows"), count(metrics["n"])),
    ]


def _number_tiles(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (Raw("Pearson <i>r</i>"), decimal(metrics["pearson"], digits=3)),
        (Raw("Spearman <i>ρ</i>"), decimal(metrics["spearman"], digits=3)),
        (Raw("<i>R</i>²"), decimal(metrics["r2"], digits=3)),
        ("MAE", significant(metrics["mae"])),
        ("RMSE", significant(metrics["rmse"])),
        ("bias", significant(metrics["bias"], digits=3, signed=True)),
        (Raw("<i>N</i>, test part"), count(metrics["n"])),
    ]


def _alarm_tiles(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        ("area under ROC", decimal(metrics["area"])),
        ("its 1 σ", decimal(metrics["area_sigma"])),
        *(
            (f"true alarms at {100 * alarm['false_alarm']:g} % false", percent(alarm["true_alarm"]))
            for alarm in metrics["alarms"]
        ),
        (Raw("<i>N</i>, with a signal"), count(metrics["n_signal"])),
        (Raw("<i>N</i>, without"), count(metrics["n_noise"])),
    ]


def _counts(facts: ReportFacts) -> Raw:
    reasons: dict[tuple[str, bool], int] = {}
    for failure in facts.failure_counts:
        kind = (failure.sample, failure.permanent)
        reasons[kind] = reasons.get(kind, 0) + failure.count
    rows = [
        [
            sample.name,
            count(sample.asked),
            count(sample.fetched),
            count(sample.failed),
            count(reasons.get((sample.name, True), 0)),
            count(reasons.get((sample.name, False), 0)),
            count(sample.predicted),
            count(sample.duplicates),
        ]
        for sample in facts.samples
    ]
    head = ["sample", "asked", "fetched", "failed", "permanent", "retryable", "predicted", "duplicates"]
    twice = any(sample.duplicates for sample in facts.samples)
    told = "Duplicates are keys that came more than once; one row of each was kept, and is counted once."
    return Raw(table(head, rows) + (sentence(told) if twice else ""))


def _flags(tallies: Mapping[str, Tally]) -> Raw:
    used = {name: tally for name, tally in tallies.items() if tally.rows}
    if not used:
        return sentence("No predictions have been written.", quiet=True)
    lost = sum(tally.missing_parts for tally in tallies.values())
    told = sentence(
        f"{count(lost)} prediction parts of the ledger are not on disk; their rows are not counted."
    )
    names = list(next(iter(used.values())).flags)
    rows = [
        [name, *(percent(tally.flags[flag] / tally.rows) for flag in names)] for name, tally in used.items()
    ]
    return Raw(
        "<h3>Flagged predictions</h3>"
        + table(["sample", *names], rows)
        + sentence(FLAG_WORDS)
        + (told if lost else "")
    )


def _catalogue(facts: ReportFacts) -> Raw:
    if not facts.published_rows:
        return sentence("No catalogue version has been published.", quiet=True)
    words = f"The view {facts.catalogue} shows {facts.version_words}: {count(facts.published_rows)} rows."
    opened = sentence("Open it with:") + code(facts.psql) if facts.psql else ""
    return Raw(sentence(words) + opened)
