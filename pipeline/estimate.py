"""What a run will need, from its run file and the counts of its samples; what cannot fit is refused."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cluster.work import find
from pipeline.donors import donors_of
from pipeline.fields.classes import classes_of
from pipeline.fields.files import field_folder
from pipeline.sources.choice import requests_per_row
from pipeline.stores.staging import free_bytes
from schemas.arrays import IMAGE, TARGET
from schemas.config import RunFile
from schemas.errors import PlanError
from schemas.imaging import EMRI, EMRI_SAMPLES, FRAMES, MOSAIC, SCENES
from schemas.records import Receipt

GIB = 2**30
LIBRARIES_GIB = 1.2
"""Resident memory of a worker before its first block: Python, Dask and TensorFlow [GiB], as measured."""
BLOCKS_HELD = 3
"""A worker's peak stays below this many blocks plus the libraries (benchmarks/memory.py)."""
LABEL_BYTES = np.dtype(TARGET.dtype).itemsize
"""Of a pixel and class, where pixels have labels."""
BYTES_PER_PREDICTION = 1_000
"""A row of the catalogue with a PDF of 180 bins, in Parquet and in Postgres together."""
COMPUTE_S: Mapping[str, float] = {"AK": 0.24, "AAK": 5.5}
"""CPU seconds of computing a signal of 262,144 samples, by waveform (docs/decisions/0020-emri.md); a shorter one takes
as much less, noise takes none."""


@dataclass(frozen=True)
class Needs:
    """What a run still needs: requests, hours at the polite rate, disk and memory a worker [GiB].

    ``computing_h`` are the CPU hours of signals that no server has. ``objects`` (by sample) and ``blocks`` are those of
    the whole run.
    """

    objects: Mapping[str, int]
    requests: int
    hours: float
    computing_h: float
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


def needs_of(run_file: RunFile, plans: Mapping[str, Receipt], *, predicted: int = 0) -> Needs:
    """Return what is still to come of a planned run.

    Parameters
    ----------
    run_file : RunFile
        The run.
    plans : mapping
        The receipts of its counts, by sample.
    predicted : int
        Rows that are predicted already. The blocks that are in the cubes are counted here.
    """
    objects = {sample: int(receipt.facts["wanted"]) for sample, receipt in plans.items()}
    total = sum(objects.values())
    queries = sum(1 + len(receipt.facts["partitions"]) for receipt in plans.values())
    politeness = run_file.politeness
    row_bytes = bytes_per_row(run_file)
    rows_per_block = run_file.cube.rows_per_block
    blocks = {sample: math.ceil(rows / rows_per_block) for sample, rows in objects.items()}
    held = {sample: min(blocks[sample], blocks_held(run_file.cube_path(sample))) for sample in objects}
    left = {sample: max(0, rows - held[sample] * rows_per_block) for sample, rows in objects.items()}
    to_fetch = sum(left.values())
    requests = to_fetch * requests_per_row(run_file.images)
    disk_bytes = to_fetch * row_bytes + max(0, total - predicted) * BYTES_PER_PREDICTION
    disk_bytes += sum(
        size for name, size in fields_bytes(run_file).items() if not _has_sources(run_file, name)
    )
    computing = sum(rows * computing_s(run_file, plans[sample].facts) for sample, rows in left.items())
    return Needs(
        objects=objects,
        requests=requests + queries,
        hours=requests / politeness.requests_per_second / 3600 + queries / politeness.queries_per_minute / 60,
        computing_h=computing / 3600,
        disk_gib=disk_bytes / GIB,
        free_gib=free_bytes(run_file.cube_folder) / GIB,
        memory_gib=memory_needed_gib(run_file),
        blocks=sum(blocks.values()),
    )


def bytes_per_row(run_file: RunFile) -> int:
    """Return the pixels of one object [bytes], uncompressed."""
    images = run_file.images
    labels = LABEL_BYTES * len(classes_of(run_file)) if images.source in (MOSAIC, SCENES) else 0
    return math.prod(images.shape) * (len(images.bands) * np.dtype(images.dtype).itemsize + labels)


