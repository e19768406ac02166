"""The technical part of the report: sky and failures, training, throughput, provenance."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import tomli_w

from pipeline.report import plots_run as plots
from pipeline.report.cubes import sky_positions
from pipeline.report.facts import ReportFacts
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
    """Write the section on the training."""
    if not facts.history:
        return section("training", "Training", sentence("No network was trained in this run.", quiet=True))
    best = plots.best_epoch(facts.history)
    words = f"{count(len(facts.history))} epochs."
    if times := facts.timeline.get("train"):
        words += f" The attempt that finished them took {duration(times[-1].seconds)}."
    if best is not None:
        words += (
            f" Lowest validation loss {decimal(best['val_loss'])} in epoch {count(best['epoch'])} (ringed)."
        )
    return section("training", "Training", grid([figure(plots.training(facts.history), words, wide=True)]))


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
    return Raw(
        grid([counts]) + advice + (details(f"The first {len(first)}", named, shown=True) if first else "")
    )


def _shown(value: Any) -> str:
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, default=str)
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)
