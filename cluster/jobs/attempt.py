"""One attempt of a driver's job: a Dask scheduler, the command, and how they ended."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Self

from cluster import lease
from cluster.jobs import processes
from cluster.jobs.asking import interface_of
from cluster.jobs.departure import Departure
from cluster.jobs.node import address_of
from cluster.jobs.times import say
from cluster.submission import VARIABLE, Order, Submission
from schemas.errors import WorkerError
from schemas.runfile import PREFIX, RESERVED

TICK_S = 0.1
SCHEDULER_END_S = 6.0
MOST_LINES, MOST_LETTERS = 20, 4000


@dataclass(frozen=True)
class Ended:
    """How an attempt ended.

    ``code`` is the command's; ``words`` are its last lines on stderr; ``lost`` says that the Dask scheduler had died,
    or had not begun when the command would wait no more; ``seconds`` is how long it took.
    """

    code: int
    words: str = ""
    lost: bool = False
    seconds: float = 0.0


class Attempt:
    """The two children of a driver's job; both have ended when its context is left.

    Parameters
    ----------
    submission, order : Submission, Order
        What is to be done.
    nonce : str
        Of the lease by which it is done.
    stop : callable
        Says why both have to end; nothing while they do not.
    departure : Departure
        By when they have to.
    notice_s : float
        How long [s] the command has to notice that the Dask scheduler has died.
    """

    def __init__(
        self,
        submission: Submission,
        order: Order,
        *,
        nonce: str,
        stop: Callable[[], str],
        departure: Departure,
        notice_s: float,
    ) -> None:
        self._submission = submission
        self._order = order
        self._nonce = nonce
        self._stop = stop
        self._departure = departure
        self._notice_s = notice_s
        self._file = submission.scheduler_file

    def __enter__(self) -> Self:
        self._begun_s = time.monotonic()
        self._file.unlink(missing_ok=True)
        self._listened = False
        command = [sys.executable, "-m", "cluster.jobs.scheduler", str(self._submission.path)]
        self._scheduler = processes.start([*command, interface_of(self._order.site)], environment=os.environ)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        processes.end(self._scheduler, processes.countdown(SCHEDULER_END_S))

    def run(self) -> Ended:
        """Start the command, which waits for the Dask scheduler when it needs it, and wait until it has ended."""
        say(f"starting: {' '.join(self._order.argv)[:500]}")
        try:
            child = processes.start(
                self._order.argv,
                environment={**_plain_environment(), **self._environment()},
                folder=self._order.folder,
                heard=True,
            )
        except OSError as error:
            return Ended(127, f"{self._order.argv[0]} cannot be started: {error}")
        assert child.stderr is not None
        echo = Echo(child.stderr)
        try:
            lost = self._watch(child)
        finally:
            code = processes.end(child, processes.countdown(0.0))
        lost |= code == WorkerError.exit_code and not self._listened
        return Ended(code, echo.words(), lost, time.monotonic() - self._begun_s)

    def _watch(self, child: "subprocess.Popen[bytes]") -> bool:
        """Wait until the command has ended, or has to; return whether the Dask scheduler died.

        Where that never listened, the command has nothing to notice, and is ended at once.
        """
        lost_s: float | None = None
        while child.poll() is None:
            self._listened = self._listened or self._file.exists()
            notice_s = self._notice_s if self._listened else 0.0
            if why := self._stop():
                say(f"it is time to end: {why}")
                processes.end(child, lambda: self._departure.left_s)
            elif lost_s is None and self._scheduler.poll() is not None:
                lost_s = time.monotonic()
                say(f"the Dask scheduler has ended with code {self._scheduler.returncode}")
            elif lost_s is not None and time.monotonic() - lost_s > notice_s:
                processes.end(child, processes.countdown(10.0))
            else:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(TICK_S)
        return lost_s is not None or (self._scheduler.poll() is not None and not self._stop())

    def _environment(self) -> Mapping[str, str]:
        pools = [self._order.site.pools[name] for name, count in self._order.nodes.items() if count]
        return {
            VARIABLE: str(self._submission.path),
            lease.VARIABLE: self._nonce,
            "SKYMILL_CLUSTER__ADDRESS": str(self._file),
            "SKYMILL_CLUSTER__POOLED": "true",
            "SKYMILL_CLUSTER__MEMORY_GIB": str(min((pool.memory_gib for pool in pools), default=4.0)),
            "SKYMILL_SANDBOX__HOST": address_of(interface_of(self._order.site)),
        }


def _plain_environment() -> dict[str, str]:
    """Return this job's environment without keys of a run file: they are in the one that was submitted."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(PREFIX) or name in RESERVED
    }


class Echo:
    """Passes on what a child writes to stderr, and keeps its last lines."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._lines: deque[bytes] = deque(maxlen=MOST_LINES)
        self._thread = threading.Thread(target=self._copy, name="echo", daemon=True)
        self._thread.start()

    def _copy(self) -> None:
        for line in self._pipe:
            self._lines.append(line)
            with contextlib.suppress(OSError):
                os.write(2, line)

    def words(self) -> str:
        """Return the last lines of a child that has ended; what it left behind may still hold the pipe."""
        self._thread.join(timeout=2.0)
        return b"".join(list(self._lines)).decode(errors="replace")[-MOST_LETTERS:].strip()