def computing_s(run_file: RunFile, planned: Mapping[str, Any]) -> float:
    """Return the CPU seconds in which a worker computes a row's signal, on the mean of a sample; 0 for other images.

    `planned` are the facts of the sample's count. Where it did not say which waveforms there are, all rows are taken
    for AK signals.
    """
    if run_file.images.source != EMRI:
        return 0.0
    shares = planned.get("waveforms", {"AK": 1.0})
    whole = sum(share * COMPUTE_S.get(waveform, 0.0) for waveform, share in shares.items())
    return float(whole * run_file.images.pixels / EMRI_SAMPLES)


def fields_bytes(run_file: RunFile) -> dict[str, int]:
    """Return what each field leaves at most [bytes]: a scene's bands, maps and the same as FITS files, segmentation.

    Raises
    ------
    StoreError, PlanError
        A field's files cannot be read.
    """
    found = {}
    for name, field in run_file.fields.items():
        shape, per_pixel = field.shape, 4 * len(run_file.images.bands)
        if not field.scene:
            shape, per_pixel = find("pipeline.fields.opening:open_field")(run_file, name).shape[:2], 0
        if field.classify:
            maps = find("pipeline.fields.results:bytes_per_pixel")
            per_pixel += 2 * maps(len(classes_of(run_file)), run_file.maps.votes) + 4
        found[name] = math.prod(shape) * per_pixel
    return found


def _has_sources(run_file: RunFile, field: str) -> bool:
    return any(field_folder(run_file, field).glob("sources-*"))


def memory_needed_gib(run_file: RunFile) -> float:
    """Return the memory [GiB] of a worker, whatever the counts: its libraries and the blocks it holds at once."""
    return LIBRARIES_GIB + BLOCKS_HELD * run_file.cube.rows_per_block * bytes_per_row(run_file) / GIB


def blocks_held(cube: Path) -> int:
    """Return how many blocks of a cube have their pixels on disk: one shard each."""
    shards = cube / IMAGE.name / "c"
    return sum(1 for _ in shards.iterdir()) if shards.is_dir() else 0


def price_list(run_file: RunFile, needs: Needs) -> str:
    """Return the needs as text for a person."""
    counts = ", ".join(f"{rows:,} {name}" for name, rows in needs.objects.items())
    at_most = " at most: rows of one field share them" if run_file.images.source == FRAMES else ""
    return "\n".join(
        [
            f"run {run_file.name} from {run_file.source.url}, release {run_file.source.release}",
            f"  objects    {sum(needs.objects.values()):,} ({counts})",
            f"  requests   {needs.requests:,}{at_most}",
            f"  time       {needs.hours:.2g} h of requests at the polite rate",
            *_signals(run_file, needs),
            f"  blocks     {needs.blocks:,} of {run_file.cube.rows_per_block} rows",
            f"  disk       {needs.disk_gib:.3g} GiB at most ({needs.free_gib:.3g} GiB free)",
            f"  memory     {needs.memory_gib:.2f} GiB a worker ({run_file.cluster.memory_gib:.1f} GiB allowed)",
            f"  training   {_training(run_file)}",
        ]
    )


def _signals(run_file: RunFile, needs: Needs) -> list[str]:
    if not needs.computing_h:
        return []
    threads = run_file.cluster.workers * run_file.cluster.threads
    hours = f"{needs.computing_h:.2g} CPU hours to compute, {needs.computing_h / threads:.2g} h"
    return [f"  signals    {hours} on {threads} thread{'s' if threads > 1 else ''} of the workers"]


def _training(run_file: RunFile) -> str:
    members, search = run_file.training.ensemble, run_file.search
    words = f"{members} network{'s' if members > 1 else ''} of preset {run_file.model.preset}"
    tried = f", after a search of at most {search.trials} trials of {search.epochs} epochs" if search else ""
    begins = (
        f", after {' and '.join(donors)}, with whose layers it begins"
        if (donors := donors_of(run_file))
        else ""
    )
    where = run_file.cluster.address or f"{run_file.cluster.workers} workers"
    return f"{words}{begins}{tried}, on {where}"
