"""Run the published systems one after the other and write their tables and figures to docs/systems/.

    python -m benchmarks.systems [NAME …]

``systems.toml`` beside this file says what is run. Each run is the command ``skymill run``, so that one which was
stopped goes on where it was, and a finished one costs nothing. Runs of one seed share a cube.
"""

import argparse
import datetime
import html
import json
import math
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import ROOT
from pipeline.reporting import metrics_of_test_part
from schemas.config import RunFile
from schemas.runfile import load_run_file

PLAN = Path(__file__).with_name("systems.toml")
PAGES = ROOT / "docs" / "systems"
RUNS = "runs/systems"
FIGURES = ("estimates", "relation", "roc", "pit", "lattice-magnitude", "lattice-size")
COLOURS = (
    "--ink:#101112;--muted:#6a6b6c;--line:#d0d1d2;--paper:#fdfdfc;--blue:#0072b3;--orange:#d55e01;"
    "--green:#009e74;--sans:sans-serif"
)
"""The page's variables by day, which a figure needs where it stands alone."""
SECTIONS = ("estimates", "pdfs", "errors", "pixels", "fields")
"""Sections of a report whose tables are copied."""
HIDDEN = {"n", "n_noise", "n_signal", "outlier_threshold"}


def plan() -> dict[str, Any]:
    """Return what is run, by system: its ``survey``, its ``seeds``, ``words`` for all, and what each run ``set``s."""
    return tomllib.loads(PLAN.read_text(encoding="utf-8"))


def words_of(system: str, run: str, seed: int, planned: Mapping[str, Any]) -> list[str]:
    """Return what a run changes of its survey file, as words of the command line; `{seed}` in them is the seed."""
    changes = [*planned.get("words", ()), *planned["set"][run]]
    return [
        f"name={run}-{seed}",
        f"output={RUNS}",
        f"cube.path={RUNS}/{system}-{seed}-cube",
        f"seed={seed}",
        *(change.replace("{seed}", str(seed)) for change in changes),
    ]


def measure(survey: str, words: Sequence[str]) -> tuple[Mapping[str, Any], Path]:
    """Run to the end; return the metrics of the test part, and the run's folder."""
    command = [str(Path(sys.executable).with_name("skymill")), "run", survey, *words]
    print(f"$ skymill run {survey} {' '.join(words)}", flush=True)
    if subprocess.run(command, cwd=ROOT).returncode:
        raise SystemExit(f"{' '.join(words)} did not end")
    folder = load_run_file(ROOT / survey, words=words).folder
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8")), folder


def measure_together(run_file: RunFile, folders: Iterable[Path]) -> Mapping[str, Any]:
    """Return the metrics of the test parts of several runs as if they were of one run."""
    samples = (folder / "predictions" / run_file.training.sample for folder in folders)
    return metrics_of_test_part(
        run_file, [path for each in samples for path in sorted(each.glob("*.parquet"))]
    )


