"""Fetching from a fast local origin: this project, a bare loop, and img2dataset on the same files.

    python -m benchmarks.fetch [--jpeg FOLDER] [--rows 8192] [--repeat 5] [--img2dataset PYTHON]

The bare loop is the least that can be done: aiohttp GET over as many connections, Pillow decode, the same Zarr
shards; it validates, hashes and syncs nothing and obeys nobody. img2dataset runs in an environment of its own,
because it pins old packages: give its interpreter, or let the script make one. The ways take turns; a ratio is the
median of those of each turn. Blocks have 4,096 rows, so that what is done once a block weighs little.
"""

import argparse
import asyncio
import io
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from PIL import Image

from cluster.desk import Manners
from pipeline.sources.cutouts import CutoutSource
from pipeline.stages.fetch import fetch_block
from pipeline.stores.cube import CubeSpec, create_cube
from pipeline.stores.staging import Staging, place
from schemas.flags import Status
from schemas.records import Block, blocks_of

CONNECTIONS = 16
ROWS_PER_BLOCK = 4096
I2D = "img2dataset==1.47.0"
I2D_SCRIPT = """
import sys, time
from img2dataset import download
if __name__ == "__main__":
    urls, out, size = sys.argv[1:]
    begun = time.perf_counter()
    download(url_list=urls, output_folder=out, image_size=int(size), resize_mode="no", thread_count=16,
             processes_count=1, output_format="files", number_sample_per_shard=1024, disallowed_header_directives=[])
    print("seconds", time.perf_counter() - begun)
"""


