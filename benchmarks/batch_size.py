"""Images a second by batch, of each preset on each engine: one thread, arrays in memory.

    python -m benchmarks.batch_size [--pixels 64] [--rows 512] [--repeat 5]

The batches take turns, so that what else the machine does falls on all of them; the median is printed.
"""

import argparse
import functools
import importlib.util
import statistics
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.inference import bare_loop, rate
from model.bundles import Bundle, load_bundle, write_bundle
from model.export import export_bundle
from model.geometry import Geometry
from model.presets import load_preset
from model.runtimes import make_answer
from model.threads import import_with_tensorflow

BATCHES = (8, 16, 32, 64, 128, 256)


def make_bundle(folder: Path, preset_name: str, pixels: int) -> Bundle:
    """Write an untrained network with its export."""
    networks = import_with_tensorflow("model.networks", threads=1)
    preset, geometry = load_preset(preset_name), Geometry((pixels, pixels), ("i", "r", "g"), 0.396)
    weights = networks.build_network(preset, geometry, seed=1).get_weights()
    write_bundle(folder, weights, preset, geometry, {"target": "z", "metrics": {}, "history": [], "run": {}})
    export_bundle(folder)
    return load_bundle(folder)


def rates(bundle: Bundle, engine: str, images: np.ndarray, repeat: int) -> list[float]:
    """Return the images a second of each batch."""
    works = [
        functools.partial(
            bare_loop, make_answer(bundle, engine=engine, batch=batch, passes=0, threads=1), images, batch
        )
        for batch in BATCHES
    ]
    for work in works:
        work()
    turns = [[rate(work) for work in works] for _ in range(repeat)]
    return [statistics.median(column) for column in zip(*turns, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Images a second by batch.")
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    shape = (args.rows, args.pixels, args.pixels, 3)
    images = np.random.default_rng(0).integers(0, 255, shape).astype("u1")
    engines = ["tensorflow", *(["openvino"] if importlib.util.find_spec("openvino") else [])]
    print(f"| images/s, batch of | {' | '.join(map(str, BATCHES))} |\n|{' --- |' * (len(BATCHES) + 1)}")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("light", "menko"):
            bundle = make_bundle(Path(folder, name), name, args.pixels)
            for engine in engines:
                found = rates(bundle, engine, images, args.repeat)
                print(f"| `{name}`, {engine} | {' | '.join(f'{one:.0f}' for one in found)} |", flush=True)


if __name__ == "__main__":
    main()
