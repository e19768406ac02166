"""From a worker that is killed to the next step of training, and where the seconds go.

``python -m benchmarks.recovery`` kills a worker of a local group of two with SIGKILL, five times, and prints a row
of a markdown table.
"""

import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.feed import make_cube
from cluster.groups import GroupTask, run_groups
from cluster.session import DaskSession
from model.launch import ask_to_regroup
from pipeline.stores.staging import Staging
from pipeline.units import WORK
from schemas.config import Cluster

KILLS = 5


class Killer:
    """Told of every event, it kills a worker a while after each first step and notes the times."""

    def __init__(self, session: DaskSession) -> None:
        self._session = session
        self._killed_s = 0.0
        self._marks: list[float] = []
        self.spans: list[list[float]] = []

    def see(self, task: GroupTask, event: Mapping[str, Any]) -> None:
        del task
        now = time.monotonic()
        if self._marks and event["event"] == ("generation", "start", "step")[len(self._marks) - 1]:
            self._marks.append(now)
        if len(self._marks) == 4:
            self.spans.append([after - before for before, after in pairwise(self._marks)])
            self._marks = []
        if event["event"] == "checkpoint" and not self._marks and len(self.spans) < KILLS:
            self._marks = [0.0]
            threading.Timer(1.0, self._kill).start()

    def _kill(self) -> None:
        pids = self._session.client.run(os.getpid)
        self._marks = [time.monotonic()]
        os.kill(sorted(pids.items())[-1][1], signal.SIGKILL)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cube = make_cube(folder / "cube.zarr")
        checkpoint = folder / "training"
        job = {
            "cube": cube,
            "checkpoint": str(checkpoint),
            "preset": "light",
            "overrides": {},
            "seed": 1,
            "epochs": 60,
            "batch": None,
            "learning_rate": None,
            "patience": None,
            "target": "z",
            "definition": "skymill",
            "threads": 1,
            "provenance": {"code": "", "packages": {}},
        }
        staging = Staging(str(folder / "staging"), "train", "model")
        arguments = {"job": job, "staging": staging, "final": str(folder / "model")}
        task = GroupTask("recovery", WORK["train"], arguments, attempts=KILLS + 1)
        with DaskSession(Cluster(workers=2), scratch=folder / "scratch") as session:
            killer = Killer(session)

            def regroup(task: GroupTask, generation: int) -> None:
                del task
                ask_to_regroup(checkpoint, generation)

            for outcome in run_groups(session, [task], regroup=regroup, on_event=killer.see):
                if outcome.error:
                    raise SystemExit(str(outcome.error))
    whole = [sum(spans) for spans in killer.spans]
    words = (
        "noticed, the others ended, a replacement there",
        "trainers started: libraries, group, network, checkpoint",
        "first block read, step compiled and done",
    )
    print("| what | s, median | most | goal |\n| --- | --- | --- | --- |")
    print(f"| a worker killed → the next step | {statistics.median(whole):.1f} | {max(whole):.1f} | < 30 |")
    for text, column in zip(words, zip(*killer.spans, strict=True), strict=True):
        print(f"| … {text} | {statistics.median(column):.1f} | {max(column):.1f} | |")


if __name__ == "__main__":
    main()
