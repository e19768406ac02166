"""What a run will need, from its run file and the counts of its samples; what cannot fit is refused."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.stores.staging import free_bytes
from schemas.config import RunFile
from schemas.errors import PlanError
from schemas.records import Receipt

GIB = 2**30
LIBRARIES_GIB = 1.2
"""Resident memory of a worker before its first block: Python, Dask and TensorFlow [GiB], as measured."""
BLOCKS_HELD = 3
"""A worker's peak stays below this many blocks plus the libraries (benchmarks/memory.py)."""
BYTES_PER_PREDICTION = 1_000
"""A row of the catalogue with a PDF of 180 bins, in Parquet and in Postgres together."""


@dataclass(frozen=True)
class Needs:
    """What a run needs: objects, requests, hours at the polite rate, disk and memory a worker [GiB]."""

    objects: Mapping[str, int]
    requests: int
    hours: float
    disk_gib: float
    free_gib: float
    memory_gib: float
    blocks: int

    def check(self, run_file: RunFile) -> None:
        """Refuse what cannot fit.

        Raises
        ------
        PlanError
            If the disk is too small, or a worker's memory.
        """
        if self.disk_gib > self.free_gib:
            raise PlanError(
                f"the run needs {self.disk_gib:.3g} GiB of disk, {self.free_gib:.3g} GiB are free",
                "set output and cube.path to a larger disk, or lower the samples' limit",
            )
        if self.memory_gib > run_file.cluster.memory_gib:
            raise PlanError(
                f"a worker needs {self.memory_gib:.2f} GiB, cluster.memory_gib is {run_file.cluster.memory_gib}",
                "raise cluster.memory_gib, or lower cube.rows_per_block",
            )


def estimate(run_file: RunFile, objects: Mapping[str, int]) -> Needs:
    """Return what `objects` (rows by sample) will take."""
    total = sum(objects.values())
    queries = sum(
        1 + math.ceil(rows / run_file.samples[name].rows_per_partition) for name, rows in objects.items()
    )
    politeness = run_file.politeness
    hours = total / politeness.requests_per_second / 3600 + queries / politeness.queries_per_minute / 60
    row_bytes = run_file.images.pixels**2 * len(run_file.images.bands)
    rows_per_block = run_file.cube.rows_per_block
    return Needs(
        objects=objects,
        requests=total + queries,
        hours=hours,
        disk_gib=total * (row_bytes + BYTES_PER_PREDICTION) / GIB,
        free_gib=free_bytes(run_file.cube_path(next(iter(objects)))) / GIB,
        memory_gib=LIBRARIES_GIB + BLOCKS_HELD * rows_per_block * row_bytes / GIB,
        blocks=sum(math.ceil(rows / rows_per_block) for rows in objects.values()),
    )


def needs_of(run_file: RunFile, plans: Mapping[str, Receipt]) -> Needs:
    """Return what a planned run will take, from the receipts of its counts."""
    return estimate(run_file, {sample: receipt.facts["wanted"] for sample, receipt in plans.items()})


def price_list(run_file: RunFile, needs: Needs) -> str:
    """Return the needs as text for a person."""
    counts = ", ".join(f"{rows:,} {name}" for name, rows in needs.objects.items())
    return "\n".join(
        [
            f"run {run_file.name} from {run_file.source.url}, release {run_file.source.release}",
            f"  objects    {sum(needs.objects.values()):,} ({counts})",
            f"  requests   {needs.requests:,}",
            f"  time       {needs.hours:.2g} h of requests at the polite rate",
            f"  blocks     {needs.blocks:,} of {run_file.cube.rows_per_block} rows",
            f"  disk       {needs.disk_gib:.3g} GiB at most ({needs.free_gib:.3g} GiB free)",
            f"  memory     {needs.memory_gib:.2f} GiB a worker ({run_file.cluster.memory_gib:.1f} GiB allowed)",
        ]
    )
