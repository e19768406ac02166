"""Write the rows of a published version as Parquet files."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from pipeline.stores.catalogue_rows import COLUMNS
from pipeline.stores.catalogue_sources import source_arrays
from pipeline.stores.catalogue_versions import SCHEMA, Version
from pipeline.stores.postgres import translate
from schemas.statements import statement

FILE_ROWS = 50_000
"""Rows of one file, and the most that are held in memory."""
_TYPES = {name: kind for name, (_, kind) in COLUMNS.items() if kind} | {"healpix": "int64"}


def export_version(connection: Connection, version: Version, folder: Path) -> list[Path]:
    """Write a version as Parquet files of the columns of its table, and return their paths.

    The rows are read through a cursor of the server, so memory is bounded; a version can not be dropped
    meanwhile. A PDF is a list of fixed size; what is not known is NaN.

    Parameters
    ----------
    connection : connection
        Of the driver.
    version : Version
        A complete one.
    folder : Path
        Where to write; it must exist.

    Raises
    ------
    DatabaseError
        If Postgres refuses.
    """
    table = sql.Identifier(SCHEMA, f"{version.catalogue}_v{version.version}")
    paths: list[Path] = []
    with translate(), connection, connection.cursor("export") as cursor:
        cursor.execute(sql.SQL(statement("catalogue/export")).format(table=table))
        while rows := cursor.fetchmany(FILE_ROWS):
            names = [column.name for column in cursor.description or ()]
            columns = dict(zip(names, zip(*rows, strict=True), strict=True))
            paths.append(folder / f"{len(paths):05d}.parquet")
            pq.write_table(_table(columns, version), paths[-1])
    return paths


def _table(columns: dict[str, tuple[Any, ...]], version: Version) -> pa.Table:
    pdf, types = version.pdf, {version.names.of(name): kind for name, kind in _TYPES.items()}
    arrays = {name: pa.array(columns[name]) for name in ("sample", "provenance")}
    arrays["id"] = pa.array(np.array([int(key) for key in columns["id"]], np.uint64))
    if version.classes:
        arrays |= source_arrays(columns, version.classes)
        return pa.table({name: arrays[name] for name in columns})
    for name in types.keys() - arrays.keys():
        arrays[name] = pa.array(np.array(columns[name], types[name]))
    if pdf:
        bins = np.frombuffer(b"".join(columns["pdf"]), np.dtype(pdf.dtype).newbyteorder("<"))
        arrays["pdf"] = pa.FixedSizeListArray.from_arrays(pa.array(bins.astype(pdf.dtype)), pdf.bins)
    return pa.table({name: arrays[name] for name in columns})
