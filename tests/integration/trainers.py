"""Small cubes and trainings for several test files, and the program of a member that trains many jobs in one group.

A process joins one group in its life, but a group may learn one thing after another; and all members are copies of
one process: the equality of many settings in many groups costs one start of the libraries.
"""

import contextlib
import csv
import json
import os
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from cluster.members import _free_port
from model.jobs import TrainingJob
from model.launch import run_trainer
from model.threads import import_with_tensorflow
from schemas.errors import ModelError
from schemas.parents import die_with_parent
from schemas.records import Place

SHARED = Path(os.environ.get("SKYMILL_SHARED", Path(__file__).parents[3] / "shared"))
SKY = SHARED / "real" / "sdss-photoz"
SMALL = {"network.hidden": [16], "network.members": 2, "network.rings": 6, "head.bins": 40}


def toy(rows=300, pixels=24):
    """Round galaxies that are redder, smaller and fainter the higher their redshift: images and labels."""
    random = np.random.default_rng(0)
    z = random.uniform(0.02, 0.3, rows).astype("f4")
    y, x = np.mgrid[:pixels, :pixels] - (pixels - 1) / 2
    size = (1.5 + 0.6 / (z + 0.1))[:, None, None]
    light = np.exp(-(x * x + y * y) / (2 * size**2)) * (1 - 1.5 * z)[:, None, None]
    colour = np.stack([np.ones(rows), 1 - z, 1 - 2.5 * z], -1)
    image = light[..., None] * colour[:, None, None] * 220 + random.uniform(0, 8, (rows, pixels, pixels, 3))
    return image.astype("u1"), z


def real_sky(count):
    """Cutouts of the recorded sky, brought to 64 pixels, and the redshifts of its first galaxies that have one."""
    places = {(row["ra"], row["dec"]): row["file"] for row in _rows("cutouts")}
    labelled = [row for row in _rows("specobj") if (row["ra"], row["dec"]) in places][:count]
    assert len(labelled) == count
    files = (SKY / "jpeg" / places[row["ra"], row["dec"]] for row in labelled)
    images = np.stack([np.asarray(Image.open(file).convert("RGB").resize((64, 64))) for file in files])
    return images.astype("u1"), np.array([float(row["z"]) for row in labelled], "f4")


