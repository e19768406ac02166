"""Catalogues of sources in fields: their table, their view, and their parts as blocks of binary COPY.

A version is such a catalogue if its provenance names ``classes``: a column for the share of each but the background
follows, so that the classes are those of the network.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from pipeline.stores.catalogue_rows import BLOCK_BYTES, PROVENANCE_CHARS, CataloguePart, healpix
from pipeline.stores.copy_binary import Column, block_dtype, encode
from schemas.errors import StoreError
from schemas.statements import statement

FIRST = {
    "id": ("numeric20", "uint64"),
    "ra": ("float8", "float64"),
    "dec": ("float8", "float64"),
    "healpix": ("int8", ""),
    "y_pixel": ("float8", "float64"),
    "x_pixel": ("float8", "float64"),
    "flux": ("float8", "float64"),
    "area_pixels": ("int4", "int32"),
    "radius_arcsec": ("float4", "float32"),
}
LAST = {"class_number": ("int2", "int16"), "confidence": ("float4", "float32"), "flags": ("int4", "int32")}
"""Columns before and after the shares: kind on the wire, type in the part (none: made here)."""


def source_columns(classes: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the columns that are numbers, by name: kind on the wire, and type in the part."""
    return {**FIRST, **dict.fromkeys(classes, ("float4", "float32")), **LAST}


def write_sources(
    catalogue: pa.Table, path: Path, *, classes: Sequence[str], arcsec_per_pixel: float
) -> None:
    """Write the part of a field: what is published of `pipeline.fields.sources.measure_sources`.

    Parameters
    ----------
    catalogue : pyarrow.Table
        The sources, with ``ra`` and ``dec``.
    path : Path
        The Parquet file.
    classes : sequence of str
        The classes that are sources.
    arcsec_per_pixel : float
        The pixel scale.
    """
    area = catalogue["area_pixels"].to_numpy()
    numbers = {name: number for number, name in enumerate(classes)}
    named = {"id": "source_id", "y_pixel": "y_centroid", "x_pixel": "x_centroid"}
    made: dict[str, Any] = {
        "radius_arcsec": np.sqrt(area / np.pi) * arcsec_per_pixel,
        "class_number": [numbers.get(name, -1) for name in catalogue["class"].to_pylist()],
    }
    columns = {}
    for name, (_, kind) in source_columns(classes).items():
        if kind:
            values = made.get(name, catalogue[named.get(name, name)] if name not in made else None)
            columns[name] = pa.array(np.asarray(values, kind))
    pq.write_table(pa.table(columns), path, compression="zstd")


def columns_of_sources(sample: str, classes: Sequence[str]) -> list[Column]:
    """Return the columns of the COPY, in its order."""
    numbers = [Column(name, kind) for name, (kind, _) in source_columns(classes).items()]
    return [
        Column("sample", "text", len(sample.encode())),
        *numbers,
        Column("provenance", "text", PROVENANCE_CHARS),
    ]


def source_blocks(
    part: CataloguePart, classes: Sequence[str], *, provenance: str
) -> Iterator[NDArray[np.void]]:
    """Draw the rows of a part as blocks of at most 8 MiB.

    Raises
    ------
    StoreError
        If the file is missing or damaged, or its columns are not those of the catalogue.
    """
    columns = columns_of_sources(part.sample, classes)
    kinds = {name: kind for name, (_, kind) in source_columns(classes).items() if kind}
    size = max(1, BLOCK_BYTES // block_dtype(columns).itemsize)
    try:
        with pq.ParquetFile(part.path) as file:
            for batch in file.iter_batches(batch_size=size, columns=list(kinds)):
                values: dict[str, Any] = {
                    name: np.asarray(batch.column(name).to_numpy(zero_copy_only=False), kind)
                    for name, kind in kinds.items()
                }
                values["healpix"] = healpix(values["ra"], values["dec"])
                values |= {"sample": part.sample, "provenance": provenance}
                yield encode(columns, values, batch.num_rows)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise StoreError(
            f"the part {part.path} cannot be read: {error}", "run `skymill verify --repair`"
        ) from error


def create_source_table(cursor: Cursor, table: sql.Identifier, classes: Sequence[str]) -> None:
    """Create the empty table of a version."""
    names = sql.SQL("array[{}]").format(sql.SQL(", ").join(map(sql.Literal, classes)))
    run_statement(
        cursor,
        "catalogue/create_sources",
        table=table,
        shares=_shares("catalogue/share_of_table", classes),
        names=names,
    )


def create_source_view(
    cursor: Cursor, view: sql.Identifier, table: sql.Identifier, classes: Sequence[str]
) -> None:
    """Show a version under the catalogue's name."""
    run_statement(
        cursor,
        "catalogue/create_sources_view",
        view=view,
        table=table,
        shares=_shares("catalogue/share_of_view", classes),
    )


def comment_sources(cursor: Cursor, relation: sql.Identifier, classes: Sequence[str]) -> None:
    """Say what every column of a table or view means."""
    run_statement(cursor, "catalogue/comment_sources", relation=relation)
    for name in classes:
        meaning = f"share of {name} in the source's light, all but the background together 1 (ucd: stat.probability)"
        run_statement(
            cursor,
            "catalogue/comment_share",
            relation=relation,
            share=sql.Identifier(name),
            meaning=sql.Literal(meaning),
        )


def source_arrays(columns: Mapping[str, Sequence[Any]], classes: Sequence[str]) -> dict[str, Any]:
    """Return the columns of a version's table as Arrow arrays, but for the ids; what is not known is NaN."""
    kinds = {name: kind or "int64" for name, (_, kind) in source_columns(classes).items() if name != "id"}
    found = {name: pa.array(np.array(columns[name], kind)) for name, kind in kinds.items()}
    return found | {"class": pa.array(columns["class"], pa.string())}


def _shares(name: str, classes: Sequence[str]) -> sql.Composable:
    text = sql.SQL(statement(name))
    return sql.SQL(", ").join(text.format(share=sql.Identifier(one)) for one in classes)


def run_statement(cursor: Cursor, name: str, **parts: sql.Composable) -> None:
    """Run a statement of `schemas/sql`, with its parts put in."""
    cursor.execute(sql.SQL(statement(name)).format(**parts))
