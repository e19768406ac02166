"""Keep the jobs of this machine: what a batch scheduler does, for processes.

``python -m cluster.sites.keeper TICKET`` goes into the background and prints the id of the job: its process id and
when that process began, so that no other can be taken for it. It has one child an element, and ends with them. An
element that asks to be started again, or is killed by a signal, is; one that passes its walltime is ended.

A job that hands in another job has its own keeper start that one: it must not end with the job as its child would.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import FrameType

import psutil  # type: ignore[import-untyped]

from cluster.jobs.processes import adopt_orphans, kill_descendants
from cluster.sites.batch import AGAIN
from schemas.parents import die_with_parent

GRACE_S = 30.0
"""How long [s] an element may take to end when it is told to."""

ANSWER_S = 30.0
"""How long [s] a keeper may take to start another job."""

KEEPER = "SKYMILL_KEEPER"
"""Names, in the environment of a job, the folder in which its keeper is asked to start another one."""

_HANDED_ON = (signal.SIGTERM, signal.SIGUSR2)
_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True)
class Ticket:
    """What is kept: `count` runs of a script; `log` is their output's path without the ending."""

    script: str
    log: str
    count: int
    walltime_s: float
    warn_s: float

    def requests(self, job: str) -> Path:
        """Return the folder of the requests to the keeper of this ticket, whose id is `job`."""
        return Path(self.log).parent / f".keeper-{job}"

    @property
    def text(self) -> str:
        """The ticket as one word of a command line."""
        return json.dumps(asdict(self))


def identity(pid: int) -> str:
    """Return the id of a process, which no other gets: its number and when it began.

    Raises
    ------
    psutil.NoSuchProcess
        If it is gone.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    except OSError:
        return f"{pid}.{int(psutil.Process(pid).create_time())}"
    return f"{pid}.{fields.split()[19]}"  # starttime, in ticks since boot (proc(5))


class _Element:
    """One element of a job, in a process of its own that adopts what the element leaves behind."""

    def __init__(self, ticket: Ticket, job: str, index: int) -> None:
        self._ticket = ticket
        ending = f"-{job}_{index}.out" if ticket.count > 1 else f"-{job}.out"
        self._log = Path(ticket.log + ending)
        self._environment = {
            **os.environ,
            "SKYMILL_JOB_ID": job,
            "SKYMILL_ARRAY_INDEX": str(index),
            KEEPER: str(ticket.requests(job)),
        }
        self._told = False

    def keep(self) -> None:
        """Run it until it has ended for good."""
        adopt_orphans()
        signal.signal(signal.SIGTERM, self._tell)
        signal.signal(signal.SIGUSR2, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDED_ON)
        pause_s = _PAUSE_S
        while not self._told:
            began = time.monotonic()
            code, in_time = self._run()
            kill_descendants()
            if self._told or not in_time or (code >= 0 and code != AGAIN):
                return
            pause_s = (
                _PAUSE_S
                if time.monotonic() - began > _LONGEST_PAUSE_S
                else min(2 * pause_s, _LONGEST_PAUSE_S)
            )
            resume = time.monotonic() + pause_s
            while not self._told and time.monotonic() < resume:
                time.sleep(0.1)

    def _run(self) -> tuple[int, bool]:
        """Run it once: its exit code, and whether it kept its walltime."""
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                ["bash", self._ticket.script],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
                preexec_fn=partial(die_with_parent, os.getpid()),
            )
        began = time.monotonic()
        warned, ended = False, None
        while (code := process.poll()) is None:
            now = time.monotonic()
            if not warned and now > began + self._ticket.walltime_s - self._ticket.warn_s:
                warned = True
                process.send_signal(signal.SIGUSR1)
            if ended is None and (self._told or now > began + self._ticket.walltime_s):
                ended = now
                process.terminate()
            if ended is not None and now > ended + GRACE_S:
                process.kill()
            time.sleep(0.1)
        return code, ended is None

    def _tell(self, number: int, frame: FrameType | None) -> None:
        self._told = True


def _keep(ticket: Ticket) -> None:
    """Start the elements, hand signals on to them, and wait for all of them."""
    keeper = os.getpid()
    job = identity(keeper)
    elements: set[int] = set()

    def tell(number: int, frame: FrameType | None) -> None:
        for pid in elements:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, tell)
    signal.signal(signal.SIGUSR2, lambda number, frame: _start_others(ticket.requests(job)))
    for index in range(ticket.count):
        if not (pid := os.fork()):
            try:
                die_with_parent(keeper)
                _Element(ticket, job, index).keep()
            finally:
                os._exit(0)
        elements.add(pid)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDED_ON)
    while elements:
        elements.discard(os.wait()[0])
    shutil.rmtree(ticket.requests(job), ignore_errors=True)


def ask(folder: Path, ticket: Ticket, keeper: int) -> str:
    """Have the keeper of this job start another job, and return its id; empty if it does not answer."""
    folder.mkdir(exist_ok=True)
    request = folder / f"{os.getpid()}-{time.monotonic_ns()}.ticket"
    fresh = request.with_suffix(".fresh")
    fresh.write_text(ticket.text, encoding="utf-8")
    fresh.replace(request)
    os.kill(keeper, signal.SIGUSR2)
    answer, deadline = request.with_suffix(".id"), time.monotonic() + ANSWER_S
    while time.monotonic() < deadline:
        if answer.exists() and (id_ := answer.read_text(encoding="utf-8")).endswith("\n"):
            return id_.strip()
        time.sleep(0.05)
    request.unlink(missing_ok=True)
    return ""


def _start_others(folder: Path) -> None:
    """Start a keeper for every request; it goes into the background, and so becomes nobody's child."""
    for request in folder.glob("*.ticket"):
        text = request.read_text(encoding="utf-8")
        request.unlink()
        with request.with_suffix(".id").open("wb") as answer, contextlib.suppress(OSError):
            words = command(Ticket(**json.loads(text)))
            subprocess.run(words, stdin=subprocess.DEVNULL, stdout=answer, check=False)


def command(ticket: Ticket) -> list[str]:
    """Return the command that starts a keeper."""
    return [sys.executable, "-P", "-m", "cluster.sites.keeper", ticket.text]


def main() -> None:
    """Go into the background, and say under which id."""
    ticket = Ticket(**json.loads(sys.argv[1]))
    signal.pthread_sigmask(signal.SIG_BLOCK, _HANDED_ON)  # until there is somebody to hand it on to
    if pid := os.fork():
        print(identity(pid))
        return
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    _keep(ticket)


if __name__ == "__main__":
    main()
