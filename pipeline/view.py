"""What a user sees while the mill turns: live bars on a terminal, plain lines elsewhere."""

import sys
import time
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from pipeline.summary import WIDTH

LINE_EVERY_S = 5.0
"""Least time between two plain lines of one stage."""


class View(Protocol):
    """Where progress goes."""

    def stage(self, name: str, *, total: int, done: int) -> None:
        """Announce a stage of `total` units, `done` of which an earlier run has finished."""

    def advance(self, name: str, *, done: int, note: str = "") -> None:
        """Set how many units of a stage are done."""

    def say(self, text: str) -> None:
        """Print a line that stays."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Lines:
    """Plain lines, for logs and pipes."""

    def __init__(self) -> None:
        self._totals: dict[str, int] = {}
        self._last: dict[str, float] = {}

    def stage(self, name: str, *, total: int, done: int) -> None:
        """Announce a stage."""
        self._totals[name] = total
        self.say(f"{name}: {total} to do" if not done else f"{name}: {total - done} of {total} to do")

    def advance(self, name: str, *, done: int, note: str = "") -> None:
        """Print a line, unless one was printed a moment ago and this is not the last."""
        now = time.monotonic()
        total = self._totals.get(name, 0)
        if done < total and now - self._last.get(name, 0.0) < LINE_EVERY_S:
            return
        self._last[name] = now
        self.say(f"{name}: {done}/{total}{' ' + note if note else ''}")

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, flush=True)

    def close(self) -> None:
        """Nothing to leave behind."""


class Bars:
    """One live bar a stage."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn(f"{{task.description:<{WIDTH}}}"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=False),
        )
        self._tasks: dict[str, TaskID] = {}
        self._progress.start()

    def stage(self, name: str, *, total: int, done: int) -> None:
        """Add a bar."""
        self._tasks[name] = self._progress.add_task(name, total=total, completed=done, note="")

    def advance(self, name: str, *, done: int, note: str = "") -> None:
        """Move a bar."""
        self._progress.update(self._tasks[name], completed=done, note=note)

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Stop redrawing."""
        self._progress.stop()


def open_view(*, quiet: bool = False) -> View:
    """Return bars on a terminal, lines elsewhere."""
    return Bars() if sys.stdout.isatty() and not quiet else Lines()
