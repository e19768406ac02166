"""Fetch on several workers: the same blocks by 1 and by 8, in turns, from a server that answers 100 ms late.

Workers are processes of this machine, one thread each, so what grows with them is what waits: each worker has two
connections, waits for answers nearly all of the time, and all of them together stay far below what the cores can do.
Politeness (one desk for the run) allows what 8 workers open, at a rate that does not bind. A turn is a whole stage with
warm workers: units begun and receipts kept in Postgres, shards written, synced and placed by the driver.

    python -m benchmarks.fetch_scaling [--workers 8] [--blocks 32] [--repeat 3]
"""

import argparse
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.fetch import draw, make_cube, origin
from cluster.desk import Manners
from pipeline.ledger import Ledger
from pipeline.scale.measuring import Split, fetch_told_apart, split_of
from pipeline.scale.mill import ScaleMill
from pipeline.sources.cutouts import CutoutSource
from pipeline.stores import launcher
from pipeline.stores.staging import Staging
from pipeline.units import WORK
from pipeline.view import open_view
from schemas.config import RunFile
from schemas.records import Unit, blocks_of

LATENCY_S = 0.1
CONNECTIONS = 2
"""Of each worker."""
ROWS = 64
"""Of a block."""
PIXELS = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--blocks", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "jpeg").mkdir()
        draw(folder / "jpeg", 256, PIXELS)
        dsn = launcher.start(folder / "db")
        try:
            with origin(folder / "jpeg", latency_s=LATENCY_S) as url, Ledger.open(dsn) as ledger:
                run_file = a_run_file(folder, url, args.workers)
                ledger.open_run(run_file.name, {}, provenance={}, seed=1)
                with ScaleMill(run_file, dsn=dsn, ledger=ledger, view=open_view(quiet=True)) as mill:
                    found = measure(mill, args)
        finally:
            launcher.stop(folder / "db")
    report(found, args)


def a_run_file(folder: Path, url: str, workers: int) -> RunFile:
    return RunFile.model_validate(
        {
            "schema": 1,
            "name": "fetch-scaling",
            "output": str(folder),
            "source": {"url": url},
            "samples": {"bench": {"sql": "SELECT specobjid, ra, dec, z FROM SpecObj"}},
            "training": {"sample": "bench"},
            "images": {"pixels": PIXELS, "arcsec_per_pixel": 0.4},
            "cluster": {"workers": workers, "memory_gib": 1.5},
        }
    )


def measure(mill: ScaleMill, args: argparse.Namespace) -> dict[int, list[tuple[float, Split]]]:
    path = mill.run_file.cube_path("bench")
    path.parent.mkdir(parents=True)
    make_cube(path, args.blocks * ROWS, PIXELS, rows_per_block=ROWS)
    mill.session.await_workers(args.workers, [""], say=print)
    turn(mill, args.workers, args)  # libraries are loaded, connections of the driver are made
    found: dict[int, list[tuple[float, Split]]] = {1: [], args.workers: []}
    order = random.Random(137)
    for _ in range(args.repeat):
        for number in order.sample([1, args.workers], 2):
            found[number].append(turn(mill, number, args))
    return found


def turn(mill: ScaleMill, number: int, args: argparse.Namespace) -> tuple[float, Split]:
    """Fetch all blocks anew with some of the workers; return the time [s], and where the workers' went."""
    nodes = mill.session.limit(number)
    path = mill.run_file.cube_path("bench")
    url = mill.run_file.source.url
    manners = Manners(
        url, requests_per_second=1e4, connections=CONNECTIONS * args.workers, give_up_after_s=60, shared=True
    )
    source = CutoutSource(url, 17, PIXELS, 0.4, retries=0)
    blocks = blocks_of("bench", args.blocks * ROWS, rows_per_block=ROWS)
    units = [Unit("fetch", block.key, "i", {"block": block}) for block in blocks]

    def arguments(unit: Unit, staging: Staging) -> dict[str, object]:
        given = {"block": unit.arguments["block"], "cube": str(path), "source": source}
        return {**given, "manners": manners, "staging": staging}

    mill.ledger.reset("fetch", [unit.key for unit in units])
    shutil.rmtree(path / "status" / "c", ignore_errors=True)  # what an earlier turn has fetched would be kept
    begun = time.perf_counter()
    receipts = mill.drive(units, WORK["fetch"], arguments)
    wall_s = time.perf_counter() - begun
    assert all(receipt.facts["ok"] == receipt.rows for receipt in receipts.values())
    split = split_of(mill.ledger.timeline("fetch"), wall_s=wall_s, nodes=number, slots=nodes.threads)
    return wall_s, fetch_told_apart(split, receipts.values())


def report(found: dict[int, list[tuple[float, Split]]], args: argparse.Namespace) -> None:
    rows, most = args.blocks * ROWS, args.workers
    efficiency = statistics.median(
        one / many / most for (one, _), (many, _) in zip(found[1], found[most], strict=True)
    )
    print(
        "| fetch | images/s | work, wait, I/O, scheduler, idle | efficiency | goal |\n|---|---|---|---|---|"
    )
    for number, turns in found.items():
        rate = rows / statistics.median(wall_s for wall_s, _ in turns)
        parts = ("work", "wait", "io", "scheduler", "idle")
        shares = [statistics.median(split.share(part) for _, split in turns) for part in parts]
        shown = f"{efficiency:.2f} | ≥ 0.9" if number > 1 else "1 | "
        name = f"{number} worker{'s' if number > 1 else ''}, {CONNECTIONS} connections each, {LATENCY_S * 1000:.0f} ms"
        print(f"| {name} | {rate:,.0f} | {', '.join(f'{share:.0%}' for share in shares)} | {shown} |")


if __name__ == "__main__":
    main()
