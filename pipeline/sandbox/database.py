"""Hold a sky's tables in DuckDB and answer SkyServer's SQL over them."""

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.sandbox.tsql import SqlRejectedError, translate

_VIEWS = ("SpecObj", "PhotoObj", "PhotoPrimary", "Galaxy", "Star")
_BINDER_COLUMN = re.compile(r'column (?:named )?"([^"]+)"', re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """The rows of a query.

    Attributes
    ----------
    names : tuple of str
        Column names, as the query spells them.
    types : tuple of str
        DuckDB's type names.
    rows : list of tuple
        The values.
    capped : bool
        True if rows were cut off at the cap.
    """

    names: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    capped: bool


class SkyDatabase:
    """Answer queries over a sky's tables.

    Parameters
    ----------
    tables : mapping of str to pyarrow.Table
        ``SpecObjAll`` and ``PhotoObjAll``.
    row_cap : int
        Rows an answer may have.
    late : mapping of str to callable, optional
        Tables that take long to make: each is made when a query first names it.
    functions : mapping of str to callable, optional
        Functions of whole numbers that give tables, each made when a query first asks for it.
    """

    def __init__(
        self,
        tables: Mapping[str, pa.Table],
        row_cap: int,
        *,
        late: Mapping[str, Callable[[], pa.Table]] | None = None,
        functions: Mapping[str, Callable[..., pa.Table]] | None = None,
    ) -> None:
        self._row_cap = row_cap
        self._late = dict(late or {})
        self._functions = dict(functions or {})
        self._answered: set[str] = set()
        self._names = (*tables, *self._late, *_VIEWS)
        self._turn = threading.Lock()
        self._connection = duckdb.connect(":memory:")
        self._configure()
        for name, table in tables.items():
            self._take(name, table)
        self._connection.execute(resources.files(__package__).joinpath("skyserver.sql").read_text())
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")

    def _take(self, name: str, table: pa.Table) -> None:
        self._connection.register("arriving", table)
        self._connection.execute(f'CREATE TABLE "{name}" AS SELECT * FROM arriving')
        self._connection.unregister("arriving")

    def _configure(self) -> None:
        # SQL Server compares text without case and divides integers as integers; so must this.
        self._connection.execute("SET default_collation = 'NOCASE'")
        self._connection.execute("SET integer_division = true")
        self._connection.execute("SET threads = 2")
        self._connection.execute("SET memory_limit = '256MB'")

    def query(self, sql: str) -> Answer:
        """Answer one T-SQL query.

        Parameters
        ----------
        sql : str
            The query.

        Raises
        ------
        SqlRejectedError
            If it cannot be read, is not a SELECT, names what does not exist, or fails while it runs.
        """
        translated = translate(sql, self._names, functions=self._functions)
        with self._turn:
            self._call(translated)
            for name in [late for late in self._late if re.search(rf"\b{late}\b", translated, re.IGNORECASE)]:
                self._take(name, self._late[name]())
                del self._late[name]  # what could not be made is asked again
            try:
                cursor = self._connection.execute(translated)
                names = _distinct(column[0] for column in cursor.description)
                types = tuple(str(column[1]) for column in cursor.description)
                rows = cursor.fetchmany(self._row_cap)
                capped = len(rows) == self._row_cap and cursor.fetchone() is not None
            except duckdb.InterruptException as fault:
                raise SqlRejectedError("Your query exceeded the time limit.") from fault
            except duckdb.Error as fault:
                raise SqlRejectedError(_as_sql_server(fault)) from fault
        return Answer(names, types, rows, capped)

    def _call(self, translated: str) -> None:
        """Make the tables of the functions that a translated query asks for."""
        for name, function in self._functions.items():
            for answer in re.findall(rf"\b{name}_\d+(?:_\d+)*\b", translated):
                if answer not in self._answered:
                    self._take(answer, function(*map(int, answer.split("_")[1:])))
                    self._answered.add(answer)

    def interrupt(self) -> None:
        """End the query that is running now, if any."""
        self._connection.interrupt()


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    """Number repeated names as .NET's data tables do: ``ra``, ``ra1``, ``ra2``."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        repeats = seen.get(name.lower(), 0)
        seen[name.lower()] = repeats + 1
        result.append(f"{name}{repeats}" if repeats else name)
    return tuple(result)


def _as_sql_server(fault: duckdb.Error) -> str:
    text = str(fault).splitlines()[0]
    column = _BINDER_COLUMN.search(text)
    if (
        isinstance(fault, duckdb.BinderException)
        and column
        and re.search("not found|referenced that exists", text)
    ):
        return f"Invalid column name '{column.group(1)}'."
    return text
