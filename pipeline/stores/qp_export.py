"""Write PDFs as the package ``qp`` opens them: an HDF5 file with its ``hist`` layout, filled row group by row group.

``qp.read(file)`` gives an ensemble with the very bins of the catalogue (``qp``'s other forms can be had of it by
``qp.convert``). The layout is the one of qp-prob 1.1: ``meta`` holds ``pdf_name``, ``pdf_version`` and ``bins``;
``data/pdfs`` the density in each bin; ``ancil`` whatever else is known of each row. Written with h5py, an extra:
``pip install skymill[qp]``; qp itself is needed by who reads. This module is found by name when it is needed.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from psycopg2.extensions import connection as Connection

from model.pdfs import normalised
from pipeline.stores.catalogue_export import export_version
from pipeline.stores.catalogue_versions import Version
from pipeline.stores.lock import locked
from pipeline.stores.staging import clean, disk_errors
from schemas.disk import sync
from schemas.errors import StoreError

Array = NDArray[Any]

BATCH_ROWS = 4096
"""Most rows that are held in memory."""
_CHUNK_ROWS = 512
_LEFT_OUT = ("pdf", "provenance", "row", "healpix")
"""Columns that are not among the ancillary ones: the PDF itself, and what only the catalogue's own table needs."""


@dataclass(frozen=True)
class Written:
    """What was written: ``rows``, and how many were ``left_out``, whose PDF is not finite or nothing."""

    rows: int
    left_out: int


def write_qp(*, connection: Connection, version: Version, out: Path) -> Written:
    """Write a published version's PDFs as one file that ``qp.read`` opens.

    Parameters
    ----------
    connection : connection
        Of the driver.
    version : Version
        A complete one, with PDFs.
    out : Path
        The file, ``.hdf5``; one that is there is replaced when the new one is whole.

    Raises
    ------
    Busy
        If another process writes it.
    DatabaseError
        If Postgres refuses.
    StoreError
        If the disk refuses, or the version has no PDFs.
    """
    if version.pdf is None:
        raise StoreError(
            f"version {version.version} of {version.catalogue} has no PDFs",
            "train a preset whose head.kind is 'bins', and publish again",
        )
    parts = out.with_name(f".{out.name}.parts")
    with locked(out.with_name(f".{out.name}.lock"), what=f"the qp file {out}"), disk_errors(out):
        clean(parts)  # what an export that was killed has left
        parts.mkdir(parents=True)
        paths = export_version(connection, version, parts)
        facts = {"skymill_version": version.version, "skymill_digest": version.digest}
        written = convert(paths, out, edges=np.array(version.pdf.edges), facts=facts)
        clean(parts)
    return written


def convert(
    paths: Sequence[Path], out: Path, *, edges: Array | None = None, facts: Mapping[str, Any] | None = None
) -> Written:
    """Write the PDFs of Parquet parts (`model.parts`) as one file that ``qp.read`` opens, in bounded memory.

    Rows keep their order. A row whose PDF is not finite or sums to nothing is left out and counted, as ``qp`` refuses
    a whole file for one of them; ``ancil/id`` says which rows are there.

    Parameters
    ----------
    paths : sequence of Path
        The parts, with the same bins.
    out : Path
        The file, ``.hdf5``; it is replaced when the new one is whole.
    edges : ndarray, optional
        Edges of the bins, ``(bins + 1,)``; by default those in the parts' metadata.
    facts : Mapping, optional
        Attributes of the file.

    Raises
    ------
    StoreError
        A part has no PDF, not the same bins as the others, or cannot be read; no row is left; or the disk refuses.
    """
    bins = [edges if edges is not None else _edges_of(path) for path in paths]
    if not bins or any(not np.array_equal(bins[0], other) for other in bins):
        raise StoreError(
            f"{len(paths)} parts do not have the same bins" if bins else "there are no parts to write",
            "write the parts of one run and one model at a time",
        )
    building = out.with_name(f".{out.name}.new")
    try:
        with disk_errors(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            written = _fill(building, paths, bins[0], dict(facts or {}))
            sync(building)
            building.replace(out)
            sync(out.parent)
    finally:
        building.unlink(missing_ok=True)
    return written


def _fill(building: Path, paths: Sequence[Path], edges: Array, facts: dict[str, Any]) -> Written:
    rows = left_out = 0
    with h5py.File(building, "w") as file:
        file.attrs.update(facts)
        _write_meta(file, edges)
        for batch in _batches(paths):
            density, good = _densities(batch, edges)
            _append(file, batch.filter(pa.array(good)), density[good])
            rows, left_out = rows + int(good.sum()), left_out + int((~good).sum())
    if not rows:
        raise StoreError(
            f"none of {left_out} rows has a PDF that is finite", "look at the run's report, and train again"
        )
    return Written(rows, left_out)


def _edges_of(path: Path) -> Array:
    with _read_errors(path):
        schema = pq.read_schema(path)
    said = json.loads((schema.metadata or {}).get(b"skymill", b"{}"))
    if "pdf" not in schema.names or "pdf_edges" not in said:
        raise StoreError(f"{path} has no PDFs", "train a preset whose head.kind is 'bins'")
    return np.asarray(said["pdf_edges"], np.float64)


def _write_meta(file: h5py.File, edges: Array) -> None:
    meta = file.create_group("meta")
    meta["pdf_name"] = np.array([b"hist"])
    meta["pdf_version"] = np.array([0])
    meta["bins"] = edges[None, :]


def _batches(paths: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with _read_errors(path), pq.ParquetFile(path) as part:
            yield from part.iter_batches(BATCH_ROWS)


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """Say which part cannot be read, and what to do about it."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{path} cannot be read: {error}", "run skymill verify --repair") from error


def _densities(batch: pa.RecordBatch, edges: Array) -> tuple[Array, Array]:
    """Return the densities ``(n, bins)``, and which rows have one."""
    flat = batch.column("pdf").flatten().to_numpy(zero_copy_only=False)
    if len(flat) != len(batch) * (len(edges) - 1):
        raise StoreError(
            f"expected PDFs of {len(edges) - 1} bins, found {len(flat)} numbers in {len(batch)} rows",
            "write the parts of one run and one model at a time",
        )
    density = normalised(flat.reshape(len(batch), -1)) / np.diff(edges)
    return density.astype(np.float32), np.asarray(np.isfinite(density).all(1))


def _append(file: h5py.File, batch: pa.RecordBatch, density: Array) -> None:
    _extend(file, "data/pdfs", density)
    for name in batch.schema.names:
        if name not in _LEFT_OUT:
            values = batch.column(name).to_numpy(zero_copy_only=False)
            _extend(file, f"ancil/{name}", values)


def _extend(file: h5py.File, name: str, values: Array) -> None:
    """Append rows to a dataset, which is made by the first ones."""
    if name not in file:
        kind = h5py.string_dtype() if values.dtype == object else values.dtype
        file.create_dataset(
            name,
            (0, *values.shape[1:]),
            kind,
            maxshape=(None, *values.shape[1:]),
            chunks=(_CHUNK_ROWS, *values.shape[1:]),
            compression="gzip",
            compression_opts=1,
            shuffle=True,
        )
    dataset = file[name]
    dataset.resize(len(dataset) + len(values), axis=0)
    if len(values):
        dataset[-len(values) :] = values
