"""A sample's SQL, read: what it selects, and the queries that count it and cut it into pieces.

The sample stays the user's: only its WHERE is narrowed and its projection replaced by a count. ``TOP n``
is read as a limit in the order of the key, because TOP without ORDER BY is not repeatable; it is never
sent to the server.
"""

from dataclasses import dataclass
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from schemas.config import RunFile
from schemas.errors import PlanError

DIALECT = "tsql"
POSITION = ("ra", "dec")
_PREDICATE_ROOM_CHARS = 120
_REFUSED = {
    "order": ("ORDER BY", "leave it out: rows always come in the order of the key"),
    "distinct": ("DISTINCT", "leave it out: duplicate keys are found and reported by themselves"),
    "group": ("GROUP BY", "select one row an object"),
    "having": ("HAVING", "select one row an object"),
    "with_": ("WITH", "write the sample as one SELECT"),
    "offset": ("OFFSET", "use `limit` in the sample's section"),
    "into": ("INTO", "leave it out"),
}


@dataclass(frozen=True)
class SampleSql:
    """A sample's SELECT: its text without TOP, its output columns, its key, and its limit (rows)."""

    text: str
    columns: tuple[str, ...]
    key: str
    limit: int | None = None

    @classmethod
    def of(cls, run: RunFile, sample: str) -> "SampleSql":
        """Read a sample of the run file; see `read_sample_sql`."""
        chosen = run.samples[sample]
        longest = run.source.max_query_chars
        return read_sample_sql(chosen.sql, key=chosen.key, where=chosen.where, max_query_chars=longest)

    def count_sql(self, partition_by: str) -> str:
        """Return the grouped count: one row a group, its value and ``n``."""
        group, name = self._column(partition_by), partition_by.rpartition(".")[2]
        named = group if group.name.lower() == name.lower() else exp.alias_(group, name)
        select = self._select().select(named, exp.alias_(exp.Count(this=exp.Star()), "n"), append=False)
        return _text(select.group_by(group.copy()))

    def range_sql(self, predicate: str = "") -> str:
        """Return the query for count, smallest and largest key; columns ``n``, ``low``, ``high``."""
        key = self._column(self.key)
        select = self._narrowed(predicate).select(
            exp.alias_(exp.Count(this=exp.Star()), "n"),
            exp.alias_(exp.Min(this=key), "low"),
            exp.alias_(exp.Max(this=key.copy()), "high"),
            append=False,
        )
        return _text(select)

    def partition_sql(self, predicate: str) -> str:
        """Return the sample's own SELECT, narrowed to `predicate`."""
        return _text(self._narrowed(predicate))

    def range_predicate(self, low: int, high: int) -> str:
        """Return the predicate for keys from `low` to `high`, both inclusive."""
        return f"{_text(self._column(self.key))} BETWEEN {low} AND {high}"

    def group_predicate(self, partition_by: str, low: int, high: int) -> str:
        """Return the predicate for groups from `low` to `high`, both inclusive."""
        return f"{_text(self._column(partition_by))} BETWEEN {low} AND {high}"

    def _select(self) -> Any:
        return sqlglot.parse_one(self.text, dialect=DIALECT)

    def _narrowed(self, predicate: str) -> Any:
        select = self._select()
        return (
            select.where(exp.paren(exp.condition(predicate, dialect=DIALECT)), copy=False)
            if predicate
            else select
        )

    def _column(self, name: str) -> Any:
        projections = {item.alias_or_name.lower(): item for item in self._select().expressions}
        if found := projections.get(name.lower()):
            return found.unalias().copy()
        key = projections[self.key.lower()].unalias()
        table = key.table if isinstance(key, exp.Column) and "." not in name else ""
        return exp.column(name, table=table) if table else exp.maybe_parse(name, dialect=DIALECT)


