"""Peak memory while a worker fetches or predicts, and while a trainer learns, one and ten times as many blocks.

    python -m benchmarks.memory [--blocks 1] [--stage fetch|train|infer]

Each row runs in a process of its own, against a local origin. The libraries are measured after a block of a few
rows, so that what they set up on first use is theirs.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import feed
from benchmarks.feed import from_cube
from benchmarks.fetch import ROWS_PER_BLOCK, draw, make_cube, origin, skymill
from benchmarks.inference import make_bundle, whole_blocks
from model.batches import training_epochs
from model.cubes import labelled_rows, open_cube
from model.presets import load_preset
from model.threads import import_with_tensorflow
from pipeline.sources.cutouts import CutoutSource
from schemas.flags import Part

PIXELS, FEW = 64, 128
STAGES = ["fetch", "train", "infer"]


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(stage: str, blocks: int, url: str, work: Path) -> None:
    if stage == "train":
        return measure_training(blocks, work)
    few, many = work / "few.zarr", work / "many.zarr"
    source = CutoutSource(url, 17, PIXELS, 0.4)
    for cube, rows in ((few, FEW), (many, blocks * ROWS_PER_BLOCK)):
        make_cube(cube, rows, PIXELS)
        if stage == "infer":
            # By another process: the memory of fetching must not hide that of predicting.
            again(["--fill", str(cube), url])
    bundle = make_bundle(work / "bundle", open_cube(str(few))) if stage == "infer" else ""
    peaks = []
    for cube in (few, many):
        if stage == "infer":
            whole_blocks(open_cube(str(cube)), bundle, work / "part")
        else:
            skymill(cube, source, work)
        peaks.append(peak_mib())
    say(stage, blocks, *peaks)


def measure_training(blocks: int, work: Path) -> None:
    """Learn two epochs of a cube of a few rows, and of one of whole blocks."""
    machines = import_with_tensorflow("model.machine", threads=1)
    preset, peaks = load_preset("light"), []
    for rows in (FEW, blocks * ROWS_PER_BLOCK):
        # By another process: the memory of drawing must not hide that of learning.
        again(["--draw", str(work / f"{rows}.zarr"), str(rows)])
        cube = open_cube(str(work / f"{rows}.zarr"))
        machine, part = machines.assemble(preset, cube, 1), labelled_rows(cube)[Part.TRAIN]
        with training_epochs(cube, part, batch=64, seed=1, epochs=range(2), turn=False) as epochs:
            for epoch in epochs:
                from_cube(machine, epoch)
        peaks.append(peak_mib())
    say("train", blocks, *peaks)


def say(stage: str, blocks: int, libraries: float, peak: float) -> None:
    above, block = peak - libraries, ROWS_PER_BLOCK * PIXELS * PIXELS * 3 / 2**20
    print(f"| {stage} | {blocks} | {libraries:.0f} | {peak:.0f} | {above:.0f} | {above / block:.1f} |")


def again(words: list[str]) -> None:
    subprocess.run([sys.executable, "-m", "benchmarks.memory", *words], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=1)
    parser.add_argument("--stage", choices=STAGES)
    parser.add_argument("--fill", nargs=2, metavar=("CUBE", "URL"), help=argparse.SUPPRESS)
    parser.add_argument("--draw", nargs=2, metavar=("CUBE", "ROWS"), help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.measure:
        stage, blocks, url, work = words.measure
        measure(stage, int(blocks), url, Path(work))
    elif words.draw:
        feed.make_cube(Path(words.draw[0]), int(words.draw[1]), ROWS_PER_BLOCK)
    elif words.fill:
        cube = Path(words.fill[0])
        skymill(cube, CutoutSource(words.fill[1], 17, PIXELS, 0.4), cube.parent)
    else:
        table([words.stage] if words.stage else STAGES, words.blocks)


def table(stages: list[str], blocks: int) -> None:
    print(f"blocks of {ROWS_PER_BLOCK} cutouts of {PIXELS} pixels")
    print(
        "| stage | blocks | libraries, MiB | peak, MiB | above, MiB | above, blocks |\n|---|---|---|---|---|---|"
    )
    for stage in stages:
        for count in (blocks, 10 * blocks):
            with tempfile.TemporaryDirectory() as name:
                jpeg = Path(name, "jpeg")
                jpeg.mkdir()
                draw(jpeg, 64, PIXELS)
                with origin(jpeg) as url:
                    sys.stdout.flush()
                    again(["--measure", stage, str(count), url, name])


if __name__ == "__main__":
    main()
