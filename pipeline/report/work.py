"""The technical part of the report: sky and failures, training, throughput, provenance."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tomli_w

from pipeline.report import plots_run as plots
from pipeline.report.cubes import sky_positions
from pipeline.report.facts import ReportFacts, Trial
from pipeline.report.markup import (
    Raw,
    code,
    count,
    decimal,
    details,
    duration,
    figure,
    grid,
    section,
    sentence,
    table,
)
from pipeline.report.summary import stage_rows
from schemas.ledger_rows import TimelinePoint

NAMED = 20
"""Failures that are named one by one."""
DETAIL_CHARS = 240
"""A server's words are cut here: an error page may be long."""


def sky(facts: ReportFacts) -> Raw:
    """Write the section on where galaxies were fetched, and which could not be had."""
    positions = sky_positions([sample.cube for sample in facts.samples], seed=facts.run_file.seed)
    pieces: list[str] = []
    if any(len(found.ra) for found in positions.values()):
        words = "Right ascension grows to the left; "
        words += "; ".join(
            f"{name}: {count(found.total)}"
            + (
                f" ({count(len(found.ra))} drawn, chosen by the run's seed)"
                if found.total > len(found.ra)
                else ""
            )
            for name, found in positions.items()
        )
        close = plots.close_up(positions)
        whole = plots.sky(positions, compact=close is not None)
        drawn = [figure(whole, f"Mollweide projection. {words}.", wide=True)]
        if close is not None:
            drawn.append(figure(close, "The footprint close up."))
        pieces.append(grid(drawn))
    else:
        pieces.append(
            sentence("No cutout has been asked for yet: there is nothing to show on the sky.", quiet=True)
        )
    return section("sky", "Sky and failures", *pieces, "<h3>Failures</h3>", _failures(facts))


def training(facts: ReportFacts) -> Raw:
    """Write the section on the training: of one network or of an ensemble, and the search before it."""
    histories = {key: history for key, history in facts.histories.items() if history}
    pieces: list[str] = []
    if histories:
        if len(histories) > 1:
            words = _several(histories)
        else:
            (history,) = histories.values()
            words = _one(history, facts.timeline.get("train", ()))
        pieces.append(grid([figure(plots.training(histories), words, wide=True)]))
    else:
        none = "No network was trained in this run." if not facts.under_way else "No epoch is finished yet."
        pieces.append(sentence(none, quiet=True))
    if facts.trials:
        pieces += ["<h3>Search</h3>", _trials(facts.trials)]
    return section("training", "Training", *pieces)


def _one(history: Sequence[Mapping[str, float]], times: Sequence[TimelinePoint]) -> str:
    words = f"{count(len(history))} epochs."
    if times:
        words += f" The attempt that finished them took {duration(times[-1].seconds)}."
    if (best := plots.best_epoch(history)) is not None:
        words += (
            f" Lowest validation loss {decimal(best['val_loss'])} in epoch {count(best['epoch'])} (ringed)."
        )
    return words


def _several(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    lowest = {key: best for key, history in histories.items() if (best := plots.best_epoch(history))}
    told = ", ".join(
        f"{key} {decimal(best['val_loss'])} in epoch {count(best['epoch'])}" for key, best in lowest.items()
    )
    return f"{count(len(histories))} networks. Lowest validation losses (ringed): {told}."


def _trials(trials: Sequence[Trial]) -> Raw:
    names = list(dict.fromkeys(name for trial in trials for name in trial.overrides))
    finite = [trial for trial in trials if trial.val_loss is not None]
    best = min(finite, key=lambda trial: trial.val_loss or 0.0, default=None)
    rows = [
        [
            trial.key + (" (chosen)" if trial is best else ""),
            *(_shown(trial.overrides.get(name, "–")) for name in names),
            decimal(trial.val_loss, digits=5),
            "–" if trial.best_epoch is None else count(trial.best_epoch),
        ]
        for trial in trials
    ]
    note = "A trial without a loss failed, mostly because its loss was not finite."
    return table(
        ["trial", *names, "lowest val_loss", "in epoch"],
        rows,
        note=note if len(finite) < len(trials) else "",
    )


def throughput(facts: ReportFacts) -> Raw:
    """Write the section on time and speed of each stage."""
    if not facts.timeline:
        return section(
            "throughput", "Time and throughput", sentence("No stage has finished a unit.", quiet=True)
        )
    head = ["stage", "units", "rows", "time", "rows / s", "workers"]
    note = "Time in which the stage was at work; gaps of a run that was stopped and resumed are not counted."
    drawn = [
        figure(plots.throughput(stage, units), f"{stage}, {count(len(units))} units")
        for stage, units in facts.timeline.items()
        if len(units) > 1 and any(unit.rows for unit in units)
    ]
    return section(
        "throughput", "Time and throughput", table(head, stage_rows(facts.timeline), note=note), grid(drawn)
    )


def provenance(facts: ReportFacts) -> Raw:
    """Write the section on where everything comes from."""
    plain = [
        [key, _shown(value)] for key, value in facts.provenance.items() if not isinstance(value, Mapping)
    ]
    plain.append(["folder", str(facts.folder)])
    nested = [
        details(key, table(["name", "value"], [[k, _shown(v)] for k, v in value.items()], words=2))
        for key, value in facts.provenance.items()
        if isinstance(value, Mapping)
    ]
    plain_data = facts.run_file.model_dump(mode="json", by_alias=True, exclude_none=True)
    run_file = tomli_w.dumps(plain_data, multiline_strings=True)
    return section(
        "provenance",
        "Provenance",
        table(["what", "value"], plain, words=2),
        *nested,
        details("Resolved run file, defaults and overrides included", code(run_file)),
    )


def _failures(facts: ReportFacts) -> Raw:
    if not facts.failure_counts and not facts.failures:
        return sentence("Every cutout that was asked for was had.", quiet=True)
    kind = {True: "permanent", False: "retryable"}
    ordered = sorted(facts.failure_counts, key=lambda failure: -failure.count)
    counts = table(
        ["sample", "reason", "kind", "galaxies"],
        [[f.sample, f.reason, kind[f.permanent], count(f.count)] for f in ordered],
        words=3,
    )
    first = facts.failures[:NAMED]
    named = table(
        ["sample", "id", "reason", "kind", "detail"],
        [[f.sample, str(f.id), f.reason, kind[f.permanent], f.detail[:DETAIL_CHARS]] for f in first],
        words=5,
    )
    advice = sentence(
        "“skymill retry” asks again for the retryable ones; a permanent one would be refused again."
    )
    lost = table(
        ["stage", "block", "why it was given up"], [[b.stage, b.key, b.why] for b in facts.lost], words=3
    )
    return Raw(
        grid([counts])
        + (lost if facts.lost else "")
        + advice
        + (details(f"The first {len(first)}", named, shown=True) if first else "")
    )


def _shown(value: Any) -> str:
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, default=str)
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)