def read_sample_sql(sql: str, *, key: str, where: str = "", max_query_chars: int = 7_000) -> SampleSql:
    """Read a sample's SQL and refuse what could not give the same rows twice.

    Parameters
    ----------
    sql : str
        One T-SQL SELECT with one row an object.
    key : str
        Output column that names the object.
    where : str
        A further condition on the rows; empty: none.
    max_query_chars : int
        Longest query the server takes.

    Raises
    ------
    PlanError
        If it is not such a SELECT, or lacks the key or the position, or if `where` is no condition.

    Examples
    --------
    >>> read_sample_sql("SELECT id, ra, dec FROM Csst WHERE flags = 0", key="id", where="flux_r > 1 OR id = 7").text
    'SELECT id, ra, dec FROM Csst WHERE flags = 0 AND (flux_r > 1 OR id = 7)'
    >>> sample = read_sample_sql("SELECT TOP 5 specobjid, ra, dec FROM SpecObj", key="specobjid")
    >>> sample.limit, sample.count_sql("plate")
    (5, 'SELECT plate, COUNT(*) AS n FROM SpecObj GROUP BY plate')
    """
    select = _parse(sql)
    for part, (words, remedy) in _REFUSED.items():
        if select.args.get(part):
            raise PlanError(f"a sample's SQL must not have {words}", remedy)
    limit = _take_limit(select)
    columns = _columns(select)
    found = {column.lower() for column in columns}
    for needed in (key, *POSITION):
        if needed.lower() not in found:
            raise PlanError(
                f"the sample selects no column {needed!r}; it has {', '.join(columns)}",
                f"add {needed} to the SELECT (or name it with AS), or set the sample's `key`",
            )
    if where:
        select.where(exp.paren(_condition(where)), copy=False)
    sample = SampleSql(_text(select), columns, key, limit)
    length = len(sample.text) + _PREDICATE_ROOM_CHARS
    if length > max_query_chars:
        raise PlanError(
            f"the sample's query takes {length:,} characters with a partition's bounds, "
            f"the server takes {max_query_chars:,}",
            "shorten it: use BETWEEN in place of long IN lists, or split the sample in two",
        )
    return sample


def _parse(sql: str) -> Any:
    try:
        statements = sqlglot.parse(sql, dialect=DIALECT)
    except SqlglotError as error:
        raise PlanError(
            f"the sample's SQL cannot be read: {_plain(str(error))}", "mend the SQL; the dialect is T-SQL"
        ) from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Select):
        kind = " and ".join(type(statement).__name__.upper() for statement in statements)
        raise PlanError(
            f"expected one SELECT as a sample's SQL, found {kind}", "write it as one plain SELECT"
        )
    return statements[0]


def _condition(where: str) -> Any:
    try:
        return exp.condition(where, dialect=DIALECT)
    except SqlglotError as error:
        raise PlanError(
            f"a sample's `where` cannot be read: {_plain(str(error))}",
            'write one condition in T-SQL, as in where = "p.modelMag_r < 17"',
        ) from error


def _plain(message: str) -> str:
    return " ".join(message.replace("\x1b[4m", "").replace("\x1b[0m", "").split())


def _take_limit(select: Any) -> int | None:
    limit = select.args.get("limit")
    if limit is None:
        return None
    count = limit.args.get("expression")
    if limit.args.get("limit_options") or not isinstance(count, exp.Literal) or not count.is_int:
        raise PlanError(
            "expected TOP with a plain number of rows", "write TOP n, or use the sample's `limit`"
        )
    select.set("limit", None)
    return int(count.this)


def _columns(select: Any) -> tuple[str, ...]:
    names = []
    for item in select.expressions:
        if item.is_star:
            raise PlanError("a sample's SQL must name its columns, found *", "list the columns you need")
        if item.find(exp.AggFunc):
            raise PlanError(f"a sample has one row an object, found {_text(item)}", "leave aggregates out")
        if not item.alias_or_name:
            raise PlanError(f"the column {_text(item)} has no name", "give it one with AS")
        names.append(item.alias_or_name)
    lowered = [name.lower() for name in names]
    if twice := sorted({name for name in lowered if lowered.count(name) > 1}):
        raise PlanError(
            f"the sample selects {', '.join(twice)} twice", "give each column its own name with AS"
        )
    return tuple(names)


def _text(expression: Any) -> str:
    return str(expression.sql(dialect=DIALECT, comments=False))
