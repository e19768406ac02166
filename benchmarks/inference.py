"""`infer_block`, reading, writing and sealing included, against the bare compiled network over an array in memory.

    python -m benchmarks.inference [CUBE BUNDLE]

Prints a markdown table: the end-to-end rate against a bare loop of the same runtime, batch and one thread, block by
block in turns, and against `keras.Model.predict` of the same network in a process limited to one thread, at the
better of its default batch and the best of some others. Without arguments a random cube and an untrained network
are made.
"""

import functools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.feed import make_cube
from model.bundles import load_bundle, write_bundle
from model.cubes import Cube, open_cube
from model.export import export_bundle
from model.presets import load_preset
from model.runtimes import Answer, best_batch, engine_of, make_answer, restored
from model.threads import import_with_tensorflow
from pipeline.stages.infer import infer_block
from pipeline.stores.staging import Staging

REPEATS, PREDICT_BATCHES = 7, (8, 32, 128)


def make_bundle(folder: Path, cube: Cube, preset_name: str = "light") -> str:
    """Write an untrained network for images as `cube` holds, exported if OpenVINO is installed.

    Another process does it, so that this one imports TensorFlow only if a worker would.
    """
    command = [sys.executable, "-m", "benchmarks.inference", "--make", str(folder), cube.path, preset_name]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return str(folder)


def _make(folder: Path, cube: Cube, preset_name: str) -> None:
    networks = import_with_tensorflow("model.networks", threads=1)
    preset = load_preset(preset_name)
    weights = networks.build_network(preset, cube.geometry, seed=1).get_weights()
    facts = {"target": "z", "metrics": {}, "history": [], "run": {}}
    write_bundle(folder, weights, preset, cube.geometry, facts)
    export_bundle(folder)


def whole_blocks(cube: Cube, bundle: str, out: Path) -> float:
    """Predict the cube block by block, as workers do, below the folder `out`; return images a second."""
    started, rows = time.perf_counter(), 0
    for start in range(0, cube.rows, cube.rows_per_block):
        rows += one_block(cube, bundle, out, start)
    return rows / (time.perf_counter() - started)


def one_block(cube: Cube, bundle: str, out: Path, start: int) -> int:
    """Predict the block that begins at row `start`; return its rows."""
    span = (start, min(start + cube.rows_per_block, cube.rows))
    staging = Staging(str(out), "infer", f"{start}")
    final = str(out / f"{start}.parquet")
    return infer_block(cube=cube.path, bundles=[bundle], rows=span, staging=staging, final=final).rows


def bare_loop(answer: Answer, images: np.ndarray, batch: int) -> int:
    """Compute whole batches of an array in memory, and nothing else; return the images."""
    draws = np.zeros((1, batch), np.int32)
    whole = len(images) // batch * batch
    for first in range(0, whole, batch):
        answer({"image": images[first : first + batch], "draw": draws})()
    return whole


def rate(work: Callable[[], int]) -> float:
    """Return what `work` counts, a second."""
    started = time.perf_counter()
    done = work()
    return done / (time.perf_counter() - started)


def keras_predict(bundle: str, images: np.ndarray) -> tuple[float, int]:
    """Return the images a second of `keras.Model.predict`, and the batch at which it is fastest."""
    network = restored(load_bundle(bundle))
    given = [images, np.zeros(len(images), np.int32)]
    rates = {}
    for batch in PREDICT_BATCHES:
        work = functools.partial(network.predict, given, batch_size=batch, verbose=0)
        work()
        rates[batch] = statistics.median(len(images) / _seconds(work) for _ in range(3))
    best = max(rates, key=lambda batch: rates[batch])
    return rates[best], best


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(cube: Cube, bundle: str, work: Path) -> None:
    """Print the table's rows."""
    loaded = load_bundle(bundle)
    engine, name = engine_of(loaded, "auto"), loaded.preset.name
    answer = make_answer(loaded, engine="auto", batch=best_batch(loaded), passes=0, threads=1)
    images = cube.read("image", 0, min(cube.rows, 4 * cube.rows_per_block))
    bare_loop(answer, images, best_batch(loaded))
    whole_blocks(cube, bundle, work)
    pairs = []
    for _ in range(REPEATS):
        for start in range(0, len(images), cube.rows_per_block):
            block = images[start : start + cube.rows_per_block]
            ours = rate(functools.partial(one_block, cube, bundle, work, start))
            pairs.append((ours, rate(functools.partial(bare_loop, answer, block, best_batch(loaded)))))
    ours, loop = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    predicted, batch = keras_predict(bundle, images[: cube.rows_per_block])
    print("| what | skymill | against | ratio | goal |\n| --- | --- | --- | --- | --- |")
    print(
        f"| inference of `{name}` by {engine}, blocks of {cube.rows_per_block} read and written "
        f"| {ours:.0f} images/s | {loop:.0f} bare loop of the same | {ratio:.2f} | ≥ 0.9 |"
    )
    goal = "≥ 2" if name == "light" else ""
    print(
        f"| the same | {ours:.0f} images/s | {predicted:.0f} `keras predict`, batch {batch} "
        f"| {ours / predicted:.2f} | {goal} |"
    )


def main() -> None:
    if sys.argv[1:2] == ["--make"]:
        _make(Path(sys.argv[2]), open_cube(sys.argv[3]), sys.argv[4])
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if len(sys.argv) > 2:
            path, bundle = sys.argv[1:3]
        else:
            path = make_cube(folder / "cube.zarr")
            bundle = make_bundle(folder / "bundle", open_cube(path))
        measure(open_cube(path), bundle, folder / "part")


if __name__ == "__main__":
    main()