def draw(folder: Path, count: int, pixels: int) -> None:
    """Draw blobs with noise: about as large as real cutouts when encoded."""
    random = np.random.default_rng(137)
    y, x = np.mgrid[:pixels, :pixels] - pixels / 2
    for index in range(count):
        width = random.uniform(3, 12)
        blob = (
            200
            * np.exp(-np.hypot(x, y * random.uniform(1, 3)) / width)[..., None]
            * random.uniform(0.5, 1, 3)
        )
        image = np.clip(blob + random.normal(20, 6, (pixels, pixels, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{index:05d}.jpeg", quality=75)


@contextmanager
def origin(folder: Path, *, latency_s: float = 0.0) -> Iterator[str]:
    script = Path(__file__).with_name("origin.py")
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder), str(latency_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait()


def make_cube(path: Path, rows: int, pixels: int, *, rows_per_block: int = ROWS_PER_BLOCK) -> None:
    table = {
        "row": np.arange(rows),
        "id": np.arange(rows, dtype=np.uint64),
        "ra": np.arange(rows) % 36_000 / 100.0,
        "dec": np.zeros(rows),
        "label": np.zeros(rows, np.float32),
        "split": np.zeros(rows, np.uint8),
    }
    pq.write_table(pa.table(table), path.with_suffix(".parquet"))
    spec = CubeSpec("bench", pixels, 0.4, ("i", "r", "g"), rows_per_block, 64, 17, "origin", "z")
    create_cube(path, path.with_suffix(".parquet"), spec)


def blocks(cube: Path) -> list[Block]:
    rows = zarr.open_group(cube, mode="r")["id"].shape[0]
    return blocks_of("bench", rows, rows_per_block=ROWS_PER_BLOCK)


def skymill(cube: Path, source: CutoutSource, work: Path) -> None:
    manners = Manners(source.url, requests_per_second=float("inf"), connections=CONNECTIONS)
    shutil.rmtree(cube / "status" / "c", ignore_errors=True)  # what an earlier turn has fetched would be kept
    for block in blocks(cube):
        staging = Staging(str(work / "staging"), "fetch", block.key)
        receipt = fetch_block(cube=str(cube), block=block, source=source, manners=manners, staging=staging)
        # A recorded sky may hold a black tile, which the others keep as a picture.
        assert all(failure.status == Status.BLANK for failure in receipt.failures), receipt.failures[0]
        place(receipt)


def bare(cube: Path, source: CutoutSource, work: Path) -> None:
    group = zarr.open_group(cube, mode="r+")
    ra = np.asarray(group["ra"])
    array = zarr.open_array(cube / "image", mode="r+").with_config({"write_empty_chunks": True})
    for block in blocks(cube):
        array[block.start : block.stop] = asyncio.run(bare_block(block, ra, source))


async def bare_block(block: Block, ra: np.ndarray, source: CutoutSource) -> np.ndarray:
    images = np.zeros((block.rows, source.pixels, source.pixels, 3), np.uint8)
    rows = iter(range(block.rows))

    async def work(session: aiohttp.ClientSession) -> None:
        for row in rows:
            async with session.get(source.address(ra[block.start + row], 0.0)) as response:
                images[row] = np.asarray(Image.open(io.BytesIO(await response.read())))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
        await asyncio.gather(*(work(session) for _ in range(CONNECTIONS)))
    return images


def img2dataset(python: Path) -> Callable[[Path, CutoutSource, Path], float]:
    def run(cube: Path, source: CutoutSource, work: Path) -> float:
        ra = np.asarray(zarr.open_group(cube, mode="r")["ra"])
        urls, script, out = work / "urls.txt", work / "run.py", work / "i2d"
        urls.write_text("\n".join(source.address(value, 0.0) for value in ra))
        script.write_text(I2D_SCRIPT)
        shutil.rmtree(out, ignore_errors=True)
        words = [str(python), str(script), str(urls), str(out), str(source.pixels)]
        done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=work)
        stats = [json.loads(file.read_text()) for file in out.glob("*_stats.json")]
        assert sum(stat["successes"] for stat in stats) == len(ra), stats[:1]
        return float(done.stdout.split("seconds")[1].split()[0])

    return run


def find_img2dataset(given: Path | None, work: Path) -> Path | None:
    if given is not None:
        return given
    folder = work / "venv"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    done = subprocess.run(
        [str(python), "-m", "pip", "install", "-q", I2D], capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"img2dataset cannot be installed: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return python


def timed(work: Callable[[Path, CutoutSource, Path], float | None], *words: object) -> tuple[float, float]:
    """Return seconds of wall and of this process's CPU; img2dataset tells its own wall time."""
    begun, cpu = time.perf_counter(), time.process_time()
    own = work(*words)  # type: ignore[arg-type]
    return own or time.perf_counter() - begun, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jpeg", type=Path)
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--img2dataset", type=Path)
    parser.add_argument("--without-img2dataset", action="store_true")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        folder = words.jpeg or work / "jpeg"
        if words.jpeg is None:
            folder.mkdir()
            draw(folder, 512, 64)
        with Image.open(next(iter(sorted(folder.glob("*.jp*g"))))) as first:
            pixels = first.width
        ways: dict[str, Callable[[Path, CutoutSource, Path], float | None]] = {
            "skymill": skymill,
            "bare loop": bare,
        }
        python = None if words.without_img2dataset else find_img2dataset(words.img2dataset, work)
        if python is not None:
            ways["img2dataset 1.47"] = img2dataset(python)
        seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        make_cube(work / "bench.zarr", words.rows, pixels)
        with origin(folder) as url:
            # Nothing fails here but a recorded black tile, and asking for that again only waits.
            source = CutoutSource(url, 17, pixels, 0.4, retries=0)
            for _ in range(words.repeat):
                for way, run in ways.items():
                    seconds[way].append(timed(run, work / "bench.zarr", source, work))
        report(seconds, words.rows, pixels)


def report(seconds: dict[str, list[tuple[float, float]]], rows: int, pixels: int) -> None:
    ours = seconds["skymill"]
    print(f"{rows} cutouts of {pixels} pixels, {CONNECTIONS} connections, median of {len(ours)}")
    print("| fetch | images/s | CPU, µs an image | skymill against it |\n|---|---|---|---|")
    for way, found in seconds.items():
        wall, cpu = (statistics.median(column) for column in zip(*found, strict=True))
        ratio = statistics.median(other[0] / own[0] for own, other in zip(ours, found, strict=True))
        used = "" if way.startswith("img2dataset") else f"{cpu / rows * 1e6:.0f}"
        print(f"| {way} | {rows / wall:,.0f} | {used} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
