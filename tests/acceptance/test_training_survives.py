"""A worker dies in the middle of an epoch, another one joins later, and the training is that of one alone.

The workers are processes of the test's own, without nannies, at a scheduler that the run file names: a worker that
dies stays dead, as on a cluster.
"""

import contextlib
import functools
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import mill_run
from mill_run import MillRun

EPOCHS, BATCH = 7, 4
TRAINING = (
    "samples.targets.limit=20",
    f"training.epochs={EPOCHS}",
    f"training.batch={BATCH}",
    "training.patience=99",
    "training.checkpoint_s=0.2",
)
SAME = 1e-4
"""Relative difference of losses that several members may have from one: they add the same numbers in another order.

A batch of an epoch that is lost or learnt twice changes its training loss by a part of its share, 1/42.
"""
PATIENCE_S = 600
wait_for = functools.partial(mill_run.wait_for, patience_s=PATIENCE_S)


class Cluster:
    """A Dask scheduler and workers without nannies, each a process that the test may kill."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "scheduler.json"
        self._scheduler = self._start("scheduler", "--port", "0", "--scheduler-file", str(self._file))
        self.workers: list[psutil.Popen] = []
        wait_for(lambda: self._file.exists() and self._file.read_text().endswith("}"), "a scheduler")

    @property
    def address(self) -> str:
        """Address of the scheduler."""
        return str(json.loads(self._file.read_text())["address"])

    def join(self) -> None:
        """Start one more worker, and wait until the scheduler has it."""
        words = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(self._folder))
        self.workers.append(self._start("worker", self.address, *words))
        log = self._folder / "worker.log"
        wait_for(lambda: log.read_text().count("Registered to") >= len(self.workers), "a worker")

    def host_of(self, rank: int) -> psutil.Popen | None:
        """Return the worker that the trainer of this rank belongs to, None if there is none now."""
        for worker in self.workers:
            with contextlib.suppress(psutil.Error):
                for child in worker.children():
                    if f"job-{rank}.json" in " ".join(child.cmdline()):
                        return worker
        return None

    def close(self) -> None:
        """End everything that was started."""
        for process in [*self.workers, self._scheduler]:
            with contextlib.suppress(psutil.Error):
                process.kill()
            process.wait()

    def _start(self, kind: str, *words: str) -> psutil.Popen:
        with (self._folder / f"{kind}.log").open("ab") as log:
            command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *words]
            return psutil.Popen(command, stdout=log, stderr=log)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    found = Cluster(tmp_path)
    try:
        found.join()
        yield found
    finally:
        found.close()


def middle_of_an_epoch(run: MillRun) -> bool:
    """Say whether the last word was of a batch of a later epoch that is neither its first nor its last."""
    last = next((event for event in reversed(run.events()) if event["event"] in ("step", "epoch")), {})
    return last.get("epoch", 0) > 1 and 0 < last.get("batch", 0) < last.get("batches", 0)


def generations(folder: Path) -> int:
    """Return how many generations of the run's training have been begun."""
    return len(list(folder.glob("training/*/generation-*/job-0.json")))


def trained(run: MillRun) -> dict[str, Any]:
    """Return the facts that the ledger has of the training."""
    return dict(run.query("SELECT facts FROM skymill.receipt WHERE stage = 'train'")[0][0])


def losses(facts: dict[str, Any]) -> dict[str, list[float]]:
    """Return both losses, epoch by epoch."""
    return {key: [entry[key] for entry in facts["history"]] for key in ("loss", "val_loss")}


@pytest.mark.timeout(2 * PATIENCE_S)
def test_a_worker_is_killed_in_an_epoch_and_one_joins_and_every_epoch_is_the_same(
    cluster: Cluster, tmp_path: Path
):
    run = MillRun(tmp_path, latency_s=0.0)
    folder = tmp_path / "runs" / "mill"
    words = (*TRAINING, f"cluster.address={cluster.address}")
    try:
        done = run.command("run", *words, timeout_s=PATIENCE_S)
        assert done.returncode == 0, done.stdout + done.stderr
        undisturbed, steps = trained(run), last_step(run)
        assert run.members() == [1]
        cluster.join()
        cluster.join()
        for path in (folder / "training", folder / "model"):
            shutil.rmtree(path)
        process = run.start("--repair", *words, verb="verify")
        with process:
            try:
                wait_for(lambda: middle_of_an_epoch(run), "the middle of an epoch", process)
                before = generations(folder)
                wait_for(lambda: cluster.host_of(0), "the first trainer", process).kill()
                wait_for(lambda: generations(folder) > before, "the next generation", process)
                cluster.join()
                out, _ = process.communicate(timeout=PATIENCE_S)
            finally:
                process.kill()
        assert process.returncode == 0, out
        disturbed = trained(run)
    finally:
        run.stop_database()

    assert run.members() == [3, 2, 3], out
    # Every step once: each learns from the rows of one global batch, and the epochs are made of the same batches.
    assert (last_step(run), disturbed["rows"]) == (steps, undisturbed["rows"])
    assert steps == EPOCHS * -(-disturbed["rows"]["train"] // BATCH)
    for key, values in losses(undisturbed).items():
        assert losses(disturbed)[key] == pytest.approx(values, rel=SAME), key
    assert len(set(losses(undisturbed)["loss"])) == EPOCHS, "epochs differ by more than the tolerance"
    assert "going on with 2 trainers" in out and "going on with 3 trainers" in out


def last_step(run: MillRun) -> int:
    """Return the last step that was made durable."""
    return max(int(event["step"]) for event in run.events() if event["event"] == "checkpoint")
