"""Jobs of a submission as plain processes, for the tests: no batch scheduler has a hand in it."""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from cluster.submission import Order, Submission, read_json
from schemas.site import Site

TIMES = {
    "renew_s": 0.2,
    "expires_s": 8.0,
    "fence_s": 6.0,
    "top_up_s": 3600.0,
    "back_off_s": 0.1,
    "notice_s": 0.5,
}
PROGRAM = Path(__file__).with_name("job_program.py")


class Field:
    """A submission, and its jobs as processes of their own."""

    def __init__(self, folder: Path, argv: list[str], site: dict[str, Any], nodes: int) -> None:
        self.submission = Submission(folder / "submission")
        self.submission.logs.mkdir(parents=True)
        self.folder = folder
        self.jobs: list[psutil.Popen] = []
        pools = {"w": {"memory_gib": 1.0}}
        whole = {"name": "here", "kind": "local", "warn_s": 20, "pools": pools, **site}
        order = Order("run", tuple(argv), str(folder), Site.model_validate(whole), {"w": nodes})
        self.submission.write_order(order)

    def start(self, *words: str, index: int = 0, **environment: str) -> psutil.Popen:
        """Start a job: ``driver``, or ``worker w``."""
        job, *more = words
        command = [sys.executable, "-P", "-m", f"cluster.jobs.{job}", str(self.submission.path), *more]
        environment = {
            **os.environ,
            "SKYMILL_JOB_TIMES": json.dumps(TIMES),
            "SKYMILL_ARRAY_INDEX": str(index),
            "FIELD": str(self.folder),
            **environment,
        }
        with (self.submission.logs / f"{job}-{len(self.jobs)}.log").open("wb") as log:
            process = psutil.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        self.jobs.append(process)
        return process

    def log(self, number: int) -> str:
        """Return what the job that was started as this one, from 0, has said."""
        (path,) = self.submission.logs.glob(f"*-{number}.log")
        return path.read_text()

    def logs(self) -> str:
        return "\n".join(f"==> {path}\n{path.read_text()}" for path in sorted(self.submission.logs.glob("*")))

    def wait(self, what: Callable[[], Any], within_s: float = 150.0) -> Any:
        """Return what `what` does once that is true."""
        deadline = time.monotonic() + within_s
        while not (found := what()):
            assert time.monotonic() < deadline and not (self.jobs and self.jobs[-1].poll()), self.logs()
            time.sleep(0.05)
        return found

    def code(self, job: psutil.Popen, within_s: float = 150.0) -> int:
        """Return with which code a job has ended."""
        try:
            return job.wait(within_s)
        except psutil.TimeoutExpired:
            raise AssertionError(self.logs()) from None

    def child(self, job: psutil.Popen, word: str) -> psutil.Process | None:
        """Return the descendant of a job that has this word in its command line."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in job.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if any(word in part for part in process.cmdline()):
                        return process
        return None

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().split() if path.exists() else []

    def lease(self) -> dict[str, Any]:
        return read_json(self.submission.lease_file) or {}

    def processes(self, **environment: str) -> list[psutil.Process]:
        """Return all processes that jobs of this submission (with this environment) have started, and that run."""
        wanted = {"FIELD": str(self.folder), **environment}.items()
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):  # one that ends while it is looked at
                if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                    continue
                if wanted <= process.environ().items():
                    found.append(process)
        return found

    def close(self) -> None:
        for process in [*self.jobs, *self.processes()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
                process.kill()
        for job in self.jobs:
            job.wait(20)


@contextmanager
def field(folder: Path, argv: list[str], nodes: int = 1, **site: Any) -> Iterator[Field]:
    made = Field(folder, argv, site, nodes)
    try:
        yield made
    finally:
        made.close()


def program(folder: Path, count: int, seconds: float) -> list[str]:
    return [sys.executable, "-P", str(PROGRAM), str(folder), str(count), str(seconds)]


def shell(text: str) -> list[str]:
    return ["bash", "-c", text]
