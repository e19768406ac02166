"""Look at a run without disturbing the driver that works on it."""

import argparse
import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from cluster.submission import VARIABLE, Submission, write_json
from cluster.work import find
from pipeline import summary
from pipeline.database import embedded_folder, open_ledger
from pipeline.ledger import Ledger
from pipeline.progress import curve_line, trainings_under_way
from pipeline.stores.takeover import is_elsewhere
from pipeline.submitted import name_of, said_lines, status_lines, submission_of, tail
from schemas.config import RunFile
from schemas.errors import SkymillError
from schemas.runfile import load_run_file

log = logging.getLogger(__name__)

TELL_S = 5.0
"""How often a submitted run says how far it is [s]."""
SO_FAR = "report-so-far.html"
STAGES = ("rows", "fetch", "pretrain", "search", "train", "calibrate", "infer", "sources", "publish")


def status(args: argparse.Namespace) -> int:
    """Say how far a run is, and how its training goes; of a submitted one, how its jobs are too."""
    run_file = load_run_file(Path(args.run_file), words=args.words)
    submission = Submission.of(run_file.folder)
    if order := submission.order:
        lines, over = status_lines(submission, order)
        print("\n".join(lines))
        if not over:
            return 0
        if is_held_elsewhere(run_file):
            print("\n".join(said_lines(submission)))
            return 0
    with open_ledger(run_file) as ledger:
        if not ledger.view_run(run_file.name):
            print(f"{run_file.name}: not started; `skymill run {args.run_file}` begins it")
            return 0
        for line in summary.progress_lines(ledger):
            print(line)
    for line in training_lines(run_file.folder):
        print(line)
    return 0


def logs(args: argparse.Namespace) -> int:
    """Show the ends of the logs of a submitted run's jobs."""
    submission, order = submission_of(args)
    own = submission.path.parent / "logs" / "driver.log"
    found = [path for path in sorted(submission.logs.glob("*")) if path.is_file()]
    shown = [path for path in [*found, own] if path.is_file() and args.job in path.name]
    if not shown and args.job:
        names = ", ".join(path.name for path in found) or "none yet"
        raise SkymillError(
            f"{name_of(order)}: no log of {args.job!r}; there are: {names}", "name one of them"
        )
    if not shown:
        print(f"{name_of(order)}: no job has written a log yet; `skymill status` says what they wait for")
    for path in shown:
        print(f"==> {path} <==")
        for line in tail(path, args.lines):
            print(line)
    return 0


def is_held_elsewhere(run_file: RunFile) -> bool:
    """Say whether a run's database is an embedded one that another host has, or has left without a word."""
    return run_file.database.dsn == "embedded" and is_elsewhere(embedded_folder(run_file))


@contextlib.contextmanager
def telling(run_file: RunFile, dsn: str) -> Iterator[None]:
    """Keep how far the run is in its submission's folder, for those who do not reach the database."""
    home = os.environ.get(VARIABLE)
    if not home:
        yield
        return
    over = threading.Event()
    path = Submission(Path(home)).status_file
    thread = threading.Thread(target=_tell, args=(run_file, dsn, path, over), name="status", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(TELL_S)


def _tell(run_file: RunFile, dsn: str, path: Path, over: threading.Event) -> None:
    last = False
    while not last:
        last = over.is_set()  # the end is told too
        try:
            with Ledger.open(dsn, password_file=run_file.database.password_file) as ledger:
                while True:
                    known = ledger.view_run(run_file.name)
                    lines = summary.progress_lines(ledger) if known else []
                    write_json(path, {"at": time.time(), "lines": [*lines, *training_lines(run_file.folder)]})
                    if last:
                        return
                    last = over.wait(TELL_S)
        except (SkymillError, OSError) as error:
            log.warning("how far the run is could not be told: %s", error)
            over.wait(TELL_S)


def training_lines(folder: Path) -> list[str]:
    """Return a line and a small curve for each training of a run's folder that has begun and not ended."""
    found = [
        line for progress in trainings_under_way(folder) for line in (progress.line(), curve_line(progress))
    ]
    return [line for line in found if line]


def write_report_so_far(run_file: RunFile) -> Path | None:
    """Write what there is to report of a run that another driver works on, and return the page's path.

    None where the ledger does not know the run: then the other driver works on another run of the same cube. None
    too where the database is the embedded one of a submitted run: it answers on its driver's host only.
    """
    if is_held_elsewhere(run_file):
        return None
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
