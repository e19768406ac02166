"""The folder of a submitted run: what was handed in, who works on it, and how it ended.

It lies in the run's own folder on the shared file system, and is all that the login node, the driver's job and the
workers' jobs know of each other. Every file is written whole and renamed; ``jobs.jsonl`` only grows.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from schemas.errors import StoreError
from schemas.site import Site

FOLDER = "submission"
VARIABLE = "SKYMILL_SUBMISSION"
"""Names, in the environment of what a driver's job starts, the submission it belongs to."""


@dataclass(frozen=True)
class Order:
    """What was asked for: ``argv`` is the driver's command; ``nodes`` the number of jobs of each pool.

    ``work`` has the function that a worker calls for each stage, by name.
    """

    run: str
    argv: tuple[str, ...]
    folder: str
    site: Site
    nodes: Mapping[str, int]
    work: Mapping[str, str] = field(default_factory=dict)
    code_version: str = ""
    at: float = 0.0


@dataclass(frozen=True)
class Asked:
    """A job that was handed in: ``pool`` is ``driver`` or the name of a pool."""

    id: str
    pool: str
    count: int = 1
    at: float = 0.0


@dataclass(frozen=True)
class End:
    """How a submission ended: ``state`` is ``done``, ``failed`` or ``cancelled``."""

    state: str
    exit_code: int = 0
    words: str = ""
    at: float = 0.0


class Submission:
    """The files of one submission.

    Parameters
    ----------
    path : Path
        Its folder, ``<run folder>/submission``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self.scheduler_file = path / "scheduler.json"
        self.status_file = path / "status.json"
        self.lease_file = path / "lease.json"

    @classmethod
    def of(cls, run_folder: Path) -> "Submission":
        """Return the submission of a run, which need not be there."""
        return cls(run_folder / FOLDER)

    @property
    def order(self) -> Order | None:
        """What was asked for; None if nothing was.

        Raises
        ------
        StoreError
            If it is there and cannot be read.
        """
        path = self.path / "order.json"
        if (found := read_json(path)) is None:
            if path.exists():
                raise StoreError(
                    f"{path} cannot be read", "check the file system, then run the same command again"
                )
            return None
        return Order(**{**found, "argv": tuple(found["argv"]), "site": Site.model_validate(found["site"])})

    def write_order(self, order: Order) -> None:
        """Keep what was asked for."""
        data = {**asdict(order), "site": order.site.model_dump(mode="json", by_alias=True)}
        write_json(self.path / "order.json", data)

    @property
    def jobs(self) -> list[Asked]:
        """All jobs that were ever handed in for it."""
        try:
            lines = (
                (self.path / "jobs.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
            )  # but one half written
        except FileNotFoundError:
            return []
        return [Asked(**json.loads(line)) for line in lines]

    def add_job(self, job: Asked) -> None:
        """Keep the id of a job that was handed in."""
        line = json.dumps(asdict(job)) + "\n"
        descriptor = os.open(self.path / "jobs.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    @property
    def end(self) -> End | None:
        """How it ended; None while it has not."""
        found = read_json(self.path / "end.json")
        return None if found is None else End(**found)

    def write_end(self, end: End) -> None:
        """Say how it ended; workers leave when they see it."""
        write_json(self.path / "end.json", asdict(end))

    def script(self, pool: str) -> Path:
        """Return where the script of a pool's jobs lies."""
        return self.path / f"{pool}.sh"


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a small file whole: others see the old one or the new one."""
    writer = f"{os.uname().nodename}.{os.getpid()}.{threading.get_ident()}"
    fresh = path.with_name(f".{path.name}.{writer}")
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(data, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return what a small file holds; None if it is not there, or not (any more) readable."""
    for _ in range(3):  # NFS may hand out a name whose file has just been replaced
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return found
        if not path.exists():
            return None
        time.sleep(0.05)
    return None
