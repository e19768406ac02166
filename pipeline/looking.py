"""Look at a run without disturbing the driver that works on it."""

import argparse
import json
from pathlib import Path
from typing import Any

from pipeline import summary
from pipeline.database import open_ledger
from schemas.runfile import load_run_file


def status(args: argparse.Namespace) -> int:
    """Say how far a run is."""
    run_file = load_run_file(Path(args.run_file), words=args.words)
    with open_ledger(run_file) as ledger:
        if not ledger.view_run(run_file.name):
            print(f"{run_file.name}: not started; `skymill run {args.run_file}` begins it")
            return 0
        for line in summary.progress_lines(ledger):
            print(line)
    if line := training_line(run_file.folder / "training"):
        print(line)
    return 0


def training_line(folder: Path) -> str:
    """Return the last epoch that a trainer has reported below `folder`; empty if there is none."""
    newest = max(folder.glob("*/progress.jsonl"), key=lambda path: path.stat().st_mtime, default=None)
    lines = newest.read_text(encoding="utf-8").splitlines() if newest else []
    epochs = [event for event in map(_event, lines) if event.get("event") == "epoch"]
    if not epochs:
        return ""
    numbers = ", ".join(f"{key} {epochs[-1][key]:.5g}" for key in ("loss", "val_loss") if key in epochs[-1])
    return f"training epoch {epochs[-1]['epoch']}, {numbers}"


def _event(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:  # the line that is being written
        return {}
    return found if isinstance(found, dict) else {}
