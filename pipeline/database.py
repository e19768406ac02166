"""The database of a run: where it is, and the verb ``skymill db``."""

import argparse
from pathlib import Path

from pipeline.ledger import Ledger
from pipeline.stores import launcher
from schemas.config import RunFile
from schemas.errors import DatabaseError

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


def dsn_of(run_file: RunFile) -> str:
    """Return the connection string of a run, starting the embedded server if that is what it uses."""
    if run_file.database.dsn != "embedded":
        return run_file.database.dsn
    folder = Path(run_file.database.directory) if run_file.database.directory else DATABASE_FOLDER
    return launcher.start(folder.resolve())


def open_ledger(run_file: RunFile) -> Ledger:
    """Connect to the database of a run."""
    return Ledger.open(dsn_of(run_file), password_file=run_file.database.password_file)
