r"""Publish speed: parts with a 180-bin PDF through `load_part`, against `psql \copy` of a prepared file.

Both write the same bytes into tables made by the same statements, in turns; `load_part` reads Parquet,
computes HEALPix and encodes within its time, and keeps its ledger row. psql only streams a file.

    python -m benchmarks.publish [--rows 120000] [--repeat 5]
"""

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from pipeline.ledger import Ledger
from pipeline.stores import catalogue, launcher
from pipeline.stores.binaries import find_binaries
from pipeline.stores.catalogue_rows import CataloguePart, PdfSpec, blocks, columns_of
from pipeline.stores.copy_binary import CopyStream
from pipeline.stores.postgres import connect
from schemas.statements import statement

PDF = PdfSpec(tuple(np.linspace(0, 0.4, 181).tolist()), "float32")
PARTS = 4
STAMP = "0123456789abcdef"


def main() -> None:
    parser = argparse.ArgumentParser(description="Publish speed against `psql \\copy`.")
    parser.add_argument("--rows", type=int, default=120_000)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    rows, repeats = args.rows, args.repeat
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dsn = launcher.start(folder / "db")
        try:
            Ledger.open(dsn).close()
            parts = [write_part(folder, i, rows // PARTS) for i in range(PARTS)]
            prepared = prepare(folder / "prepared.bin", parts)
            ours, theirs = [], []
            with closing(connect(dsn)) as connection:
                for turn in range(repeats):
                    theirs.append(rows / time_psql(connection, dsn, prepared))
                    ours.append(rows / time_ours(connection, parts, turn))
            size = prepared.stat().st_size / 2**20
        finally:
            launcher.stop(folder / "db")
    report(rows, repeats, size, ours, theirs)


def report(rows: int, repeats: int, size_mib: float, ours: list[float], theirs: list[float]) -> None:
    a, b = statistics.median(ours), statistics.median(theirs)
    print(
        f"| publish {rows:,} rows, 180-bin PDF ({size_mib:.0f} MiB; median of {repeats}; "
        f"spread {min(ours):,.0f} to {max(ours):,.0f} and {min(theirs):,.0f} to {max(theirs):,.0f}) "
        f"| {a:,.0f} rows/s | `psql \\copy` {b:,.0f} rows/s | {a / b:.2f} | ≥ 0.8 |"
    )


def write_part(folder: Path, index: int, rows: int) -> CataloguePart:
    rng = np.random.default_rng(index)
    arrays = {
        "row": pa.array(np.arange(rows) + index * rows),
        "id": pa.array(np.arange(rows, dtype="u8") * 1024 + np.uint64(2**63 + index * 2**40)),
        "ra": pa.array(rng.uniform(0, 360, rows)),
        "dec": pa.array(rng.uniform(-10, 70, rows)),
        "z_spec": pa.array(rng.gamma(2, 0.1, rows).astype("f4")),
        "z_phot": pa.array(rng.gamma(2, 0.1, rows).astype("f4")),
        "z_phot_err": pa.array(rng.gamma(2, 0.01, rows).astype("f4")),
        "flags": pa.array(np.zeros(rows, "i4")),
        "split": pa.array(np.zeros(rows, "u1")),
        "pdf": pa.FixedSizeListArray.from_arrays(pa.array(rng.random(rows * PDF.bins, dtype="f4")), PDF.bins),
    }
    metadata = {b"skymill": json.dumps({"pdf_edges": PDF.edges, "pdf_dtype": PDF.dtype}).encode()}
    path = folder / f"part-{index:05d}.parquet"
    pq.write_table(pa.table(arrays).replace_schema_metadata(metadata), path)
    return CataloguePart(f"spectro/{index:05d}", path, "spectro", f"d{index}")


def prepare(path: Path, parts: list[CataloguePart]) -> Path:
    stream = CopyStream(block for part in parts for block in blocks(part, PDF, provenance=STAMP))
    with path.open("wb") as file:
        while taken := stream.read(2**20):
            file.write(taken)
    return path


def time_ours(connection: Connection, parts: list[CataloguePart], turn: int) -> float:
    version = catalogue.begin_version(
        connection, "bench", digest=f"turn {turn}", run="bench", provenance={}, pdf=PDF
    )
    checkpoint(connection)
    started = time.perf_counter()
    for part in parts:
        with connection, connection.cursor() as cursor:
            catalogue.load_part(cursor, version, part, provenance=STAMP)
    elapsed = time.perf_counter() - started
    catalogue.drop(connection, "bench", version.version)
    return elapsed


def time_psql(connection: Connection, dsn: str, prepared: Path) -> float:
    table = sql.Identifier("public", "reference")
    with connection, connection.cursor() as cursor:
        for name in ("catalogue/drop_table", "catalogue/create_table", "catalogue/add_pdf"):
            cursor.execute(sql.SQL(statement(name)).format(table=table))
    checkpoint(connection)
    columns = ", ".join(column.name for column in columns_of("spectro", PDF))
    psql = shutil.which("psql", path=str(find_binaries().folder)) or shutil.which("psql") or "psql"
    command = f"\\copy public.reference ({columns}) from '{prepared}' (format binary)"
    started = time.perf_counter()
    subprocess.run([psql, "-Xq", "-v", "ON_ERROR_STOP=1", dsn, "-c", command], check=True)
    return time.perf_counter() - started


def checkpoint(connection: Connection) -> None:
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("checkpoint")
    connection.autocommit = False


if __name__ == "__main__":
    main()
