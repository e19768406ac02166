"""Read prediction parts column by column, in bounded memory."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from model.pdfs import pdf_scores
from pipeline.report.facts import SampleFacts
from pipeline.report.markup import count
from pipeline.report.sampling import Reservoir
from schemas.errors import StoreError
from schemas.flags import Part, PredictionFlag

MAX_POINTS = 100_000
"""Most test galaxies of plots and tables by interval; above it a seeded sample stands for all."""
MAX_PDFS = 20_000
"""Most PDFs that are read for calibration."""
BATCH_ROWS = 65_536
FINE_STEP = 0.005
FINE_EDGES = np.arange(-0.1, 10 + FINE_STEP / 2, FINE_STEP)
"""Bins of the redshift histogram that is filled while streaming; wide enough for any galaxy."""

LIGHT = ["row", "id", "z_spec", "z_phot", "flags", "split"]
"""Columns that are read of every part."""


@dataclass(frozen=True)
class Cloud:
    """Galaxies, mostly of the test part, with a label and a finite estimate; one array element a galaxy.

    At most `MAX_POINTS`. ``z_spec`` and ``z_phot`` are label and prediction, also of a target that is no redshift.

    ``total`` counts all there are. ``sample`` and ``part`` are indices into the report's samples and into
    that sample's parts.
    """

    total: int
    sample: NDArray[Any]
    part: NDArray[Any]
    row: NDArray[Any]
    id: NDArray[Any]
    z_spec: NDArray[Any]
    z_phot: NDArray[Any]

    @property
    def delta(self) -> NDArray[Any]:
        """Δ = (z_phot - z_spec) / (1 + z_spec)."""
        return (self.z_phot - self.z_spec) / (1 + self.z_spec)

    def __len__(self) -> int:
        return len(self.z_spec)


@dataclass
class Tally:
    """Exact counts over all predictions of one sample."""

    rows: int = 0
    not_finite: int = 0
    missing_parts: int = 0
    flags: dict[str, int] = field(default_factory=dict)
    z_phot: NDArray[Any] = field(default_factory=lambda: np.zeros(len(FINE_EDGES) - 1, np.int64))
    z_spec: NDArray[Any] = field(default_factory=lambda: np.zeros(len(FINE_EDGES) - 1, np.int64))


@dataclass(frozen=True)
class Calibration:
    """`model.pdfs.pdf_scores` of at most `MAX_PDFS` test galaxies, ``(n, 3)``, and a few PDFs to show."""

    scores: NDArray[Any]
    edges: NDArray[Any]
    shown: tuple[tuple[int, NDArray[Any]], ...]

    @property
    def pit(self) -> NDArray[Any]:
        """Each galaxy's probability integral transform, ``(n,)``."""
        return self.scores[:, 0]


def survey(
    samples: Sequence[SampleFacts], *, seed: int, part: Part = Part.TEST
) -> tuple[Cloud, dict[str, Tally]]:
    """Stream all predictions once; return the galaxies of a part of the split, and counts a sample."""
    reservoir, tallies = Reservoir(MAX_POINTS, seed=seed), {}
    for index, sample in enumerate(samples):
        tallies[sample.name] = tally = Tally()
        tally.missing_parts = sum(not path.exists() for path in sample.parts)
        for number, batch in _batches(sample.parts):
            _count(tally, batch)
            known = np.isfinite(batch["z_spec"]) & np.isfinite(batch["z_phot"]) & (batch["split"] == part)
            kept = {name: batch[name][known] for name in ("row", "id", "z_spec", "z_phot")}
            many = int(known.sum())
            reservoir.add({"sample": np.full(many, index), "part": np.full(many, number), **kept})
    columns = reservoir.columns or {
        name: np.empty(0) for name in ("sample", "part", "row", "id", "z_spec", "z_phot")
    }
    columns = {n: v.astype(np.float64) if n.startswith("z_") else v for n, v in columns.items()}
    return Cloud(total=reservoir.seen, **columns), tallies


