"""The database of a run: where it is, and the verb ``skymill db``."""

import argparse
import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.ledger import Ledger
from pipeline.stores import launcher
from pipeline.stores.takeover import is_ours
from schemas.config import RunFile
from schemas.errors import DatabaseError

log = logging.getLogger(__name__)

DATABASE_FOLDER = Path(".skymill/postgres")


def database(args: argparse.Namespace) -> int:
    """Start, stop or describe the embedded database."""
    folder = Path(args.directory) if args.directory else DATABASE_FOLDER
    if args.action == "start":
        print(launcher.start(folder))
    elif args.action == "stop":
        launcher.stop(folder)
    else:
        state = launcher.status(folder)
        if args.action == "url" and not state.dsn:
            raise DatabaseError(f"no database runs in {folder}", "start it: skymill db start")
        print(state.dsn if args.action == "url" else f"{folder}: {'running' if state.running else 'stopped'}")
    return 0


def embedded_folder(run_file: RunFile) -> Path:
    """Return the folder of the embedded server of a run."""
    return Path(run_file.database.directory or DATABASE_FOLDER).resolve()


def dsn_of(run_file: RunFile, *, say: Callable[[str], None] = log.warning) -> str:
    """Return the connection string of a run, starting the embedded server if that is what it uses.

    `say` takes what a user wants to know who waits for it.
    """
    if run_file.database.dsn != "embedded":
        return run_file.database.dsn
    return launcher.start(embedded_folder(run_file), say=say)


@contextlib.contextmanager
def open_ledger(run_file: RunFile) -> Iterator[Ledger]:
    """Connect to the database of a run, to look at it.

    An embedded server that had to be started for that is stopped again: a job on another host may want it.
    """
    embedded = embedded_folder(run_file) if run_file.database.dsn == "embedded" else None
    started = embedded is not None and not launcher.status(embedded).running
    dsn = dsn_of(run_file, say=lambda text: print(text, file=sys.stderr, flush=True))
    try:
        with Ledger.open(dsn, password_file=run_file.database.password_file) as ledger:
            yield ledger
    finally:
        if embedded is not None and started and not launcher.clients(embedded):
            launcher.stop(embedded)


def leave_embedded(run_file: RunFile) -> None:
    """Stop the embedded server if this job started it, so that the next one may on another host."""
    if run_file.database.dsn != "embedded":
        return
    folder = embedded_folder(run_file)
    try:
        if is_ours(folder):
            launcher.stop(folder)
    except DatabaseError as error:  # it must not hide why the run ended
        log.warning("the embedded database was not stopped: %s", error)


def give_away(run_file: RunFile) -> bool:
    """Stop the embedded server of this machine, which a job is to start on its own; say whether it ran."""
    return run_file.database.dsn == "embedded" and launcher.stop(embedded_folder(run_file))
