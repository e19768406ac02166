"""Look at a run without disturbing the driver that works on it."""

import argparse
from pathlib import Path

from cluster.work import find
from pipeline import summary
from pipeline.database import open_ledger
from pipeline.progress import curve_line, trainings_under_way
from schemas.config import RunFile
from schemas.runfile import load_run_file

SO_FAR = "report-so-far.html"
STAGES = ("rows", "fetch", "search", "train", "infer", "publish")


def status(args: argparse.Namespace) -> int:
    """Say how far a run is, and how its training goes."""
    run_file = load_run_file(Path(args.run_file), words=args.words)
    with open_ledger(run_file) as ledger:
        if not ledger.view_run(run_file.name):
            print(f"{run_file.name}: not started; `skymill run {args.run_file}` begins it")
            return 0
        for line in summary.progress_lines(ledger):
            print(line)
    for line in training_lines(run_file.folder):
        print(line)
    return 0


def training_lines(folder: Path) -> list[str]:
    """Return a line and a small curve for each training of a run's folder that has begun and not ended."""
    found = [
        line for progress in trainings_under_way(folder) for line in (progress.line(), curve_line(progress))
    ]
    return [line for line in found if line]


def write_report_so_far(run_file: RunFile) -> Path | None:
    """Write what there is to report of a run that another driver works on, and return the page's path.

    None where the ledger does not know the run: then the other driver works on another run of the same cube.
    """
    under_way = trainings_under_way(run_file.folder)
    with open_ledger(run_file) as ledger:
        if not ledger.view_run(run_file.name):
            return None
        receipts = {
            stage: {key: receipt for key, (_, receipt) in ledger.receipts(stage).items()} for stage in STAGES
        }
        lines = summary.progress_lines(ledger) + training_lines(run_file.folder)
        gather = find("pipeline.reporting:gather")
        own = [progress for progress in under_way if progress.name.startswith("train ")]
        facts = gather(run_file, ledger, receipts, psql="", under_way=own, lines=lines)
    path: Path = find("pipeline.report.page:write_report")(facts, run_file.folder / SO_FAR)
    return path