def capped(cloud: Cloud) -> str:
    """Say that a seeded sample stands for all galaxies; empty where it does not."""
    if cloud.total == len(cloud):
        return ""
    return (
        f"Plots and tables show {count(len(cloud))} of {count(cloud.total)} test galaxies, "
        "drawn at random by the run's seed."
    )


def calibrate(
    cloud: Cloud, samples: Sequence[SampleFacts], *, shown: Sequence[int], seed: int
) -> Calibration | None:
    """Read the PDFs of test galaxies part by part; None if there are none.

    Parameters
    ----------
    cloud : Cloud
        The test galaxies.
    samples : sequence of SampleFacts
        As they were given to `survey`.
    shown : sequence of int
        Elements of `cloud` whose PDFs are returned.
    seed : int
        Chooses the PDFs when there are more than `MAX_PDFS`.
    """
    chosen = np.arange(len(cloud))
    if len(cloud) > MAX_PDFS:
        drawn = np.random.default_rng(seed).choice(len(cloud), MAX_PDFS, replace=False)
        chosen = np.union1d(drawn, np.asarray(shown, np.int64))
    scores = []
    pictures: dict[int, NDArray[Any]] = {}
    edges, wanted = np.empty(0), set(shown)
    for sample, part in sorted({(int(cloud.sample[i]), int(cloud.part[i])) for i in chosen}):
        here = chosen[(cloud.sample[chosen] == sample) & (cloud.part[chosen] == part)]
        found = _read_pdfs(samples[sample].parts[part], cloud.row[here])
        if found is None:
            continue
        pdfs, edges = found
        good = np.isfinite(pdfs).all(axis=1)
        scores.append(pdf_scores(pdfs[good], edges, cloud.z_spec[here][good]))
        pictures |= {int(i): pdf for i, pdf in zip(here, pdfs, strict=True) if int(i) in wanted}
    if not any(map(len, scores)):
        return None
    ordered = tuple((i, pictures[i]) for i in shown if i in pictures)
    return Calibration(np.concatenate(scores), edges, ordered)


@contextmanager
def open_part(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a part; one that is damaged, wherever that shows, is a StoreError."""
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{path} cannot be read: {error}", "run `skymill verify --repair`") from error


def _batches(parts: Sequence[Path]) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
    for number, path in enumerate(parts):
        if not path.exists():
            continue
        with open_part(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=LIGHT):
                yield number, {name: batch.column(name).to_numpy(zero_copy_only=False) for name in LIGHT}


def _count(tally: Tally, batch: dict[str, NDArray[Any]]) -> None:
    tally.rows += len(batch["row"])
    tally.not_finite += int((~np.isfinite(batch["z_phot"])).sum())
    for flag in PredictionFlag:
        name = str(flag.name).lower().replace("_", " ")
        tally.flags[name] = tally.flags.get(name, 0) + int(((batch["flags"] & int(flag)) != 0).sum())
    for name, histogram in (("z_phot", tally.z_phot), ("z_spec", tally.z_spec)):
        values = batch[name]
        histogram += np.histogram(values[np.isfinite(values)], FINE_EDGES)[0]


def _read_pdfs(path: Path, rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return the PDFs of some rows of a part, ``(n, bins)``, and the edges of their bins."""
    with open_part(path) as file:
        metadata = json.loads((file.schema_arrow.metadata or {}).get(b"skymill", b"{}"))
        if "pdf" not in file.schema_arrow.names or "pdf_edges" not in metadata:
            return None
        table = file.read(columns=["row", "pdf"])
    order = {int(row): place for place, row in enumerate(table.column("row").to_numpy())}
    places = pa.array([order[int(row)] for row in rows])
    lists = table.column("pdf").combine_chunks().take(places)
    edges = np.asarray(metadata["pdf_edges"], np.float64)
    flat = lists.values.to_numpy(zero_copy_only=False)
    return flat.reshape(-1, len(edges) - 1).astype(np.float64), edges
