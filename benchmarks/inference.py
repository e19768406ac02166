"""`infer_block`, reading, writing and sealing included, against the bare compiled network over an array in memory.

``python -m benchmarks.inference [CUBE BUNDLE]`` prints one row of a markdown table; without arguments a random
cube and an untrained network are made.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.feed import make_cube
from model.bundles import load_bundle, write_bundle
from model.cubes import Cube, open_cube
from model.prediction import DEFAULT_BATCH, frozen_engine
from model.presets import load_preset
from model.threads import import_with_tensorflow
from pipeline.stages.infer import infer_block
from pipeline.stores.staging import Staging

REPEATS = 5


def make_bundle(folder: Path, cube: Cube) -> str:
    """Write an untrained network for images as `cube` holds."""
    networks = import_with_tensorflow("model.networks", threads=1)
    preset = load_preset("light")
    weights = networks.build_network(preset, cube.geometry, seed=1).get_weights()
    facts = {"target": "z", "metrics": {}, "history": [], "run": {}}
    write_bundle(folder, weights, preset, cube.geometry, facts)
    return str(folder)


def whole_blocks(cube: Cube, bundle: str, out: Path) -> float:
    """Predict the cube block by block, as workers do, below the folder `out`; return images a second."""
    started, rows = time.perf_counter(), 0
    for start in range(0, cube.rows, cube.rows_per_block):
        span = (start, min(start + cube.rows_per_block, cube.rows))
        staging = Staging(str(out), "infer", f"{start}")
        final = str(out / f"{start}.parquet")
        rows += infer_block(cube=cube.path, bundle=bundle, rows=span, staging=staging, final=final).rows
    return rows / (time.perf_counter() - started)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if len(sys.argv) > 2:
            path, bundle = sys.argv[1:3]
        else:
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
