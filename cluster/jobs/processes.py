"""The processes of a job: they die with it, whatever becomes of it."""

import contextlib
import ctypes
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import psutil  # type: ignore[import-untyped]

from schemas.parents import die_with_parent

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt_orphans() -> None:
    """Become the parent of all descendants whose own parent dies, so that none can slip away."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start(
    command: Sequence[str], *, environment: Mapping[str, str], folder: str | None = None, heard: bool = False
) -> "subprocess.Popen[bytes]":
    """Start a command that the kernel kills when this thread ends: call it from the main one.

    It has a session of its own, so that a signal to the job's processes reaches it by us alone.

    Parameters
    ----------
    command : sequence of str
        With its arguments.
    environment : mapping
        All of it.
    folder : str, optional
        Where it works; by default here.
    heard : bool
        Whether its stderr is a pipe to us.

    Raises
    ------
    OSError
        If it cannot be started.
    """
    return subprocess.Popen(
        command,
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE if heard else None,
        preexec_fn=partial(die_with_parent, os.getpid()),
        start_new_session=True,
    )


def end(child: "subprocess.Popen[bytes]", left_s: Callable[[], float]) -> int:
    """End a child, politely at first, and return its code; `left_s` says how much time [s] is left for that."""
    if child.poll() is None:
        child.terminate()
    while child.poll() is None and left_s() > 0:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(0.1)
    if child.poll() is None:
        child.kill()
    return child.wait()


def countdown(seconds: float) -> Callable[[], float]:
    """Return a function that says what is left [s] of a time that begins now."""
    deadline = time.monotonic() + seconds
    return lambda: deadline - time.monotonic()


def kill_descendants() -> None:
    """Kill all descendants at once; those that are being born meanwhile too."""
    for _ in range(100):
        alive = descendants()
        if not alive:
            return
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.02)


def end_descendants(within_s: float) -> None:
    """End all descendants, politely at first."""
    for process in descendants():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    deadline = time.monotonic() + within_s
    while descendants() and time.monotonic() < deadline:
        time.sleep(0.05)
    kill_descendants()


def descendants() -> list[psutil.Process]:
    """Return the descendants of this process that still run."""
    alive = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive
