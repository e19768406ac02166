"""What every batch scheduler must do, as functions that take one and a folder: real and fake ones pass all of them."""

import json
import re
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.sites.batch import Batch, Job, State, array_index, job_id
from schemas.site import Pool

WITHIN_S = 120.0

PROGRAM = """
import json, os, signal, sys, time

def note(what, **more):
    with open("notes", "a") as file:
        file.write(json.dumps({"what": what, "pid": os.getpid(), **more}) + "\\n")

def leave(number, frame):
    note("left", signal=number)
    os._exit(0)

for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, leave)
kind, what = sys.argv[1:]
note("began", environ={k: v for k, v in os.environ.items() if k.startswith(%r)})
print("output of", os.getpid(), flush=True)
if what == "again" and open("notes").read().count("began") == 1:
    from cluster.sites.batch import batch_of
    from schemas.site import Site
    sys.exit(batch_of(Site(name="lab", kind=kind)).again())
time.sleep(600 if what == "sleep" else 0.2)
note("ended")
"""
PREFIXES = ("SLURM_", "PBS_", "SGE_", "JOB_ID", "LSB_", "SKYMILL_", "PYTHONSAFEPATH", "PROLOGUE")


def make_job(folder: Path, kind: str, what: str, *, pool: Pool, count: int = 1) -> Job:
    """Return a job that does `what`, and notes what it does in its folder."""
    work, logs = folder / "work", folder / "submission" / "logs"
    for path in (work, logs):
        path.mkdir(parents=True)
    (work / "job.py").write_text(PROGRAM % (PREFIXES,))
    words = [sys.executable, str(work / "job.py"), kind, what]
    return Job(f"sm-{what}", pool, shlex.join(words), work, logs, count)


def hand_in(batch: Batch, job: Job) -> str:
    """Write a job's script where submissions have theirs, and hand it in."""
    script = job.logs.parent / "driver.sh"
    script.write_text(batch.script(job))
    return batch.submit(script, job)


def notes(job: Job, what: str) -> list[dict[str, Any]]:
    """Return what a job's elements noted of one thing."""
    path = job.folder / "notes"
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [note for note in found if note["what"] == what]


def await_(what: str, holds: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.1)


def alive(batch: Batch, id_: str) -> int:
    """Return how many elements of a job are alive."""
    return sum(standing.state.is_alive for standing in batch.standings([id_])[id_])


def check_an_array_runs_and_ends(batch: Batch, folder: Path, kind: str, pool: Pool) -> None:
    """Every element runs once, in the folder, knows its place, and has an output of its own."""
    job = make_job(folder, kind, "run", pool=pool, count=2)
    id_ = hand_in(batch, job)
    await_("the end", lambda: len(notes(job, "ended")) == 2)
    began = notes(job, "began")
    assert len({note["pid"] for note in began}) == len(began) == 2
    environs = [note["environ"] for note in began]
    assert len({array_index(environ) for environ in environs}) == 2
    assert all(re.search(r"\d", job_id(environ)) for environ in environs)
    assert {(environ["PYTHONSAFEPATH"], environ["PROLOGUE"]) for environ in environs} == {("1", "set")}
    await_("nothing alive", lambda: not alive(batch, id_))
    texts = {path.name: path.read_text() for path in job.logs.iterdir() if "output of" in path.read_text()}
    assert len(texts) == 2 and all(job.name in name and re.match(r"\d+", id_)[0] in name for name in texts), (
        texts
    )
    assert {int(text.split()[2]) for text in texts.values()} == {note["pid"] for note in began}


def check_a_job_is_seen_and_cancelled(batch: Batch, folder: Path, kind: str, pool: Pool) -> None:
    """A running job is told apart from others; a cancelled one is asked to leave, ends, and stays away."""
    job = make_job(folder, kind, "sleep", pool=pool, count=2)
    id_ = hand_in(batch, job)
    await_("two begun", lambda: len(notes(job, "began")) == 2)
    await_("two running", lambda: [s.state for s in batch.standings([id_])[id_]] == [State.RUNNING] * 2)
    assert all(standing.node for standing in batch.standings([id_])[id_])
    assert batch.standings([]) == {}
    batch.cancel([id_])
    await_("both told", lambda: len(notes(job, "left")) == 2)
    await_("nothing alive", lambda: not alive(batch, id_))
    assert len(notes(job, "began")) == 2
    batch.cancel([id_])


def check_a_job_is_started_again(batch: Batch, folder: Path, kind: str, pool: Pool) -> None:
    """A job that asks for it is started once more, and then ends."""
    job = make_job(folder, kind, "again", pool=pool)
    hand_in(batch, job)
    await_("the end", lambda: len(notes(job, "ended")) > 0, 300)
    assert len(notes(job, "began")) == 2


def check_a_job_it_never_had_is_forgotten(batch: Batch, unknown: str) -> None:
    """A job that the scheduler does not know has no elements, and can be cancelled."""
    assert batch.standings([unknown]) == {unknown: ()}
    batch.cancel([unknown])
