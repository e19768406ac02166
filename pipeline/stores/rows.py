"""Rows: a sample's parts put in order, once and for all.

Sorted by key, one row a key, with the split of the labelled rows. Done by DuckDB out of core, so the
driver's memory does not grow with the sample. The same parts, seed and label give the same file, byte for byte.
"""

import hashlib
import math
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.stores.staging import clean, disk_errors
from schemas.arrays import FEATURE_PREFIX
from schemas.config import RunFile
from schemas.digests import file_sha256
from schemas.disk import sync
from schemas.errors import PlanError, StoreError
from schemas.flags import Part
from schemas.statements import statement

EXACT_IN_FLOAT = 2**53
"""Whole numbers beyond this lose digits as float64: such a column holds ids, and is no feature."""
ROWS_A_STRATUM = 20
"""With fewer labelled rows a stratum, strata are merged: shares of a handful of rows mean nothing."""
LISTED = 1000
REPEAT_ARCSEC = 1.0
"""Spectra closer than this are of one target and have one picture: repeats of SDSS lie within 0.5 arcsec."""
CELL_ARCSEC = 60.0
"""Side of the cells in which repeats are looked for; a few of a survey's targets share one."""
_NO_LIMIT = 2**62


@dataclass(frozen=True)
class RowsSpec:
    """How a sample's rows are put in order and split."""

    key: str
    label: str
    seed: int
    train: float
    validation: float
    strata: int
    rows_per_block: int
    limit: int | None = None
    memory_gib: float = 1.0
    calibration: float = 0.0

    @classmethod
    def of(cls, run: RunFile, sample: str, *, limit: int | None) -> "RowsSpec":
        """Take them from the run file; `limit` is that of `stages.pull.row_limit`."""
        split, chosen = run.split, run.samples[sample]
        train, validation = (0.0, 0.0) if chosen.holdout else (split.train, split.validation)
        return cls(
            chosen.key,
            run.target.column,
            run.seed,
            train,
            validation,
            split.strata,
            run.cube.rows_per_block,
            limit,
            calibration=0.0 if chosen.holdout else split.calibration,
        )


@dataclass(frozen=True)
class RowsReport:
    """What was found while the rows were put in order.

    ``duplicates`` maps keys to how often they came; it holds the first 1,000, the count says how many there are.
    ``splits`` counts rows by the name of their part, of which there may be no ``calibration``.
    """

    rows: int
    labelled: int
    duplicate_count: int
    duplicates: dict[int, int]
    bad_position_count: int
    splits: dict[str, int]
    features: tuple[str, ...]
    bytes: int
    sha256: str


def write_part(table: pa.Table, path: Path) -> None:
    """Write a Parquet file whose bytes depend on the table alone.

    Raises
    ------
    StoreError
        If the disk refuses.
    """
    with disk_errors(path, table.nbytes):
        pq.write_table(table.combine_chunks(), path, compression="zstd", row_group_size=1 << 17)


def table_digest(table: pa.Table) -> str:
    """Return the SHA-256 of a table's names, types and values."""
    digest = hashlib.sha256(str(table.schema).encode())
    for batch in table.combine_chunks().to_batches():
        digest.update(batch.serialize())
    return digest.hexdigest()


def order_rows(parts: Sequence[Path], out: Path, spec: RowsSpec) -> RowsReport:
    """Merge a sample's parts into one ordered Parquet file, written atomically.

    Columns: ``row``, ``id`` (uint64), ``ra``, ``dec`` [deg], ``label`` (float32, NaN where unknown), ``split``,
    and ``feature_<column>`` (float64) for every other numeric column. A column of whole numbers of which one is
    beyond 2**53, as ``bestObjID``, holds ids that a float would spoil: it is left out. Row groups have
    ``rows_per_block`` rows.

    Parameters
    ----------
    parts : sequence of Path
        Parquet parts, as `stages.pull.pull_partition` wrote them.
    out : Path
        The file to write.
    spec : RowsSpec
        How.

    Raises
    ------
    PlanError
        If the label is no number.
    StoreError
        If a part cannot be read, or the disk refuses.
    """
    scratch = out.parent / f".{out.name}-{secrets.token_hex(4)}"
    try:
        with disk_errors(out), _database(scratch, spec) as database:
            features = _collect(database, parts, spec)
            twice = database.execute(statement("rows/duplicates")).fetchall()
            database.execute(statement("rows/order"), [spec.limit or _NO_LIMIT])
            rows, labelled, bad = map(int, database.execute(statement("rows/count")).fetchall()[0])
            _split(database, spec, labelled)
            splits, sha256 = _write(database, scratch / "rows.parquet", spec)
            size = (scratch / "rows.parquet").stat().st_size
            (scratch / "rows.parquet").replace(out)
            sync(out.parent)
    except duckdb.Error as error:
        raise StoreError(
            f"the parts of {out.stem} cannot be put in order: {error}",
            "free some disk space beside the output; if a part is damaged, `skymill verify --repair`",
        ) from error
    finally:
        clean(scratch)
    return RowsReport(
        rows=rows,
        labelled=labelled,
        duplicate_count=len(twice),
        duplicates={int(key): int(copies) for key, copies in twice[:LISTED]},
        bad_position_count=bad,
        splits=splits,
        features=tuple(features),
        bytes=size,
        sha256=sha256,
    )


