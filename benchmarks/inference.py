"""`predict_block`, reading and writing included, against the bare compiled network over an array in memory.

``python benchmarks/inference.py [CUBE BUNDLE]`` prints one row of a markdown table; without arguments a random
cube and an untrained network are made.
"""

import runpy
import statistics
import sys
import tempfile
import time
from pathlib import Path

from model.bundles import load_bundle, write_bundle
from model.cubes import Cube, open_cube
from model.prediction import DEFAULT_BATCH, frozen_engine, predict_block
from model.presets import load_preset
from model.threads import import_with_tensorflow

REPEATS = 3


def make_bundle(folder: Path, cube: Cube) -> str:
    """Write an untrained network for images as `cube` holds."""
    networks = import_with_tensorflow("model.networks", threads=1)
    preset = load_preset("light")
    weights = networks.build_network(preset, cube.geometry, seed=1).get_weights()
    facts = {"target": "z", "metrics": {}, "history": [], "run": {}}
    write_bundle(folder, weights, preset, cube.geometry, facts)
    return str(folder)


def whole_blocks(cube: Cube, bundle: str, out: Path) -> float:
    """Predict the cube block by block; return images a second."""
    started, rows = time.perf_counter(), 0
    for start in range(0, cube.rows, cube.rows_per_block):
        stop = min(start + cube.rows_per_block, cube.rows)
        rows += predict_block(cube=cube.path, bundle=bundle, start=start, stop=stop, out=str(out))["rows"]
    return rows / (time.perf_counter() - started)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if len(sys.argv) > 2:
            path, bundle = sys.argv[1:3]
        else:
            make_cube = runpy.run_path(str(Path(__file__).with_name("feed.py")))["make_cube"]
            path = make_cube(folder / "cube.zarr")
            bundle = make_bundle(folder / "bundle", open_cube(path))
        cube = open_cube(path)
        images = cube.read("image")
        images = images[: len(images) // DEFAULT_BATCH * DEFAULT_BATCH]
        answer = frozen_engine(load_bundle(bundle), DEFAULT_BATCH)

        def bare() -> float:
            started = time.perf_counter()
            for first in range(0, len(images), DEFAULT_BATCH):
                answer(images[first : first + DEFAULT_BATCH])
            return len(images) / (time.perf_counter() - started)

        bare(), whole_blocks(cube, bundle, folder / "part")
        rates = [(whole_blocks(cube, bundle, folder / "part"), bare()) for _ in range(REPEATS)]
    ours, loop = (statistics.median(column) for column in zip(*rates, strict=True))
    ratio = statistics.median(a / b for a, b in rates)
    print(
        f"| inference, read and written | {ours:.0f} images/s | {loop:.0f} bare loop | {ratio:.2f} | ≥ 0.9 |"
    )


if __name__ == "__main__":
    main()
