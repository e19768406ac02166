"""Starting a trainer and waiting for it. No TensorFlow here: this runs inside a worker."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import schemas.errors
from model.jobs import TrainingJob, TrainingResult, read_result, write_job
from model.trainer import ERROR, PROGRESS, RESULT
from schemas.errors import ModelError, SkymillError

_POLL_S = 0.2
_LOG = "trainer.log"


def run_trainer(
    job: TrainingJob, *, on_progress: Callable[[dict[str, Any]], None] | None = None
) -> TrainingResult:
    """Run `job` in a process of its own and return its result.

    The process dies with this one; when this call is left early, by whatever way, the process is killed.
    `on_progress` is given each event the trainer reports.

    Raises
    ------
    SkymillError
        What the trainer raised, or a ModelError when it ended without a word.
    """
    folder = Path(job.checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (PROGRESS, RESULT, ERROR):
        (folder / name).unlink(missing_ok=True)
    (folder / PROGRESS).touch()
    write_job(job, folder / "job.json")
    with (folder / _LOG).open("wb") as log, (folder / PROGRESS).open() as progress:
        command = [sys.executable, "-P", "-m", "model.trainer", str(folder / "job.json"), str(os.getpid())]
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
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
