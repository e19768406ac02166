"""Scheduling: blocks without work through the driver, ledger off and on, against a bare ``Client.map``.

All on the same two local workers, in turns. The bare loop hands all calls to Dask at once and takes each result as it
comes (`as_completed`); the driver hands them out as they are taken, notes in Postgres that each is begun, takes each
receipt in a transaction, and reads all of them back. The driver's memory is looked at when 10 %, 50 % and all of the
blocks of the turn with the ledger have begun.

    python -m benchmarks.scheduling [--blocks 100000] [--repeat 1]
"""

import argparse
import functools
import statistics
import tempfile
from pathlib import Path

from cluster.session import DaskSession
from pipeline.ledger import Ledger
from pipeline.mill import Mill
from pipeline.scale import empty
from pipeline.stores import launcher
from pipeline.stores.staging import Staging
from pipeline.view import open_view
from schemas.config import RunFile
from schemas.records import Unit

WORKERS = 2
MARKS = (0.1, 0.5, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dsn = launcher.start(folder / "db")
        try:
            with Ledger.open(dsn) as ledger:
                run_file = a_run_file(folder)
                ledger.open_run(run_file.name, {}, provenance={}, seed=1)
                with Mill(run_file, dsn=dsn, ledger=ledger, view=open_view(quiet=True)) as mill:
                    seconds, memory = measure(mill, args.blocks, args.repeat)
        finally:
            launcher.stop(folder / "db")
    report(seconds, memory, args.blocks)


def a_run_file(folder: Path) -> RunFile:
    return RunFile.model_validate(
        {
            "schema": 1,
            "name": "scheduling",
            "output": str(folder),
            "samples": {"spectro": {"sql": "SELECT specobjid, ra, dec, z FROM SpecObj"}},
            "cluster": {"workers": WORKERS, "memory_gib": 1.0},
        }
    )


def measure(mill: Mill, blocks: int, repeats: int) -> tuple[dict[str, list[float]], list[list[float]]]:
    seconds: dict[str, list[float]] = {"bare": [], "off": [], "on": []}
    memory = []
    warm_up(mill.session)
    for _ in range(repeats):
        marks: list[float] = []
        seconds["on"].append(empty.ledger(mill, blocks, begun=functools.partial(look, marks, blocks)))
        memory.append(marks)  # before the bare loop, which leaves a gigabyte behind
        seconds["off"].append(empty.session(mill.session, blocks))
        seconds["bare"].append(empty.bare(mill.session, blocks))
    return seconds, memory


def warm_up(session: DaskSession) -> None:
    empty.bare(session, 200)
    empty.session(session, 200)


def look(marks: list[float], blocks: int, unit: Unit, staging: Staging) -> dict[str, object]:
    """Note the driver's memory [MiB] whenever a mark is passed."""
    if len(marks) < len(MARKS) and int(unit.key) + 1 >= MARKS[len(marks)] * blocks:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        marks.append(pages * 4096 / 2**20)
    return {}


def report(seconds: dict[str, list[float]], memory: list[list[float]], blocks: int) -> None:
    bare = statistics.median(seconds["bare"])
    print("| what | skymill | against | ratio | goal |\n| --- | --- | --- | --- | --- |")
    for name in ("off", "on"):
        ours = statistics.median(seconds[name])
        ratio = statistics.median(a / b for a, b in zip(seconds[name], seconds["bare"], strict=True))
        what = f"{blocks:,} blocks without work, ledger {name}"
        print(f"| {what} | {ours:.1f} s | bare `Client.map` {bare:.1f} s | {ratio:.2f} | ≤ 1.3 |")
    first, half, last = (statistics.median(marks) for marks in zip(*memory, strict=True))
    grown = f"{first:.0f} MiB at 10 %, {half:.0f} MiB at half"
    print(f"| the driver's memory, ledger on | {last:.0f} MiB | {grown} | {last / first:.2f} | flat |")


if __name__ == "__main__":
    main()