@contextmanager
def _database(scratch: Path, spec: RowsSpec) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database that spills beside the output; one thread, so that every run does the same."""
    scratch.mkdir(parents=True)
    settings = {
        "memory_limit": f"{int(spec.memory_gib * 1024)}MiB",
        "temp_directory": str(scratch / "spill"),
        "threads": 1,
    }
    database = duckdb.connect(str(scratch / "rows.duckdb"), config=settings)
    try:
        yield database
    finally:
        database.close()


def _collect(database: duckdb.DuckDBPyConnection, parts: Sequence[Path], spec: RowsSpec) -> list[str]:
    """Load the parts, and return the names of the feature columns."""
    kinds = _kinds(parts)
    found = {name.lower(): name for name in kinds}
    label = found.get(spec.label.lower())
    for name in filter(None, (found["ra"], found["dec"], label)):
        _check_numbers(kinds[name], f"{'label ' if name == label else ''}column {name!r}")
    fixed = {spec.key.lower(), "ra", "dec", spec.label.lower(), *_id_columns(parts)}
    plain = {
        name: FEATURE_PREFIX + name
        for name, seen in kinds.items()
        if name.lower() not in fixed and seen and all(map(_is_number, seen))
    }
    features = "".join(f", CAST({_quoted(name)} AS DOUBLE) AS {_quoted(new)}" for name, new in plain.items())
    query = statement("rows/collect").format(
        key=_quoted(found[spec.key.lower()]),
        ra=_quoted(found["ra"]),
        dec=_quoted(found["dec"]),
        label=_quoted(label) if label else "NULL",
        features=features,
        all=", ".join(_quoted(name) for name in kinds),
    )
    database.execute(query, [[str(part) for part in parts]])
    return list(plain.values())


def _kinds(parts: Sequence[Path]) -> dict[str, dict[pa.DataType, Path]]:
    """Return the types of each column, each with the first part that has it.

    A column without a value in a part has no type there. One that is numbers here and text there, as SDSS's
    ``run2d`` (26, v5_13_0), is text.
    """
    kinds: dict[str, dict[pa.DataType, Path]] = {}
    for part in parts:
        with _readable(part):
            schema = pq.read_schema(part)
        for field in schema:
            seen = kinds.setdefault(field.name, {})
            if not pa.types.is_null(field.type):
                seen.setdefault(field.type, part)
    return kinds


def _check_numbers(seen: Mapping[pa.DataType, Path], column: str) -> None:
    for kind, part in seen.items():
        if not _is_number(kind):
            raise PlanError(
                f"expected numbers in the {column}, found {kind} in {part.parent.name}/{part.name}",
                "name columns of numbers as ra, dec and target.column",
            )


def _id_columns(parts: Sequence[Path]) -> set[str]:
    """Return the columns, in lower case, that hold whole numbers too large for a float."""
    found = set()
    for part in parts:
        with _readable(part):
            names = [field.name for field in pq.read_schema(part) if pa.types.is_integer(field.type)]
            table = pq.read_table(part, columns=names)
        for name in names:
            bounds = pc.min_max(table[name]).as_py()
            if max(abs(bounds["min"] or 0), abs(bounds["max"] or 0)) > EXACT_IN_FLOAT:
                found.add(name.lower())
    return found


@contextmanager
def _readable(part: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"the part {part} cannot be read: {error}", "run `skymill verify --repair`"
        ) from error


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _split(database: duckdb.DuckDBPyConnection, spec: RowsSpec, labelled: int) -> None:
    reach = {"reach": _chord(REPEAT_ARCSEC), "cell": _chord(CELL_ARCSEC)}
    database.execute(statement("rows/repeats"), reach)
    parameters = {
        "strata": max(1, min(spec.strata, labelled // ROWS_A_STRATUM)),
        "seed": str(spec.seed),
        "train": spec.train,
        "known": spec.train + spec.validation,
        "kept": spec.train + spec.validation + spec.calibration,
    }
    database.execute(statement("rows/split"), parameters)


def _chord(arcsec: float) -> float:
    """Return the distance of two unit vectors that are `arcsec` apart."""
    return 2 * math.sin(math.radians(arcsec / 3600) / 2)


def _write(database: duckdb.DuckDBPyConnection, path: Path, spec: RowsSpec) -> tuple[dict[str, int], str]:
    counts = dict.fromkeys(Part, 0)
    reader = database.sql(statement("rows/select")).to_arrow_reader(spec.rows_per_block)
    with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
        for table in _in_blocks(reader, spec.rows_per_block):
            writer.write_table(table, row_group_size=spec.rows_per_block)
            for part in Part:
                counts[part] += pc.sum(pc.equal(table["split"], int(part))).as_py()
    sync(path)
    shown = {part: count for part, count in counts.items() if count or part is not Part.CALIBRATION}
    return {part.name.lower(): count for part, count in shown.items()}, file_sha256(path)


def _in_blocks(reader: pa.RecordBatchReader, rows: int) -> Iterator[pa.Table]:
    """Cut a stream of batches of any size into tables of `rows` rows."""
    waiting = reader.schema.empty_table()
    for batch in reader:
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch])])
        while waiting.num_rows >= rows:
            yield waiting.slice(0, rows).combine_chunks()
            waiting = waiting.slice(rows)
    if waiting.num_rows:
        yield waiting.combine_chunks()