def _rows(name):
    with (SKY / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def small_job(folder, cube, **changed):
    """Return a job on the preset `light`, smaller still."""
    job = TrainingJob(
        cube=cube,
        checkpoint=str(folder / "checkpoint"),
        bundle=str(folder / "bundle"),
        preset="light",
        overrides=SMALL,
        seed=137,
        epochs=4,
        batch=32,
        learning_rate=None,
        patience=None,
        target="z",
        definition="skymill",
        threads=1,
        provenance={"run": "test", "inputs": "abc"},
        export=False,
    )
    return replace(job, **changed)


def free_addresses(count):
    """Return addresses on this host that are free now, of ports as trainers have them."""
    addresses = set[str]()
    while len(addresses) < count:
        addresses.add(f"127.0.0.1:{_free_port('127.0.0.1')}")
    return tuple(addresses)


def children_with(word):
    """Return the children of this process that are at work and have this word in their command."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # one that has just ended
            if word in child.cmdline():
                found.append(child)
    return found


class Trainers:
    """The trainers of a generation, each watched by a thread as a worker does; `pids` by rank.

    Of each member ``outcomes`` has what `run_trainer` returned or raised, and ``ended`` when.
    """

    def __init__(self, job, members, generation=1):
        self.events = []
        self.outcomes, self.ended = [None] * members, [0.0] * members
        self._folder = Path(job.checkpoint) / f"generation-{generation:04d}"
        self._addresses = free_addresses(members)
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(members)
        self._futures = [self._pool.submit(self._watch, job, rank, generation) for rank in range(members)]

    def _watch(self, job, rank, generation):
        place = Place(rank, self._addresses, generation)
        heard = self.events.append if rank == 0 else None
        try:
            self.outcomes[rank] = run_trainer(job, place, on_progress=heard, stopped=self._stopped.is_set)
        except Exception as error:
            self.outcomes[rank] = error
        self.ended[rank] = time.monotonic()

    def wait_for(self, wanted, timeout_s=90):
        """Wait until an event of rank 0 is `wanted`, a function of it."""
        deadline = time.monotonic() + timeout_s
        while not any(wanted(event) for event in list(self.events)):
            assert time.monotonic() < deadline, "the event did not come"
            assert not self._futures[0].done(), f"rank 0 ended: {self.outcomes[0]}"
            time.sleep(0.005)

    def pid(self, rank):
        """Return the process id of a member's trainer."""
        return children_with(str(self._folder / f"job-{rank}.json"))[0].pid

    def wait(self, rank):
        """Wait until a member has ended."""
        self._futures[rank].result()

    def join(self):
        """Wait for all members and return their outcomes."""
        for future in self._futures:
            future.result()
        self._pool.shutdown()
        return self.outcomes

    def stop(self):
        """End all members."""
        self._stopped.set()
        self.join()


def train_in_groups(folder, cases, sizes):
    """Train the jobs of each case in groups of each of `sizes`, two groups at a time, and return what they say.

    ``cases`` are keywords of `small_job` by name, with ``sizes`` (in which groups) and ``cube``. The result is, by
    case and size, a list of each member's ``error``, ``history`` and ``weights``.
    """
    names = {size: [name for name, case in cases.items() if size in case["sizes"]] for size in sizes}
    for size in sizes:
        mine = {name: {**cases[name]} for name in names[size]}
        for case in mine.values():
            del case["sizes"]
        (folder / f"of-{size}").mkdir()
        told = {"cases": mine, "members": free_addresses(size)}
        (folder / f"of-{size}" / "cases.json").write_text(json.dumps(told))
    environment = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    command = [sys.executable, __file__, str(folder), *map(str, sizes)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=850)
    assert done.returncode == 0, done.stderr[-3000:]
    return {
        (name, size): [_said(folder / f"of-{size}", name, rank) for rank in range(size)]
        for size in sizes
        for name in names[size]
    }


def _said(work, name, rank):
    values = json.loads((work / f"{name}-{rank}.json").read_text())
    with np.load(work / f"{name}-{rank}.npz") as arrays:
        return {**values, "weights": [arrays[key] for key in sorted(arrays)]}


def be_all_groups(folder, sizes):
    """Be the parent of all members: they inherit the libraries, which are imported once; two groups at a time."""
    import_with_tensorflow("model.training", threads=1)
    waiting, learning = list(sizes), {}
    while waiting or learning:
        while waiting and len(set(learning.values())) < 2:
            size = waiting.pop(0)
            learning |= {_fork(folder / f"of-{size}", rank): size for rank in range(size)}
        pid, status = os.wait()
        size = learning.pop(pid)
        if status:  # the others die with this process
            logs = (folder / f"of-{size}").glob("log-*")
            sys.exit("\n".join(f"{log}: {log.read_text()[-2000:]}" for log in logs))


def _fork(work, rank):
    """Start a member as a copy of this process, in which TensorFlow has not begun yet; return its process id."""
    parent = os.getpid()
    if pid := os.fork():
        return pid
    try:
        die_with_parent(parent)
        log = os.open(work / f"log-{rank}", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, sys.stdout.fileno())
        os.dup2(log, sys.stderr.fileno())
        member(work, rank)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def member(work, rank):
    """Be a member: train each case, and write down what came of it."""
    from model import engines, training

    told = json.loads((work / "cases.json").read_text())
    place = Place(rank, tuple(told["members"]), 1)
    engines.prepare(1)
    group = engines.join(place)
    for name, case in told["cases"].items():
        started = time.monotonic()
        job = small_job(work / name, case.pop("cube"), **case)
        said, weights = _train(training, job, place, group)
        said["seconds"] = time.monotonic() - started
        np.savez(work / f"{name}-{rank}.npz", **{f"{i:03d}": w for i, w in enumerate(weights)})
        (work / f"{name}-{rank}.json").write_text(json.dumps(said))
    os._exit(0)


def _train(training, job, place, group):
    """Do what `model.training.train` does, in a group that was joined before."""
    preset = training.load_preset(job.preset, job.resolved_overrides())
    data = training.gather(job, preset, members=place.size)
    machine = training.assemble(preset, data.cube, job.seed, group=group)
    course = training.Training(job, place, preset, data, machine, lambda event: None)
    said = {"error": "", "metrics": {}}
    try:
        course.begin(job.bundle)
        assert course.learn()
        said["metrics"] = course.conclude().get("metrics", {})
    except ModelError as error:
        said["error"] = f"{error.message} | {error.remedy}"
    return {**said, "history": course.progress.history}, machine.network.get_weights()


if __name__ == "__main__":
    be_all_groups(Path(sys.argv[1]), [int(size) for size in sys.argv[2:]])
