"""What happens to a run on Slurm: functions that hand one in, disturb it, and wait for its end.

All runs are under way at the same time, as they mostly wait.
"""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "acceptance"))
sys.path.insert(0, str(Path(__file__).parent))

from lab import HEAD, Lab
from mill_run import wait_for
from submitted import TIMES, SubmittedRun, fails_every_second_time

GONE_S = 4
"""After a node's death [s], before it comes back: long enough for its processes to be gone for good."""

SHORT_LIVES = """\
case $SLURM_JOB_NAME in *-compute) export SKYMILL_LIFETIME_S=60;; *) export SKYMILL_LIFETIME_S=15;; esac"""
"""Those that train live longer: on a busy machine TensorFlow takes half a minute to start."""


class Task:
    """A function at work in a thread of its own; what it raises, the one who asks for its result gets."""

    def __init__(self, function: Callable[[], SubmittedRun]) -> None:
        self._function = function
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._result: SubmittedRun | None = None
        self._error: BaseException | None = None
        self._thread.start()

    def _work(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:
            self._error = error

    def result(self) -> SubmittedRun:
        """Wait for it."""
        self._thread.join()
        if self._error:
            raise self._error
        assert self._result
        return self._result


def short_lives(lab: Lab, folder: Path) -> SubmittedRun:
    """No worker lives long; a worker's node dies, and later that of scheduler, driver and database."""
    run = SubmittedRun(lab, folder, rate=3, queue="frail", prologue=(SHORT_LIVES, TIMES))
    run.submit("--nodes", "3")
    run.wait_for_blocks(2)
    driver = run.node_of("driver")
    die(lab, run.node_of("transfer", but=(driver,)))
    run.wait_for_blocks(6)
    die(lab, driver)
    run.seen["blocks when the driver died"] = run.blocks()
    run.wait()
    return run


def die(lab: Lab, node: str) -> None:
    """Let a node die, and come back."""
    lab.kill_node(node)
    time.sleep(GONE_S)
    lab.start_node(node)


def cut_off(lab: Lab, folder: Path) -> SubmittedRun:
    """A worker's job is lost; the nodes of the driver and of another worker are cut off and mended.

    Slurm's commands fail every second time.
    """
    path = fails_every_second_time(folder.with_name("failing"))
    run = SubmittedRun(lab, folder, rate=2, queue="torn", prologue=(TIMES,), path=path)
    run.submit("--nodes", "3")
    run.wait_for_blocks(1)
    lab.run(HEAD, ["scancel", wait_for(lambda: run.running("transfer"), "a worker's job")[0].element])
    run.wait_for_blocks(3)
    driver = run.node_of("driver")
    worker = run.node_of("transfer", but=(driver,))
    lab.cut(driver)
    lab.cut(worker)
    run.seen["second submit"] = run.skymill("submit", "run.toml", "--site", "lab.toml", check=False)
    run.seen["second driver"] = run.skymill("run", "run.toml", check=False)
    wait_for(lambda: runs_twice(run, driver), "a second copy of the driver's job")
    lab.mend(driver)
    lab.mend(worker)
    run.wait()
    return run


def runs_twice(run: SubmittedRun, node: str) -> bool:
    """Say whether the driver's job runs elsewhere while a node that was cut off still has processes of jobs."""
    time.sleep(0.5)
    elsewhere = [element.node for element in run.running("driver")]
    return bool(elsewhere) and elsewhere != [node] and len(run.lab.pids(node)) > 1


FLEET = {"short": short_lives, "cut": cut_off}
