"""Pull: cut a sample into partitions of bounded size, and query each into one Parquet part."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from cluster.work import whoami
from pipeline.sources.sample_sql import POSITION, SampleSql
from pipeline.stores.rows import table_digest, write_part
from pipeline.stores.staging import Staging, seal
from schemas.config import Sample
from schemas.errors import PlanError, SourceError
from schemas.records import Receipt

NO_ROWS_REMEDY = "loosen the WHERE of the sample's SQL; `skymill sandbox` shows which tables its sky has"

PLATE_SHIFT = 50
"""Since DR8 the plate stands in the top 14 bits of specObjID, so the first plates hold the first keys."""


class Catalogue(Protocol):
    """What answers queries: a survey's server, or a table of one's own. Plain data that travels to the workers."""

    @property
    def row_cap(self) -> int:
        """Most rows of one answer."""

    def query(self, sql: str, columns: Sequence[str]) -> pa.Table:
        """Ask one query, and return its rows with the columns named as they are given here."""


@dataclass(frozen=True)
class Partition:
    """An immutable slice of a sample's pull.

    ``low`` and ``high`` bound the key (inclusive) where the slice is one of keys; else they are None.
    """

    sample: str
    index: int
    predicate: str
    rows: int
    low: int | None = None
    high: int | None = None

    @property
    def key(self) -> str:
        """Name of the partition as a unit of the ledger: ``spectro/00012``."""
        return f"{self.sample}/{self.index:05d}"


def row_limit(sample_sql: SampleSql, sample: Sample) -> int | None:
    """Return how many rows, in the order of the key, a sample may have: the smaller of TOP and ``limit``."""
    limits = [limit for limit in (sample_sql.limit, sample.limit) if limit is not None]
    return min(limits, default=None)


def plan_partitions(
    server: Catalogue, sample_sql: SampleSql, sample: Sample, *, name: str
) -> list[Partition]:
    """Cut a sample into slices of at most ``sample.rows_per_partition`` rows, by counts alone.

    With ``partition_by`` one grouped count is asked, and consecutive groups are packed; a single group may be
    larger. Without, ranges of the key are halved until they fit, and planning stops once the sample's limit
    is covered.

    Parameters
    ----------
    server : SkyServer
        Where to ask.
    sample_sql : SampleSql
        The sample's SQL, read.
    sample : Sample
        Its section of the run file.
    name : str
        Its name.

    Returns
    -------
    list of Partition
        In order, each with the rows the server counted.

    Raises
    ------
    PlanError
        If the sample has no rows, or a slice cannot be made small enough for the server.
    """
    if sample.partition_by:
        slices = _by_group(server, sample_sql, sample, sample.partition_by)
    else:
        slices = list(_by_key(server, sample_sql, sample))
    if not sum(rows for _, rows, _, _ in slices):
        raise PlanError(f"the sample {name} has no rows", NO_ROWS_REMEDY)
    return [Partition(name, index, *found) for index, found in enumerate(slices)]


_Slice = tuple[str, int, int | None, int | None]


def _by_group(server: Catalogue, sample_sql: SampleSql, sample: Sample, group: str) -> list[_Slice]:
    column = group.rpartition(".")[2]
    counts = server.query(sample_sql.count_sql(group), [column, "n"])
    if not counts.num_rows:
        return []
    if not pa.types.is_integer(counts[column].type) or not pa.types.is_integer(counts["n"].type):
        raise PlanError(
            f"expected partition_by = {group!r} to be a column of whole numbers, found {counts[column].type}",
            'choose another column, or write partition_by = "" to cut by ranges of the key',
        )
    groups = sorted(
        (int(value), int(n)) for value, n in zip(*_lists(counts, column), strict=True) if value is not None
    )
    slices = _pack(groups, sample.rows_per_partition)
    limit = row_limit(sample_sql, sample)
    by_layout = limit is not None and column.lower() == "plate" and sample_sql.key.lower() == "specobjid"
    if by_layout:
        slices = _first(slices, limit)
    for low, high, rows in slices:
        if rows >= server.row_cap:
            raise PlanError(
                f"{group} {low} to {high} has {rows:,} rows, the server returns fewer than {server.row_cap:,}",
                'set a finer partition_by, a smaller rows_per_partition, or partition_by = "" to cut by key',
            )
    found: list[_Slice] = []
    for low, high, rows in slices:
        keys = (low << PLATE_SHIFT, ((high + 1) << PLATE_SHIFT) - 1) if by_layout else (None, None)
        found.append((sample_sql.group_predicate(group, low, high), rows, *keys))
    if nulls := sum(int(n) for value, n in zip(*_lists(counts, column), strict=True) if value is None):
        found.append((f"{group} IS NULL", nulls, None, None))
    return found


def _lists(counts: pa.Table, column: str) -> tuple[list[int | None], list[int]]:
    return counts[column].to_pylist(), counts["n"].to_pylist()


def _pack(groups: list[tuple[int, int]], most: int) -> list[tuple[int, int, int]]:
    """Pack consecutive groups (value, rows) into slices (low, high, rows) of at most `most` rows."""
    slices: list[tuple[int, int, int]] = []
    for value, rows in groups:
        if slices and slices[-1][2] + rows <= most:
            low, _, before = slices[-1]
            slices[-1] = (low, value, before + rows)
        else:
            slices.append((value, value, rows))
    return slices


def _first(slices: list[tuple[int, int, int]], limit: int | None) -> list[tuple[int, int, int]]:
    """Keep the first slices that hold `limit` rows; the order of plates is that of specobjid."""
    kept, rows = [], 0
    for found in slices:
        if limit is None or rows < limit:
            kept.append(found)
        rows += found[2]
    return kept


def _by_key(server: Catalogue, sample_sql: SampleSql, sample: Sample) -> Iterator[_Slice]:
    limit, planned = row_limit(sample_sql, sample), 0
    stack = [_measure(server, sample_sql, "")]
    while stack:
        rows, low, high = stack.pop()
        if not rows:
            continue
        if rows <= sample.rows_per_partition or low == high:
            if rows >= server.row_cap:
                raise PlanError(
                    f"{rows:,} rows share the key {low}, the server returns fewer than {server.row_cap:,}",
                    "choose a key that tells the rows apart",
                )
            yield sample_sql.range_predicate(low, high), rows, low, high
            planned += rows
            if limit is not None and planned >= limit:
                return
            continue
        middle = low + (high - low) // 2
        lower = _measure(server, sample_sql, sample_sql.range_predicate(low, middle))
        upper = _measure(server, sample_sql, sample_sql.range_predicate(middle + 1, high))
        stack += [upper, lower]


def _measure(server: Catalogue, sample_sql: SampleSql, predicate: str) -> tuple[int, int, int]:
    row = server.query(sample_sql.range_sql(predicate), ["n", "low", "high"]).to_pylist()[0]
    if not row["n"]:
        return 0, 0, 0
    if not all(isinstance(row[name], int) for name in ("low", "high")):
        raise PlanError(
            f"expected the key {sample_sql.key} to be a whole number, found {row['low']!r}",
            "choose another `key` for the sample",
        )
    return int(row["n"]), row["low"], row["high"]


def pull_partition(
    *,
    partition: Partition,
    sample_sql: SampleSql,
    server: Catalogue,
    final: str,
    staging: Staging,
    label: str,
) -> Receipt:
    """Query one partition and stage it as one Parquet part, sorted by key.

    Parameters
    ----------
    partition : Partition
        The slice.
    sample_sql : SampleSql
        The sample's SQL.
    server : SkyServer
        Where to ask.
    final : str
        Where the part belongs.
    staging : Staging
        Where to put it.
    label : str
        The column to learn: if the sample has it, it must hold numbers, as ``ra`` and ``dec`` must.

    Returns
    -------
    Receipt
        ``facts`` has rows and the smallest and largest key.

    Raises
    ------
    SourceError
        If columns, row count or keys are not those of the plan.
    PlanError
        If position or label hold text.
    """
    begun = time.monotonic()
    table = server.query(sample_sql.partition_sql(partition.predicate), sample_sql.columns)
    table = _checked(table, partition, sample_sql, label)
    with staging.opened() as folder:
        staged = folder / Path(final).name
        write_part(table, staged)
        product = seal(staged, Path(final))
    key = _key_column(sample_sql)
    bounds = pc.min_max(table[key]).as_py()
    return Receipt(
        rows=table.num_rows,
        bytes=product.bytes,
        seconds=time.monotonic() - begun,
        digest=table_digest(table),
        products=(product,),
        facts={
            "min_id": bounds["min"],
            "max_id": bounds["max"],
            "rows": table.num_rows,
            "staging": str(folder),
        },
        worker=whoami(),
    )


def _key_column(sample_sql: SampleSql) -> str:
    return next(name for name in sample_sql.columns if name.lower() == sample_sql.key.lower())


def _checked(table: pa.Table, partition: Partition, sample_sql: SampleSql, label: str) -> pa.Table:
    """Hold an answer against its plan; return it with exact keys, in an order that is the same every time."""
    if table.num_rows != partition.rows:
        raise SourceError(
            f"partition {partition.key}: the plan counted {partition.rows:,} rows, the answer has {table.num_rows:,}",
            "the table changes under us or the answer was cut off: run the same command again, or plan anew",
        )
    _check_numbers(table, partition, (*POSITION, label))
    name = _key_column(sample_sql)
    table = table.set_column(
        table.schema.get_field_index(name),
        name,
        _exact(table[name], f"partition {partition.key}: key {name}"),
    )
    # By all columns: rows of one key must not stand in the order the server happened to send.
    others = [column for column in table.column_names if column != name]
    table = table.take(pc.sort_indices(table, [(column, "ascending") for column in [name, *others]]))
    _check_range(table[name][0].as_py(), table[name][-1].as_py(), partition)
    return table


def _check_numbers(table: pa.Table, partition: Partition, wanted: tuple[str, ...]) -> None:
    """Refuse text where numbers must be; a column without any value may have any type."""
    for name in table.column_names:
        column = table[name]
        is_number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        if name.lower() in map(str.lower, wanted) and not is_number and column.null_count < len(column):
            example = column.drop_null()[0].as_py()
            raise PlanError(
                f"partition {partition.key}: expected numbers in the column {name}, found {column.type}, "
                f"as {example!r}",
                "name columns of numbers as ra, dec and `target.column` in the sample's SQL",
            )


def _exact(keys: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    if not pa.types.is_integer(keys.type) or keys.null_count:
        raise SourceError(
            f"{where}: expected whole numbers without NULL, found {keys.type} with {keys.null_count} NULL",
            "choose another `key`; a key must never pass through a float",
        )
    if pc.min(keys).as_py() < 0:
        raise SourceError(
            f"{where}: expected no negative number, found {pc.min(keys).as_py()}",
            "the server casts its ids to int64: choose another `key`",
        )
    return keys.cast(pa.uint64())


def _check_range(low: int, high: int, partition: Partition) -> None:
    if (
        partition.low is not None
        and partition.high is not None
        and not partition.low <= low <= high <= partition.high
    ):
        raise SourceError(
            f"partition {partition.key}: expected keys in {partition.low} to {partition.high}, found {low} to {high}",
            'the server does not apply the WHERE of the query, or its ids do not hold the plate: partition_by = ""',
        )
