"""The fields of a run in its report: how well pixels are told apart, what was found in each field, and what was not."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.fields.completeness import completeness, confusion
from pipeline.report.facts import FieldFacts, ReportFacts
from pipeline.report.figure import BLUE, ORANGE, canvas
from pipeline.report.markup import (
    Raw,
    count,
    decimal,
    details,
    figure,
    grid,
    percent,
    section,
    sentence,
    table,
    text,
)

MAGNITUDE_STEP = 0.5
SIZE_BINS = 5
COLOURS_TOLD = (
    "Hue is the most probable class, saturation its lead over the second, brightness how little a pixel is sky; black "
    "edges have no class."
)


def pixels(facts: ReportFacts) -> Raw:
    """Write the section on how well the pixels of the test windows are told apart."""
    metrics = facts.metrics
    if not metrics:
        return section("pixels", "Pixels", sentence("No test window was measured.", quiet=True))
    classes = metrics["classes"]
    counts = np.array(metrics["confusion"])
    rows = [
        [name, count(counts[place].sum()), percent(metrics[f"accuracy_{name}"]), *map(count, counts[place])]
        for place, name in enumerate(classes)
    ]
    cuts = [key for key in metrics if key.startswith("iou_")]
    overlap = table(
        ["background above", "mean IoU"], [[key.removeprefix("iou_"), decimal(metrics[key])] for key in cuts]
    )
    told = sentence("Rows are the labels' classes, the last columns what their pixels were taken for.")
    shares = table(["class", "pixels", "right", *classes], rows)
    return section("pixels", "Pixels of the test windows", shares, told, overlap)


def fields(facts: ReportFacts) -> Raw:
    """Write the section on what was found in each field."""
    if not facts.fields:
        return section("fields", "Fields", sentence("No field has been classified yet.", quiet=True))
    names = _classes(facts.fields[0])
    rows = []
    for field in facts.fields:
        found = field.facts
        height, width = found["shape"]
        by_class = [count(found["by_class"].get(name, 0)) for name in names]
        size = f"{height} × {width}"
        rows.append(
            [
                field.name,
                size,
                percent(found["classified"] / found["pixels"]),
                count(field.sources),
                *by_class,
            ]
        )
    cards = [_picture(field) for field in facts.fields]
    head = ["field", "pixels", "classified", "sources", *names]
    pieces = [table(head, rows), grid(cards), sentence(COLOURS_TOLD)]
    return section("fields", "Fields", *pieces, *_false_positives(facts.fields), *_completeness(facts.fields))


def _picture(field: FieldFacts) -> Raw:
    if not field.picture.exists():
        return sentence(f"The picture of {field.name} is not there any more.", quiet=True)
    uri = base64.b64encode(field.picture.read_bytes()).decode()
    shown = f'<img alt="{text(field.name)}" style="width:100%" src="data:image/png;base64,{uri}">'
    return figure(shown, f"{field.name}, its first row below")


def _classes(field: FieldFacts) -> list[str]:
    return [row["class"] for row in field.facts["density"] if row["class"] != "all"]


def _false_positives(found: Sequence[FieldFacts]) -> list[str]:
    """Return what was found where nothing is."""
    empty = [field for field in found if field.scene == "noise"]
    if not empty:
        return []
    rows = [
        [
            *(field.name, row["class"], count(row["sources"])),
            *(decimal(row["sources_per_arcmin2"], digits=2), percent(row["pixel_share"])),
        ]
        for field in empty
        for row in field.facts["density"]
    ]
    head = ["field", "class", "sources", "in a square arcmin", "of the pixels"]
    return ["<h3>False positives on pure noise</h3>", table(head, rows, words=2)]


def _completeness(found: Sequence[FieldFacts]) -> list[str]:
    """Return what was found of what there is, by magnitude and by size."""
    pieces: list[str] = []
    for field in found:
        matched = _matched(field.matched)
        if matched is None:
            continue
        by_magnitude = completeness(matched, {"magnitude": _magnitudes(matched)})
        extended = matched.filter(pc.greater(matched["radius_arcsec"], 0))
        drawn = [
            figure(
                _plot(by_magnitude, "magnitude", f"{field.name}-magnitude"),
                "By magnitude in the reference band",
            )
        ]
        if extended.num_rows:
            by_size = completeness(extended, {"radius_arcsec": _sizes(extended)})
            drawn.append(
                figure(_plot(by_size, "radius_arcsec", f"{field.name}-size"), "By half-light radius [arcsec]")
            )
        counted = by_magnitude.filter(pc.greater(by_magnitude["injected"], 0)).to_pylist()
        pieces += [
            f"<h3>Completeness: {text(field.name)}</h3>",
            grid(drawn),
            _numbers(counted),
            _taken(matched, field),
        ]
    return pieces


def _matched(path: Path | None) -> pa.Table | None:
    if path is None or not path.exists():
        return None
    table_ = pq.read_table(path)
    return table_ if table_.num_rows else None


def _magnitudes(matched: pa.Table) -> list[float]:
    values = matched["magnitude"].to_numpy() / MAGNITUDE_STEP
    return (np.arange(np.floor(values.min()), np.ceil(values.max()) + 1.5) * MAGNITUDE_STEP).tolist()


def _sizes(extended: pa.Table) -> list[float]:
    values = extended["radius_arcsec"].to_numpy()
    return np.geomspace(values.min() * 0.999, values.max() * 1.001, SIZE_BINS + 1).tolist()


def _plot(bins: pa.Table, name: str, figure_name: str) -> str:
    """Draw completeness and, dashed, the share that was found as its own class."""
    rows = [row for row in bins.to_pylist() if row["injected"]]
    low, high, share, least, most = (
        _column(rows, key)
        for key in (f"{name}_low", f"{name}_high", "completeness", "completeness_low", "completeness_high")
    )
    right = _column(rows, "right_class") / _column(rows, "injected")
    middle = (low + high) / 2
    with canvas(figure_name) as drawn:
        errors = np.clip([share - least, most - share], 0, None)
        drawn.axes.errorbar(middle, share, errors, (high - low) / 2, fmt="o", color=BLUE, label="found")
        drawn.axes.plot(middle, right, "--", color=ORANGE, label="found as its own class")
        drawn.axes.set(ylim=(-0.03, 1.03), ylabel="share", xlabel=name.replace("_arcsec", " [arcsec]"))
        drawn.axes.legend()
    return drawn.svg


def _column(rows: Sequence[Mapping[str, Any]], key: str) -> NDArray[np.float64]:
    return np.array([row[key] for row in rows], np.float64)


def _numbers(rows: Sequence[Mapping[str, Any]]) -> Raw:
    head = ["magnitude", "there", "found", "blended", "right class", "completeness", "68 % interval"]
    body = [
        [f"{row['magnitude_low']:g} to {row['magnitude_high']:g}"]
        + [count(row[key]) for key in ("injected", "found", "blended", "right_class")]
        + [percent(row["completeness"])]
        + [f"{percent(row['completeness_low'])} to {percent(row['completeness_high'])}"]
        for row in rows
    ]
    note = "Blended: its pixel belongs to a brighter source. Intervals after Wilson (1927)."
    return table(head, body, note=note)


def _taken(matched: pa.Table, field: FieldFacts) -> Raw:
    names = _classes(field)
    rows = [
        [row["class"], *(count(row[name]) for name in names)] for row in confusion(matched, names).to_pylist()
    ]
    return details("What found sources of each class were taken for", table(["class", *names], rows))
