"""Starting a trainer and waiting for it. No framework here: this runs inside a worker."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import schemas.errors
from model.files import clean, disk_errors
from model.jobs import TrainingJob, TrainingResult, peer_lost, read_result, regroup_file, write_task
from model.trainer import Papers, papers_of
from schemas.environment import MALLOC
from schemas.errors import ModelError, SkymillError, StoreError, WorkerError
from schemas.records import Place

ALONE = Place()
_POLL_S = 0.2
_GENERATIONS_KEPT = 5
_LEFT_S = 600.0
"""A temporary file that is older [s] is nobody's: a younger one may be of a writer of another generation."""
_GROUP_WORDS = ("coordination", "CoordinationService", "Collective ops is aborted")
"""What the log ends with when TensorFlow ends a process because another member of its group is gone."""


def run_trainer(
    job: TrainingJob,
    place: Place = ALONE,
    *,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> TrainingResult | None:
    """Run the member of `job` that stands at `place` in a process of its own, and return its result.

    The process dies with the thread that calls this; when this call is left early, by whatever way, the process
    is killed.

    Parameters
    ----------
    job, place : TrainingJob, Place
        What to do, and as which member of which generation.
    on_progress : callable, optional
        Given each event the trainer reports.
    stopped : callable
        Asked several times a second; the trainer is ended once it says True.

    Returns
    -------
    TrainingResult or None
        None on every rank but 0, unless its ``regroup`` is set: then all members have one.

    Raises
    ------
    PeerLost
        The trainer ended because another member of its group did, or another process took its port.
    WorkerError
        It was killed, ended without a word, was silent for ``job.deadline_s``, or `stopped` said so.
    StoreError
        The folder cannot be written.
    SkymillError
        What the trainer raised.
    """
    papers = papers_of(job, place)
    with disk_errors(papers.folder):
        papers.folder.mkdir(parents=True, exist_ok=True)
        _prepare(papers, job, place)
    with papers.log.open("ab") as log, papers.progress.open() as progress:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "model.trainer", str(papers.job), str(os.getpid())],
            env=_environment(job, place),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            _watch(child, progress, on_progress, stopped, job.deadline_s)
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()
    return _outcome(papers, child.returncode, place)


def ask_to_regroup(checkpoint: Path, generation: int) -> None:
    """Ask the trainers of `generation` to end at the next epoch's end, to go on with other members.

    Raises
    ------
    StoreError
        The checkpoint's folder cannot be written.
    """
    path = regroup_file(checkpoint, generation)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _prepare(papers: Papers, job: TrainingJob, place: Place) -> None:
    """Take away what an earlier trainer of this rank has said, and write what this one is to do."""
    used = papers.job.exists()
    for path in (papers.result, papers.error):
        path.unlink(missing_ok=True)
    for path in (papers.progress, papers.log):
        path.write_bytes(b"")
    if place.rank == 0:
        checkpoint = Path(job.checkpoint)
        clean(checkpoint, older_s=_LEFT_S)
        if used:  # by an earlier driver that counted its generations alike
            regroup_file(checkpoint, place.generation).unlink(missing_ok=True)
        for folder in sorted(checkpoint.glob("generation-*"))[:-_GENERATIONS_KEPT]:
            if folder.name < papers.folder.name:
                shutil.rmtree(folder, ignore_errors=True)
    write_task(job, place, papers.job)


def _environment(job: TrainingJob, place: Place) -> dict[str, str]:
    device = {} if place.device is None else {"CUDA_VISIBLE_DEVICES": place.device}
    return {**os.environ, **MALLOC, "KERAS_BACKEND": job.backend, **device}


def _watch(
    child: subprocess.Popen[bytes],
    progress: Any,
    on_progress: Callable[[dict[str, Any]], None] | None,
    stopped: Callable[[], bool],
    deadline_s: float,
) -> None:
    """Pass on what the trainer says until it has ended; end it when it says nothing, or `stopped` says so."""
    heard = time.monotonic()
    while True:
        ended = _wait(child)
        if _forward(progress, on_progress):
            heard = time.monotonic()
        if ended:
            return
        if stopped():
            raise WorkerError(
                f"trainer {child.pid} was ended: its task is no longer wanted", "run the same command again"
            )
        if time.monotonic() - heard > deadline_s:
            raise WorkerError(
                f"trainer {child.pid} said nothing for {deadline_s:g} s (training.deadline_s) and was ended",
                "if a single step or the start of this training takes longer, raise training.deadline_s",
            )


def _wait(child: subprocess.Popen[bytes]) -> bool:
    try:
        child.wait(_POLL_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _forward(progress: Any, on_progress: Callable[[dict[str, Any]], None] | None) -> int:
    """Pass on the whole lines written since, and return how many; a line still being written waits."""
    count = 0
    while True:
        position = progress.tell()
        line = progress.readline()
        if not line.endswith("\n"):
            progress.seek(position)
            return count
        count += 1
        if on_progress is not None:
            on_progress(json.loads(line))


def _outcome(papers: Papers, code: int, place: Place) -> TrainingResult | None:
    if code == 0 and papers.result.exists():
        return read_result(papers.result)
    if papers.error.exists():
        raise _error(json.loads(papers.error.read_text()))
    if code == os.EX_IOERR:
        raise StoreError(
            f"the trainer could not write to {papers.folder}, not even why: mostly a full disk",
            "free some space or choose another `output`, then run the same command again: the training goes on "
            "from its last checkpoint",
        )
    last = _tail(papers.log)
    if code < 0 and place.size > 1 and any(words in last for words in _GROUP_WORDS):
        raise peer_lost(place.rank, place.size, last)
    if code < 0:
        why = "mostly" if code == -signal.SIGKILL else "if it was"
        raise WorkerError(
            f"trainer {place.rank} of {place.size} was killed by {signal.Signals(-code).name}; its log: {last}",
            f"{why} for memory: raise cluster.memory_gib, or training.accumulate in the preset; "
            "the training goes on from its last checkpoint",
        )
    raise WorkerError(
        f"trainer {place.rank} of {place.size} ended with code {code} and no result; its log: {last}",
        f"read {papers.log}; the training goes on from its last checkpoint",
    )


def _error(problem: dict[str, str]) -> SkymillError:
    kind = getattr(schemas.errors, problem["kind"], ModelError)
    found: SkymillError = kind(problem["error"], problem["remedy"])
    return found


def _tail(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "empty"
