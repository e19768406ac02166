"""Feeding training from the cube against the same arrays in memory, one epoch each in turn.

``python -m benchmarks.feed [CUBE]`` prints one row of a markdown table; without a cube a random one is made.
"""

import functools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec

from model.batches import Batch, training_epochs
from model.cubes import LabelledRows, labelled_rows, open_cube
from model.presets import load_preset
from model.threads import import_with_tensorflow
from schemas.flags import Part

ROWS, PIXELS, BLOCK, CHUNK, REPEATS = 4096, 64, 1024, 64, 5


def draw(rows: int, random: np.random.Generator) -> np.ndarray:
    """Draw noisy galaxies ``(rows, y, x, band)``."""
    y, x = np.mgrid[:PIXELS, :PIXELS] - (PIXELS - 1) / 2
    size = random.uniform(3, 10, rows)[:, None, None, None]
    light = 200 * np.exp(-((x * x + y * y)[..., None]) / (2 * size**2))
    return (light + random.integers(0, 10, (rows, PIXELS, PIXELS, 3))).astype("u1")


def make_cube(path: Path, rows: int = ROWS, block: int = BLOCK) -> str:
    """Write a cube of noisy galaxies, stored as a real one is (decision 0003): a checksum, no compression."""
    random = np.random.default_rng(0)
    columns = {
        "image": np.empty((rows, PIXELS, PIXELS, 3), "u1"),
        "status": np.ones(rows, "u1"),
        "split": np.where(np.arange(rows) % 8, 0, 1).astype("u1"),
        "label": random.uniform(0.01, 0.3, rows).astype("f4"),
        "id": np.arange(rows).astype("u8"),
        "ra": random.uniform(0, 360, rows),
        "dec": random.uniform(-90, 90, rows),
    }
    for start in range(0, rows, block):
        columns["image"][start : start + block] = draw(min(block, rows - start), random)
    group = zarr.open_group(path, mode="w", zarr_format=3)
    for name, data in columns.items():
        rest = data.shape[1:]
        array = group.create_array(
            name,
            shape=data.shape,
            dtype=data.dtype,
            chunks=(CHUNK if rest else block, *rest),
            shards=(block, *rest),
            compressors=[Crc32cCodec()],
        )
        array[:] = data
    group.attrs.update(
        rows=rows, rows_per_block=block, rows_per_chunk=CHUNK, arcsec_per_pixel=0.396, bands=["i", "r", "g"]
    )
    return str(path)


def from_cube(machine: Any, batches: Iterator[Batch]) -> None:
    """Learn one epoch from the cube."""
    for batch in batches:
        machine.learn(batch)


def from_memory(machine: Any, images: np.ndarray, part: LabelledRows, batch: int, epoch: int) -> None:
    """Learn one epoch from an array that holds the same images."""
    order = np.random.default_rng(epoch).permutation(len(images))
    for index, first in enumerate(range(0, len(order), batch)):
        chosen = order[first : first + batch]
        machine.learn(
            Batch(
                index=index,
                size=len(chosen),
                rows=part.rows[chosen],
                content=(images[chosen], np.empty((len(chosen), 0), np.float32)),
                labels=part.labels[chosen],
                weights=part.weights[chosen],
                draws=chosen.astype(np.int32),
            )
        )


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Return wall and CPU seconds of `work`, those of all threads of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    machines = import_with_tensorflow("model.machine", threads=1)
    with tempfile.TemporaryDirectory() as folder:
        path = sys.argv[1] if len(sys.argv) > 1 else make_cube(Path(folder) / "cube.zarr")
        cube, preset = open_cube(path), load_preset("light")
        part, batch = labelled_rows(cube)[Part.TRAIN], preset["training"]["batch"]
        images = cube.read("image")[part.rows]
        machine = machines.assemble(preset, cube, 1)
        feed = training_epochs(cube, part, batch=batch, seed=1, epochs=range(REPEATS + 1), turn=False)
        with feed as epochs:
            seconds = [
                (
                    *timed(functools.partial(from_cube, machine, next(epochs))),
                    *timed(functools.partial(from_memory, machine, images, part, batch, i)),
                )
                for i in range(REPEATS + 1)
            ][1:]  # the first epoch compiles, and waits for its first block
    ours, our_cpu, memory, memory_cpu = (
        len(images) / np.median(column) for column in zip(*seconds, strict=True)
    )
    ratio = np.median([row[2] / row[0] for row in seconds])
    print(
        f"| feed training from the cube (CPU: {1e6 / our_cpu:.0f} against {1e6 / memory_cpu:.0f} µs an image) "
        f"| {ours:.0f} images/s | {memory:.0f} in memory | {ratio:.2f} | ≥ 0.95 |"
    )


if __name__ == "__main__":
    main()
