"""Starting a trainer and waiting for it. No TensorFlow here: this runs inside a worker."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import schemas.errors
from model.files import clean, disk_errors, locked
from model.jobs import TrainingJob, TrainingResult, read_result, write_job
from model.trainer import ERROR, PROGRESS, RESULT
from schemas.environment import MALLOC
from schemas.errors import ModelError, SkymillError, StoreError

_POLL_S = 0.2
_LOCK_WAIT_S = 60.0
_JOB, _LOG = "job.json", "trainer.log"


def run_trainer(
    job: TrainingJob,
    *,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
    lock_wait_s: float = _LOCK_WAIT_S,
) -> TrainingResult:
    """Run `job` in a process of its own and return its result.

    The process dies with this one; when this call is left early, by whatever way, the process is killed.
    `on_progress` is given each event the trainer reports. One trainer at a time works in a checkpoint's folder:
    one that is still dying is waited for up to `lock_wait_s` seconds.

    Raises
    ------
    SkymillError
        What the trainer raised; a ModelError when it ended without a word, or another one works in the same
        folder; a StoreError when the folder cannot be written.
    """
    folder = Path(job.checkpoint)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, wait_s=lock_wait_s) as lock:
        with disk_errors(folder):
            _prepare(folder, job)
        with (folder / _LOG).open("ab") as log, (folder / PROGRESS).open() as progress:
            command = [sys.executable, "-P", "-m", "model.trainer", str(folder / _JOB), str(os.getpid())]
            child = subprocess.Popen(
                command,
                env={**os.environ, **MALLOC},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock,),
            )
            try:
                while True:
                    ended = _wait(child)
                    _forward(progress, on_progress)
                    if ended:
                        break
            finally:
                if child.poll() is None:
                    child.kill()
                child.wait()
        return _outcome(folder, child.returncode)


def _prepare(folder: Path, job: TrainingJob) -> None:
    """Take away what an earlier trainer has said, and write what this one is to do."""
    clean(folder)
    for name in (PROGRESS, RESULT, ERROR):
        (folder / name).unlink(missing_ok=True)
    for name in (PROGRESS, _LOG):
        (folder / name).write_bytes(b"")
    write_job(job, folder / _JOB)


def _wait(child: subprocess.Popen[bytes]) -> bool:
    try:
        child.wait(_POLL_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _forward(progress: Any, on_progress: Callable[[dict[str, Any]], None] | None) -> None:
    """Pass on the whole lines written since; a line that is still being written waits."""
    while True:
        position = progress.tell()
        line = progress.readline()
        if not line.endswith("\n"):
            progress.seek(position)
            return
        if on_progress is not None:
            on_progress(json.loads(line))


def _outcome(folder: Path, code: int) -> TrainingResult:
    if code == 0 and (folder / RESULT).exists():
        return read_result(folder / RESULT)
    if (folder / ERROR).exists():
        raise _error(json.loads((folder / ERROR).read_text()))
    if code == os.EX_IOERR:
        raise StoreError(
            f"the trainer could not write to {folder}, not even why: mostly a full disk",
            "free some space or choose another `output`, then run the same command again: the training goes on "
            "from its last epoch",
        )
    raise ModelError(
        f"the trainer ended with code {code} and no result; its log: {_tail(folder / _LOG)}",
        "code -9 means that it was killed, mostly for memory: raise cluster.memory_gib or lower "
        "training.batch; the next run goes on from the last epoch",
    )


def _error(problem: dict[str, str]) -> SkymillError:
    kind = getattr(schemas.errors, problem["kind"], ModelError)
    found: SkymillError = kind(problem["error"], problem["remedy"])
    return found


def _tail(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "empty"
