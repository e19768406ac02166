"""The trainer: a process of its own, one member of one training, ``python -m model.trainer JOB.json``.

It dies with the thread that started it. In the generation's folder it leaves ``progress-RANK.jsonl`` (one line an
event, each with its ``time``) and ``result-RANK.json``, or ``error-RANK.json`` (``error``, ``remedy``, ``kind``)
and exit code 1. Exit code 74 (``EX_IOERR`` of sysexits.h) says that not even the error could be written.
"""

import json
import os
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.files import refusal, write_durably
from model.jobs import TrainingJob, generation_folder, read_task
from model.threads import import_with_tensorflow
from schemas.disk import FULL
from schemas.errors import ModelError, SkymillError, StoreError, WorkerError
from schemas.parents import die_with_parent
from schemas.records import Place


@dataclass(frozen=True)
class Papers:
    """The files of one member in the folder of its generation."""

    folder: Path
    rank: int

    @property
    def job(self) -> Path:
        """What it is asked to do."""
        return self.folder / f"job-{self.rank}.json"

    @property
    def progress(self) -> Path:
        """What it says on the way."""
        return self.folder / f"progress-{self.rank}.jsonl"

    @property
    def log(self) -> Path:
        """What it and its libraries print."""
        return self.folder / f"trainer-{self.rank}.log"

    @property
    def result(self) -> Path:
        """What it answers."""
        return self.folder / f"result-{self.rank}.json"

    @property
    def error(self) -> Path:
        """Why it could not."""
        return self.folder / f"error-{self.rank}.json"


def papers_of(job: TrainingJob, place: Place) -> Papers:
    """Return the files of the member at `place`."""
    return Papers(generation_folder(job.checkpoint, place.generation), place.rank)


def do_job(job: TrainingJob, place: Place) -> int:
    """Train, leave the result or the error in the generation's folder, and return the exit code."""
    papers = papers_of(job, place)
    try:
        with papers.progress.open("a", buffering=1) as progress:
            training = import_with_tensorflow("model.training", threads=job.threads)

            def report(event: dict[str, Any]) -> None:
                progress.write(json.dumps({**event, "time": round(time.time(), 3)}) + "\n")

            result = training.train(job, report=report, place=place)
        answer = None if result is None else asdict(result)
        write_durably(papers.result, (json.dumps(answer, indent=1) + "\n").encode())
    except SkymillError as error:
        return _tell(error, papers.error)
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return _tell(unexpected(error, papers, place), papers.error)
    return 0


def unexpected(error: Exception, papers: Papers, place: Place) -> SkymillError:
    """Return what an error means that nobody foresaw.

    What a machine may be at fault for is a `WorkerError`: on another machine, or a moment later, it may not come
    again. A full disk is a `StoreError`.
    """
    if isinstance(error, OSError) and error.errno in FULL:
        return refusal(papers.folder, error)
    machine = place.size > 1 or isinstance(error, MemoryError | OSError)
    kind = WorkerError if machine else ModelError
    return kind(
        f"trainer {place.rank} of {place.size} met {type(error).__name__}: {_in_words(error)}",
        f"a machine out of memory or without access to the files, or a defect; {papers.log} has the traceback",
    )


def _in_words(error: Exception) -> str:
    """Return what an error says, on one line and without the traceback that TensorFlow writes into it."""
    lines = str(error).splitlines()
    return " ".join(line.strip() for line in lines if line.strip() and not line.startswith('  File "'))


def _tell(error: SkymillError, path: Path) -> int:
    problem = {"error": error.message, "remedy": error.remedy, "kind": type(error).__name__}
    try:
        write_durably(path, (json.dumps(problem) + "\n").encode())
        print(json.dumps(problem), file=sys.stderr, flush=True)
    except (StoreError, OSError):
        return os.EX_IOERR
    return 1


def main() -> int:
    """Do the job named on the command line; a second word is the process id that must stay alive."""
    if len(sys.argv) not in (2, 3):
        print("usage: python -m model.trainer JOB.json [PARENT_PID]", file=sys.stderr)
        return 2
    if len(sys.argv) == 3:
        die_with_parent(int(sys.argv[2]))
    return do_job(*read_task(Path(sys.argv[1])))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # all is on disk: TensorFlow's farewell would wait for members that are gone
