"""Read a Parquet part of predictions as blocks of binary COPY."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy_healpix import lonlat_to_healpix
from numpy.typing import NDArray

from pipeline.stores.catalogue_versions import PdfSpec
from pipeline.stores.copy_binary import Column, block_dtype, encode
from schemas.errors import StoreError

HEALPIX_ORDER = 29
BLOCK_BYTES = 8 * 2**20
PROVENANCE_CHARS = 16
COLUMNS = {
    "id": ("numeric20", "uint64"),
    "ra": ("float8", "float64"),
    "dec": ("float8", "float64"),
    "healpix": ("int8", ""),
    "z_spec": ("float4", "float32"),
    "z_phot": ("float4", "float32"),
    "z_phot_err": ("float4", "float32"),
    "flags": ("int4", "int32"),
    "split": ("int2", "uint8"),
}
"""Columns of the catalogue that are numbers: kind on the wire, type in the part (none: made here)."""


@dataclass(frozen=True)
class CataloguePart:
    """One Parquet file of predictions: ``key`` names it within the version, ``digest`` its content."""

    key: str
    path: Path
    sample: str
    digest: str


def read_pdf_spec(path: Path) -> PdfSpec | None:
    """Return what the metadata of a part say of its PDF; None when it has none."""
    with _opened(path) as file:
        return _pdf_spec(file.schema_arrow, path)


def blocks(part: CataloguePart, pdf: PdfSpec | None, *, provenance: str) -> Iterator[NDArray[np.void]]:
    """Draw the rows of a part as blocks of at most 8 MiB.

    Raises
    ------
    StoreError
        If the file is missing or damaged, or its columns are not those of the catalogue.
    """
    columns = columns_of(part.sample, pdf)
    size = max(1, BLOCK_BYTES // block_dtype(columns).itemsize)
    with _opened(part.path) as file:
        _check(file.schema_arrow, part.path, pdf)
        names = [name for name, (_, kind) in COLUMNS.items() if kind] + (["pdf"] if pdf else [])
        try:
            for batch in file.iter_batches(batch_size=size, columns=names):
                yield encode(columns, _values(batch, part, pdf, provenance), batch.num_rows)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(part.path, str(error)) from error


def columns_of(sample: str, pdf: PdfSpec | None) -> list[Column]:
    """Return the columns of the COPY, in its order."""
    return [
        Column("sample", "text", len(sample.encode())),
        *(Column(name, kind) for name, (kind, _) in COLUMNS.items()),
        Column("provenance", "text", PROVENANCE_CHARS),
        *([Column("pdf", "bytea", pdf.bytes)] if pdf else []),
    ]


def healpix(ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the nested HEALPix pixels of order 29; -1 where there is no position."""
    good = np.isfinite(ra_deg) & np.isfinite(dec_deg) & (np.abs(dec_deg) <= 90)
    pixels = np.full(len(ra_deg), -1, np.int64)
    pixels[good] = lonlat_to_healpix(
        ra_deg[good] * u.deg, dec_deg[good] * u.deg, 2**HEALPIX_ORDER, order="nested"
    )
    return pixels


def _values(
    batch: pa.RecordBatch, part: CataloguePart, pdf: PdfSpec | None, provenance: str
) -> dict[str, Any]:
    for name in batch.schema.names:
        if batch.column(name).null_count:
            raise _damaged(part.path, f"column {name} holds nulls")
    values: dict[str, Any] = {
        name: batch.column(name).to_numpy(zero_copy_only=False) for name, (_, kind) in COLUMNS.items() if kind
    }
    values["healpix"] = healpix(values["ra"], values["dec"])
    values["sample"], values["provenance"] = part.sample, provenance
    if pdf:
        bins = batch.column("pdf").flatten().to_numpy(zero_copy_only=False)
        little = np.dtype(pdf.dtype).newbyteorder("<")
        values["pdf"] = np.ascontiguousarray(bins, dtype=little).reshape(-1, pdf.bins)
    return values


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError:
        raise StoreError(f"the prediction part {path} is missing", "run `skymill verify --repair`") from None
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, str(error)) from error


def _check(schema: pa.Schema, path: Path, pdf: PdfSpec | None) -> None:
    for name, (_, kind) in COLUMNS.items():
        if kind and (name not in schema.names or str(schema.field(name).type) != _arrow_name(kind)):
            found = str(schema.field(name).type) if name in schema.names else "none"
            raise _damaged(path, f"column {name}: expected {_arrow_name(kind)}, found {found}")
    if (found_pdf := _pdf_spec(schema, path)) != pdf:
        raise StoreError(
            f"{path}: expected the PDF of the catalogue version ({_say(pdf)}), found {_say(found_pdf)}",
            "all parts of a version come from one model: run infer again for this run",
        )


def _pdf_spec(schema: pa.Schema, path: Path) -> PdfSpec | None:
    if "pdf" not in schema.names:
        return None
    try:
        said = json.loads((schema.metadata or {})[b"skymill"])
        spec = PdfSpec(tuple(map(float, said["pdf_edges"])), str(said["pdf_dtype"]))
    except (KeyError, ValueError, TypeError) as error:
        raise _damaged(path, f"metadata of the PDF: {error!r}") from error
    kind = schema.field("pdf").type
    stored = (getattr(kind, "list_size", None), _arrow_name(spec.dtype))
    if spec.dtype not in ("float16", "float32") or stored != (
        spec.bins,
        str(getattr(kind, "value_type", "")),
    ):
        raise _damaged(path, f"the PDF is {kind}, and its metadata say {_say(spec)}")
    return spec


def _arrow_name(dtype: str) -> str:
    return {"float64": "double", "float32": "float", "float16": "halffloat"}.get(dtype, dtype)


def _say(pdf: PdfSpec | None) -> str:
    return f"{pdf.bins} bins of {pdf.dtype} from {pdf.edges[0]} to {pdf.edges[-1]}" if pdf else "no PDF"


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(f"the prediction part {path} is damaged: {what}", "run `skymill verify --repair`")
