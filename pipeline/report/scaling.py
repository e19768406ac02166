"""The page of a scaling run: throughput, efficiency, where the time went, the laws, and the machine."""

import math
import os
import re
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import tomli_w

from pipeline.provenance import code_version
from pipeline.report import plots_scaling as plots
from pipeline.report.markup import (
    Raw,
    code,
    count,
    decimal,
    details,
    figure,
    grid,
    head_of,
    section,
    sentence,
    table,
    text,
)
from pipeline.report.page import TEMPLATE
from pipeline.scale.laws import Fit, fit, laws_of
from pipeline.scale.measuring import COLUMNS, Measurement
from pipeline.scale.workers import Machine
from pipeline.stores.staging import disk_errors
from schemas.config import RunFile

PAGE = """{head}<body>
<header><h1>{name}</h1><p>Scaling measured {made}, skymill {version}</p><nav>{links}</nav></header>
<main>
{body}
</main>
<footer>Written by skymill. This page is one file: it asks no server for anything.</footer>
</body>
</html>
"""
PARTS = ("work", "wait", "io", "scheduler", "idle")
FAR = 4.0
"""A number of nodes that is so many times the largest measured one is a guess."""


def write_page(
    measurements: Sequence[Measurement], machines: Sequence[Machine], run_file: RunFile, out: Path
) -> None:
    """Write the page; it appears whole or not at all."""
    series = _series(measurements)
    sections = [_machines(machines, measurements)]
    sections += [_section(name, own, run_file.seed) for name, own in series.items()]
    sections += [_columns(), _run_file(run_file)]
    links = " ".join(
        f'<a href="#{_anchor(name)}">{text(name)}</a>' for name in ["Machines", *series, "Columns"]
    )
    page = PAGE.format(
        head=head_of(TEMPLATE.read_text(encoding="utf-8"), f"{run_file.name} – skymill scaling"),
        name=text(run_file.name),
        made=text(datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        version=text(code_version()),
        links=links,
        body="\n".join(sections),
    )
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    with disk_errors(out):
        temporary.write_text(page, encoding="utf-8")
        temporary.replace(out)


def closing_lines(measurements: Sequence[Measurement], seed: int) -> list[str]:
    """Return what each series comes to, in lines for the terminal."""
    lines = []
    for name, own in _series(measurements).items():
        most = max(each.nodes for each in own)
        there = [each for each in own if each.nodes == most]
        efficiency = statistics.median(each.efficiency for each in there)
        lines.append(f"{name}: efficiency {efficiency:.2f} on {most}; {there[-1].bottleneck}")
        lines += [f"  {law_words(found, most)}" for found in fits(own, seed)]
    return lines


def fits(own: Sequence[Measurement], seed: int) -> list[Fit]:
    """Return both laws, fitted to a series."""
    nodes, rates = [each.nodes for each in own], [each.rows_per_s for each in own]
    return [fit(law, nodes, rates, seed=seed) for law in laws_of(weak=own[0].mode == "weak")]


def law_words(found: Fit, most: int) -> str:
    """Return a fitted law in words: its parameters, and where more nodes stop paying."""
    if not found.found:
        return f"{found.law.name}: {found.unsure}"
    names = {"sigma": "σ", "kappa": "κ"}
    told = ", ".join(
        f"{names[name]} = {found.values[name]:.2g} ± {found.errors[name]:.1g}"
        for name in found.law.parameters[1:]
    )
    stop = (
        f"half of a node's worth is lost at {_nodes(found.half, found.spread(lambda each: each.half), most)}"
    )
    if "kappa" in found.values:
        stop += f"; throughput peaks at {_nodes(found.peak, found.spread(lambda each: each.peak), most)}"
    doubt = f" (with care: {found.unsure})" if found.unsure else ""
    return f"{found.law.name}: {told}; {stop}{doubt}"


def _nodes(value: float, spread: tuple[float, float], most: int) -> str:
    if not math.isfinite(value) and not math.isfinite(spread[0]):
        return "no number of nodes"
    low, high = (f"{each:.3g}" if math.isfinite(each) and each < 1e6 else "∞" for each in spread)
    shown = f"{value:.3g}" if math.isfinite(value) and value < 1e6 else "∞"
    far = f", far beyond the {most} measured" if value > FAR * most else ""
    return f"{shown} nodes ({low} to {high}{far})"


def _series(measurements: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    found: dict[str, list[Measurement]] = {}
    for each in measurements:
        found.setdefault(each.series, []).append(each)
    return {name: sorted(own, key=lambda each: (each.nodes, each.repeat)) for name, own in found.items()}


def _machines(machines: Sequence[Machine], measurements: Sequence[Measurement]) -> Raw:
    hosts: dict[tuple[str, str], list[Machine]] = {}
    for machine in machines:
        hosts.setdefault((machine.host, machine.boot), []).append(machine)
    rows = [
        [
            own[0].host,
            own[0].model or "–",
            count(own[0].physical),
            count(len({core for machine in own for core in machine.cores})),
            count(len(own)),
        ]
        for own in hosts.values()
    ]
    pieces: list[str] = [
        table(["host", "processor", "cores it says it has", "cores to use", "workers"], rows, words=2)
    ]
    for boot in dict.fromkeys(machine.boot for machine in machines):
        shared = sorted(host for host, of in hosts if of == boot)
        if len(shared) > 1:
            pieces.append(sentence(f"{', '.join(shared)} are one machine: they share its cores."))
    over = [each for each in measurements if each.slots > each.cores > 0]
    if over:
        least, most = min(each.nodes for each in over), max(each.nodes for each in over)
        pieces.append(
            sentence(
                f"With {least if least == most else f'{least} to {most}'} nodes there were fewer cores than tasks at "
                "the same time. What computes cannot become faster beyond the number of cores, whatever the number of "
                "workers; only what waits can. These measurements say nothing of as many machines."
            )
        )
    return section("machines", "Machines", *pieces)


def _section(name: str, own: Sequence[Measurement], seed: int) -> Raw:
    found = fits(own, seed)
    most = max(each.nodes for each in own)
    mode = "as much work a node (weak scaling)" if own[0].mode == "weak" else "the same work (strong scaling)"
    laws = [[one.law.name, one.law.formula, law_words(one, most).partition(": ")[2]] for one in found]
    held = {each.nodes: each.bottleneck for each in own}
    drawn = [
        figure(
            plots.throughput(_anchor(name), own, found),
            "Throughput of each measurement; the dotted line is the ideal, the shades are one standard deviation.",
        ),
        figure(
            plots.efficiency(_anchor(name), own, found), "Efficiency, against the smallest number of nodes."
        ),
        figure(plots.split(_anchor(name), own), "Where the time of all slots went, means of the repeats."),
    ]
    return section(
        _anchor(name),
        name,
        sentence(
            f"Units of work: {own[0].units:,}; {mode}, measured {max(each.repeat for each in own)} times."
        ),
        grid(drawn),
        "<h3>What held it back</h3>",
        table(["nodes", "most of all"], [[count(nodes), words] for nodes, words in held.items()], words=2),
        "<h3>Laws</h3>",
        table(["law", "formula", "fit, with one standard deviation"], laws, words=3),
        details("All measurements", _all(own), shown=True),
    )


def _all(own: Sequence[Measurement]) -> Raw:
    columns = ["nodes", "repeat", "seconds", "rows / s", "speedup", "efficiency"]
    rows = [
        [
            count(each.nodes),
            count(each.repeat),
            decimal(each.wall_s, digits=2),
            decimal(each.rows_per_s, digits=1),
            decimal(each.speedup, digits=2),
            decimal(each.efficiency, digits=2),
            *(decimal(100 * each.split.share(part), digits=0) for part in PARTS),
        ]
        for each in own
    ]
    return table([*columns, *(f"{part}, %" for part in PARTS)], rows, words=0)


def _columns() -> Raw:
    return section(
        "columns", "Columns of scaling.csv", table(["column", "meaning"], list(COLUMNS.items()), words=2)
    )


def _run_file(run_file: RunFile) -> Raw:
    plain = run_file.model_dump(mode="json", by_alias=True, exclude_none=True)
    return details("Resolved run file", code(tomli_w.dumps(plain, multiline_strings=True)))


def _anchor(name: str) -> str:
    return re.sub(r"\W+", "-", name.lower()).strip("-")
