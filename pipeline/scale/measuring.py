"""A measurement: how long some work took on some nodes, where their time went, and the table of all of them."""

import csv
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from pipeline.stores.staging import disk_errors
from schemas.ledger_rows import TimelinePoint
from schemas.records import Receipt

COLUMNS = {
    "stage": "what was done: fetch, train, infer, publish, all (one after the other), or none (blocks without work)",
    "way": "of none: bare (Client.map alone), session (the driver without a ledger), ledger (the whole driver)",
    "mode": "strong: the same work on any number of nodes; weak: as much work a node",
    "nodes": "Dask workers that took part",
    "repeat": "counts from 1",
    "turn": "place in the order in which everything was measured",
    "units": "units of work: blocks, networks, or parts",
    "rows": "rows (images; images x epochs for train)",
    "slots": "tasks that the workers can be at together: threads of all of them",
    "cores": "cores of the machines of these workers, as far as they may use them",
    "hosts": "machines of these workers",
    "wall_s": "time from the first unit handed out to the last receipt kept [s]",
    "rows_per_s": "rows / wall_s (for train: of its epochs alone)",
    "speedup": "rows_per_s, over the median of the smallest number of nodes",
    "efficiency": "speedup, over the number of nodes as a multiple of the smallest",
    "work_s": "computing, all slots together [s]",
    "wait_s": "waiting for the survey server, or for leave to ask it [s]",
    "io_s": "writing products, as far as receipts tell it apart [s]",
    "scheduler_s": "between tasks, and until the first: handing out, starting, keeping receipts [s]",
    "idle_s": "nothing left to do, while others still worked [s]; the five add up to slots x wall_s",
    "bottleneck": "what held it back most, in words",
}
"""The columns of ``scaling.csv``."""


@dataclass(frozen=True)
class Split:
    """Where the time of all slots went [s]."""

    work_s: float = 0.0
    wait_s: float = 0.0
    io_s: float = 0.0
    scheduler_s: float = 0.0
    idle_s: float = 0.0

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.work_s + self.wait_s + self.io_s + self.scheduler_s + self.idle_s

    def share(self, part: str) -> float:
        """Return the share of a part, such as ``"wait"``."""
        return float(getattr(self, f"{part}_s") / self.total_s) if self.total_s > 0 else 0.0

    def within(self, total_s: float) -> "Split":
        """Return it scaled down to `total_s`, if it is more: clocks of several machines differ a little."""
        factor = total_s / self.total_s if self.total_s > total_s > 0 else 1.0
        return Split(**{name: value * factor for name, value in asdict(self).items()})


@dataclass(frozen=True)
class Nodes:
    """Those that take part: addresses of workers, their threads, and how many cores each of their machines has."""

    workers: tuple[str, ...]
    threads: int
    cores: Mapping[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of workers."""
        return len(self.workers)


@dataclass(frozen=True)
class Measurement:
    """One row of the table; the columns are explained in `COLUMNS`."""

    stage: str
    nodes: int
    repeat: int
    wall_s: float
    rows: int
    units: int
    slots: int
    way: str = ""
    mode: str = "strong"
    turn: int = 0
    cores: int = 0
    hosts: int = 0
    rows_per_s: float = 0.0
    split: Split = Split()
    speedup: float = 0.0
    efficiency: float = 0.0
    bottleneck: str = ""

    @property
    def series(self) -> str:
        """What it is compared with: measurements of the same stage, done the same way."""
        return f"{self.stage} ({self.way})" if self.way else self.stage


def split_of(points: Sequence[TimelinePoint], *, wall_s: float, nodes: int, slots: int) -> Split:
    """Return where the slots' time went, by the receipts that came; all of a receipt's time is work.

    What lies between the receipts of a worker is the scheduler's, what comes after its last one is idle time.

    Parameters
    ----------
    points : sequence of TimelinePoint
        The receipts; the last one came at the end.
    wall_s : float
        How long it took [s].
    nodes, slots : int
        Workers, and the tasks they can be at together.
    """
    ended = max((point.ended for point in points), default=None)
    busy: dict[str, float] = defaultdict(float)
    last: dict[str, float] = defaultdict(float)
    for point in points:
        assert ended is not None
        busy[point.worker] += point.seconds
        # counted from the end, so that the clocks of driver and database need not agree
        last[point.worker] = max(last[point.worker], wall_s - (ended - point.ended).total_seconds())
    work_s = sum(busy.values())
    scheduler_s = sum(max(0.0, slots / nodes * last[worker] - busy[worker]) for worker in busy)
    idle_s = max(0.0, slots * wall_s - work_s - scheduler_s)
    return Split(work_s=work_s, scheduler_s=scheduler_s, idle_s=idle_s).within(slots * wall_s)


def fetch_told_apart(split: Split, receipts: Iterable[Receipt]) -> Split:
    """Return a split of fetching whose work is told apart from waiting for the server, and from writing.

    What a receipt's download took and decoding did not is waiting: for answers, for leave to ask, and for the
    politeness of the whole run.
    """
    facts = [receipt.facts for receipt in receipts]
    write_s = sum(float(each.get("write_s", 0.0)) for each in facts)
    wait_s = sum(
        max(0.0, float(each.get("fetch_s", 0.0)) - float(each.get("decode_s", 0.0))) for each in facts
    )
    io_s = min(write_s, split.work_s)
    wait_s = min(wait_s, split.work_s - io_s)
    return replace(split, work_s=split.work_s - io_s - wait_s, wait_s=wait_s, io_s=io_s)


def compared(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Return measurements with speedup and efficiency, against the smallest number of nodes of their series."""
    references: dict[str, tuple[int, float]] = {}
    for series in {each.series for each in measurements}:
        own = [each for each in measurements if each.series == series]
        least = min(each.nodes for each in own)
        references[series] = least, statistics.median(each.rows_per_s for each in own if each.nodes == least)
    found = []
    for each in measurements:
        least, rate = references[each.series]
        speedup = each.rows_per_s / rate if rate > 0 else 0.0
        found.append(replace(each, speedup=speedup, efficiency=speedup * least / each.nodes))
    return found


def write_csv(measurements: Iterable[Measurement], path: Path) -> None:
    """Write one row a measurement; `COLUMNS` says what is in it."""
    with disk_errors(path), path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(COLUMNS), lineterminator="\n")
        table.writeheader()
        for each in measurements:
            values = {**asdict(each), **asdict(each.split)}
            table.writerow({name: _shown(values[name]) for name in COLUMNS})


def _shown(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value
