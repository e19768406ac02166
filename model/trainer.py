"""The trainer: a process of its own that does one training, ``python -m model.trainer JOB.json``.

It dies with the process that started it. In the checkpoint folder it leaves ``progress.jsonl`` (one line an
event) and ``result.json``, or ``error.json`` (``error``, ``remedy``, ``kind``) and exit code 1. Exit code 74
(``EX_IOERR`` of sysexits.h) says that not even the error could be written.
"""

import ctypes
import json
import os
import signal
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model.files import disk_errors, write_durably
from model.jobs import TrainingJob, read_job
from model.threads import import_with_tensorflow
from schemas.errors import SkymillError, StoreError

PROGRESS, RESULT, ERROR = "progress.jsonl", "result.json", "error.json"
_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent ends (Linux)."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the request was made
        os._exit(1)


def do_job(job: TrainingJob) -> int:
    """Train, leave the result or the error in the checkpoint folder, and return the exit code."""
    folder = Path(job.checkpoint)
    try:
        with disk_errors(folder), (folder / PROGRESS).open("a", buffering=1) as progress:
            training = import_with_tensorflow("model.training", threads=job.threads)

            def report(event: dict[str, Any]) -> None:
                progress.write(json.dumps(event) + "\n")

            result = training.train(job, report=report)
        write_durably(folder / RESULT, (json.dumps(asdict(result), indent=1) + "\n").encode())
    except SkymillError as error:
        problem = {"error": error.message, "remedy": error.remedy, "kind": type(error).__name__}
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        problem = {
            "error": f"the trainer met {type(error).__name__}: {error}",
            "remedy": "a defect, or a machine out of memory; the trainer's log has the traceback",
            "kind": "ModelError",
        }
    else:
        return 0
    return _tell(problem, folder)


def _tell(problem: dict[str, str], folder: Path) -> int:
    try:
        write_durably(folder / ERROR, (json.dumps(problem) + "\n").encode())
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
    return do_job(read_job(Path(sys.argv[1])))


if __name__ == "__main__":
    sys.exit(main())
