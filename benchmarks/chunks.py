"""Which codec and how many rows a chunk: write and read one block's pixels of real cutouts.

    python -m benchmarks.chunks --jpeg FOLDER [--rows 4096] [--pixels 64] [--repeat 3]

Each row of the table is one way to store the same pixels in shards of 1,024 rows; numbers are medians over
interleaved repeats, page cache warm. Reading is in slices of 512 rows, as training does it.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from PIL import Image
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

SHARD = 1024
SLICE = 512
CODECS: dict[str, Any] = {
    "none": None,
    "none + crc32c": [Crc32cCodec()],
    "lz4": [BloscCodec(cname="lz4", clevel=5, shuffle="noshuffle")],
    "lz4 bitshuffle": [BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")],
    "zstd-1": [ZstdCodec(level=1)],
    "zstd-3": [ZstdCodec(level=3)],
    "blosc zstd-3 bitshuffle": [BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")],
}


def load(folder: Path, rows: int, pixels: int) -> np.ndarray:
    files = sorted(folder.glob("*.jp*g"))[:rows]
    images = []
    for file in files:
        with Image.open(file) as image:
            side = min(image.size)
            left, top = (image.width - min(side, pixels)) // 2, (image.height - min(side, pixels)) // 2
            crop = image.convert("RGB").crop((left, top, left + pixels, top + pixels))
            images.append(np.asarray(crop))
    stack = np.stack(images)
    return np.concatenate([stack] * (rows // len(stack) + 1))[:rows]


def measure(path: Path, images: np.ndarray, codec: Any, chunk: int) -> tuple[float, float, float, float]:
    shutil.rmtree(path, ignore_errors=True)
    array = zarr.create_array(
        path,
        shape=images.shape,
        dtype="uint8",
        chunks=(chunk, *images.shape[1:]),
        shards=(SHARD, *images.shape[1:]),
        compressors=codec,
        fill_value=0,
    )
    begun = time.perf_counter()
    for start in range(0, len(images), SHARD):
        array[start : start + SHARD] = images[start : start + SHARD]
    wrote = time.perf_counter() - begun
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    array = zarr.open_array(path, mode="r")
    begun, cpu = time.perf_counter(), time.process_time()
    for start in range(0, len(images), SLICE):
        array[start : start + SLICE]
    return wrote, time.perf_counter() - begun, time.process_time() - cpu, size


def table(images: np.ndarray, chunks: Sequence[int], repeat: int) -> str:
    ways = [(name, chunk) for chunk in chunks for name in CODECS]
    seen: dict[tuple[str, int], list[tuple[float, float, float, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeat):
            for name, chunk in ways:
                found = measure(Path(folder, "array"), images, CODECS[name], chunk)
                seen[name, chunk].append(found)
    lines = [
        "| rows a chunk | codec | write images/s | read images/s | CPU µs an image read | size |",
        "|---|---|---|---|---|---|",
    ]
    for (name, chunk), found in seen.items():
        wrote, read, cpu, size = (statistics.median(values) for values in zip(*found, strict=True))
        n = len(images)
        lines.append(
            f"| {chunk} | {name} | {n / wrote:,.0f} | {n / read:,.0f} | {1e6 * cpu / n:.1f} "
            f"| {size / images.nbytes:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jpeg", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=3)
    words = parser.parse_args()
    print(table(load(words.jpeg, words.rows, words.pixels), (16, 64, 256), words.repeat))


if __name__ == "__main__":
    main()
