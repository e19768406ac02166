"""Run a sandbox as a child process that ends with its parent."""

import os
import select
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.sandbox.main import to_arguments
from pipeline.sandbox.options import READY_LINE, SandboxOptions
from schemas.errors import SourceError
from schemas.parents import die_with_parent

_READY_WITHIN_S = 60.0
_STOP_WITHIN_S = 5.0


class SandboxProcess:
    """A running sandbox; leaving the ``with`` block stops it.

    Attributes
    ----------
    url : str
        Base URL, such as ``http://127.0.0.1:8000/``.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", url: str) -> None:
        self._process = process
        self.url = url

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Say whether it still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it, politely first; may be called again."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(options: SandboxOptions, log_path: Path) -> SandboxProcess:
    """Start a sandbox and wait until it answers.

    It ends when the thread that started it ends, whatever ended that: call this from the main thread.

    Parameters
    ----------
    options : SandboxOptions
        What it is to be.
    log_path : pathlib.Path
        Takes what it writes to standard error.

    Raises
    ------
    SourceError
        If it ends or says nothing within a minute; the message carries the end of its log.
    """
    command = [sys.executable, "-m", "pipeline.sandbox.main", *to_arguments(options)]
    # One thread a matrix product: two drawing threads already fill the small machines this is made for.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            preexec_fn=partial(die_with_parent, os.getpid(), signal.SIGTERM),
            start_new_session=True,  # Ctrl-C is for the parent, which then stops this one in its own time
        )
    url = _await_url(process)
    if url is None:
        SandboxProcess(process, "").stop()
        tail = log_path.read_text(errors="replace")[-2000:].strip()
        raise SourceError(f"the sandbox did not start: {tail or 'it said nothing'}", f"see {log_path}")
    return SandboxProcess(process, url)


def _await_url(process: "subprocess.Popen[bytes]") -> str | None:
    """Read the child's first line; None if it ends or says nothing in time."""
    assert process.stdout is not None
    deadline, said = time.monotonic() + _READY_WITHIN_S, b""
    while b"\n" not in said:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            return None
        part = os.read(process.stdout.fileno(), 4096)
        if not part:
            return None
        said += part
    first = said.decode(errors="replace").splitlines()[0]
    return first.removeprefix(READY_LINE).strip() if first.startswith(READY_LINE) else None