def table_of(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return the Markdown table: a row for each run, each number the mean over seeds and its deviation.

    The first number is told of each seed, too: of several runs those of one seed have the same test part.
    """
    numbers = {run: [_numbers(result) for result in results] for run, results in found.items()}
    names = list(next(iter(numbers.values()))[0])
    if all(
        each.get("sigma") == each.get("sigma_nmad") for all_seeds in numbers.values() for each in all_seeds
    ):
        names = [name for name in names if name != "sigma"]  # the definition has no scatter of its own
    lines = [f"| preset | {' | '.join(names)} | N | seeds |", "| --- " * (len(names) + 3) + "|"]
    for run, results in found.items():
        columns = [_spread([each[name] for each in numbers[run]]) for name in names]
        if len(results) > 1:
            columns[0] += f" ({', '.join(f'{each[names[0]]:.4f}' for each in numbers[run])})"
        count = ", ".join(f"{result['n']:,}" for result in results)
        lines.append(f"| `{run}` | {' | '.join(columns)} | {count} | {len(results)} |")
    return "\n".join(lines)


def _numbers(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a `metrics.json` by name, those of a detector at each rate of false alarms, too."""
    plain = {
        key: math.nan if value is None else value
        for key, value in result.items()
        if isinstance(value, int | float | None)
    }
    alarms = {
        f"true at {alarm['false_alarm']:.0%}": alarm["true_alarm"] for alarm in result.get("alarms", ())
    }
    return {key: float(value) for key, value in (plain | alarms).items() if key not in HIDDEN}


def _spread(values: Sequence[float]) -> str:
    mean = f"{np.mean(values):.4f}"
    return f"{mean} ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else mean


def figures_of(report: Path, stem: str) -> list[Path]:
    """Write the figures of a report as files of their own, those of `FIGURES` that it has."""
    page, written = report.read_text(encoding="utf-8"), []
    for name in FIGURES:
        for svg in re.findall(r"<svg\b.*?</svg>", page, re.DOTALL):
            if f'id="{name}-' in svg:
                path = PAGES / f"{stem}-{name}.svg"
                path.write_text(svg.replace("<svg", f'<svg style="{COLOURS}"', 1) + "\n", encoding="utf-8")
                written.append(path)
                break
    return written


def tables_of(report: Path) -> list[str]:
    """Return the tables of a report's `SECTIONS` as Markdown, each after its title: quality by redshift, of fields …"""
    page = report.read_text(encoding="utf-8")
    sections = re.findall(rf'<section id="(?:{"|".join(SECTIONS)})">(.*?)</section>', page, re.DOTALL)
    written, heading, title = list[str](), list[str](), list[str]()
    for table, tag, words in re.findall(
        r"(<table.*?</table>)|<(h2|h3|summary)\b[^>]*>(.*?)</\2>", "".join(sections), re.DOTALL
    ):
        if table:
            written += [*heading, *title, _as_markdown(table)]
            heading, title = [], []
        elif tag == "h2":
            heading, title = [f"**{_plain(words)}**"], []
        else:
            title = [f"{_plain(words)}:"]
    return written


def _as_markdown(table: str) -> str:
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in table.split("<tr>")[1:]]
    head, *body = [[_plain(cell).replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body))


def _plain(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", markup))


def with_results(page: str, text: str) -> str:
    """Return the page with the text between its marks.

    Raises
    ------
    SystemExit
        If the page has no marks.
    """
    before, found, rest = page.partition("<!-- results -->")
    _, end, after = rest.partition("<!-- end of results -->")
    if not found or not end:
        raise SystemExit("the page has no marks <!-- results --> and <!-- end of results -->")
    return f"{before}{found}\n{text}\n{end}{after}"


def write(system: str, planned: Mapping[str, Any]) -> None:
    """Run a system and write its page."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    reports: dict[str, Path] = {}
    for seed in planned["seeds"]:
        for run in planned["set"]:
            metrics, folder = measure(planned["survey"], words_of(system, run, seed, planned))
            found.setdefault(run, []).append(metrics)
            reports.setdefault(run, folder / "report.html")  # of the first seed
        if pooled := planned.get("pooled"):
            run_file = load_run_file(ROOT / planned["survey"])
            folders = [ROOT / RUNS / f"{run}-{seed}" for run in pooled]
            found.setdefault(" and ".join(pooled), []).append(measure_together(run_file, folders))
    drawn = [
        f"![{run}: {path.stem.rpartition('-')[2]}]({path.name})"
        for run, report in reports.items()
        for path in figures_of(report, run if run.startswith(system) else f"{system}-{run}")
    ]
    tables = [f"`{run}`, seed {planned['seeds'][0]}:", *tables_of(reports[run])]
    page = PAGES / f"{system}.md"
    made = f"{datetime.date.today()}, {os.cpu_count()} cores: `make systems SYSTEM={system}`"
    definition = f"By the definition `{next(iter(found.values()))[0]['definition']}`."
    text = "\n\n".join([table_of(found), definition, *tables, *drawn, made])
    page.write_text(with_results(page.read_text(encoding="utf-8"), text), encoding="utf-8")


def main() -> None:
    """Run those that are named, or all."""
    systems = plan()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(systems))
    names = parser.parse_args().names or list(systems)
    if unknown := sorted(set(names) - set(systems)):
        parser.error(f"expected some of {', '.join(systems)}; found {', '.join(unknown)}")
    for name in names:
        write(name, systems[name])


if __name__ == "__main__":
    main()
