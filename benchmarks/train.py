"""A step of training by two processes of one thread against one process of two threads, the same global batch.

``python -m benchmarks.train [PRESET …]`` prints a row of a markdown table for each preset. The communication
share is what a step of the group takes longer than two processes need that learn side by side, each its half of
the batch for itself.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import asdict

import numpy as np

from benchmarks.feed import PIXELS, draw
from model.batches import Batch
from model.geometry import Geometry
from model.presets import load_preset
from model.threads import import_with_tensorflow
from schemas.records import Place

STEPS = {"light": 60, "menko": 3}
REPEATS = 3
FIRST = 1
"""Step that is not counted: it compiles."""


def free_ports(count: int) -> list[int]:
    """Return ports that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def learn(name: str, place: Place, rows: int, size: int, threads: int) -> None:
    """Learn batches of `size` rows, `rows` of them here, and print the seconds of each step as JSON."""
    engine = import_with_tensorflow("model.engines", threads=threads)
    networks = import_with_tensorflow("model.networks", threads=threads)
    losses = import_with_tensorflow("model.losses", threads=threads)
    optimizers = import_with_tensorflow("model.optimizers", threads=threads)
    preset = load_preset(name)
    group = engine.join(place)
    engine.prepare(1)
    with group.scope():
        geometry = Geometry((PIXELS, PIXELS), ("i", "r", "g"), 0.396)
        network = networks.build_network(preset, geometry, seed=1, synchronized=True)
        optimizer = optimizers.make_optimizer(preset["optimizer"])
    loss = losses.make_loss(preset["loss"], preset["head"])
    step = engine.training_step(network, optimizer, loss, group, accumulate=1)
    random = np.random.default_rng(place.rank)
    numbers = np.arange(rows)
    batch = Batch(
        index=0,
        size=size,
        rows=numbers,
        content=(draw(rows, random), np.empty((rows, 0), "f4")),
        labels=random.uniform(0.01, 0.3, rows).astype("f4"),
        weights=np.ones(rows, "f4"),
        draws=numbers.astype("i4"),
    )
    seconds = []
    for _ in range(FIRST + STEPS[name]):
        started = time.perf_counter()
        step(batch)
        seconds.append(time.perf_counter() - started)
    print(json.dumps(seconds[FIRST:]), flush=True)


def milliseconds(name: str, *, processes: int, threads: int, together: bool) -> float:
    """Return the median step [ms] of `processes` processes that share a global batch."""
    size = load_preset(name)["training"]["batch"]
    addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(processes)) if together else ()
    children = []
    for rank in range(processes):
        place = Place(rank=rank if together else 0, members=addresses)
        rows = len(np.array_split(np.arange(size), processes)[rank])
        words = json.dumps([name, asdict(place), rows, size if together else rows, threads])
        command = [sys.executable, "-m", "benchmarks.train", "--member", words]
        children.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)))
    said = [child.communicate()[0] for child in children]
    if any(child.returncode for child in children):
        raise SystemExit(f"a member of {name} ended with {[child.returncode for child in children]}")
    return 1000 * statistics.median(json.loads(said[0].splitlines()[-1]))


def row(name: str) -> str:
    """Measure a preset, in turns, and return its row."""
    repeats = REPEATS if name == "light" else 2
    found = [
        (
            milliseconds(name, processes=2, threads=1, together=True),
            milliseconds(name, processes=1, threads=2, together=True),
            milliseconds(name, processes=2, threads=1, together=False),
        )
        for _ in range(repeats)
    ]
    two, one, _ = (statistics.median(column) for column in zip(*found, strict=True))
    ratio = statistics.median(line[1] / line[0] for line in found)
    share = statistics.median(1 - line[2] / line[0] for line in found)
    batch = load_preset(name)["training"]["batch"]
    goal = "≥ 0.9" if one >= 100 else "none (a step below 100 ms)"
    return (
        f"| train `{name}`, batch {batch}: 2 processes × 1 thread (communication {100 * share:.0f} %) "
        f"| {two:.0f} ms a step | 1 × 2 threads: {one:.0f} ms | {ratio:.2f} | {goal} |"
    )


def main() -> None:
    if sys.argv[1:2] == ["--member"]:
        name, place, rows, size, threads = json.loads(sys.argv[2])
        learn(name, Place(**{**place, "members": tuple(place["members"])}), rows, size, threads)
        return
    for name in sys.argv[1:] or STEPS:
        print(row(name), flush=True)


if __name__ == "__main__":
    main()
