"""Read Transact-SQL and say it in DuckDB's dialect: one SELECT, over the tables that exist."""

import re
from collections.abc import Collection

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

# SkyServer's functions and macros live in this schema, here as there.
FUNCTION_SCHEMA = "dbo"


class SqlRejectedError(ValueError):
    """The query cannot be answered; the message is what SkyServer's user would read."""


def translate(sql: str, tables: Collection[str], *, functions: Collection[str] = ()) -> str:
    """Translate one T-SQL query.

    Parameters
    ----------
    sql : str
        The query, as a client sent it.
    tables : collection of str
        Names of the tables and views that may be read, any case.
    functions : collection of str
        Names of functions of whole numbers whose answers become tables: ``f(0, 10)`` is read from ``f_0_10``.

    Returns
    -------
    str
        The query in DuckDB's dialect. Result columns are named as the query spells them, nameless ones
        ``Column1``, ``Column2``, … as .NET's data tables do.

    Raises
    ------
    SqlRejectedError
        If it is not exactly one readable SELECT, or names a table that does not exist.
    """
    tree = _parse(sql)
    _forbid_writes(tree)
    _name_calls(tree, functions)
    _resolve_tables(tree, (*tables, *_calls(tree, functions)))
    tree = tree.transform(_plain_differences)
    _name_columns(tree)
    return tree.sql(dialect="duckdb")


def _parse(sql: str) -> exp.Expression:
    try:
        statements = [tree for tree in sqlglot.parse(sql, read="tsql") if tree is not None]
    except SqlglotError as fault:
        raise SqlRejectedError(f"Incorrect syntax: {str(fault).splitlines()[0]}") from fault
    except RecursionError as fault:
        raise SqlRejectedError("The query is nested too deeply.") from fault
    if not statements:
        raise SqlRejectedError("The query is empty.")
    if len(statements) > 1:
        raise SqlRejectedError("Multiple SQL commands are not allowed.")
    tree = statements[0]
    if not isinstance(tree, exp.Query):
        raise SqlRejectedError("Only SELECT statements are allowed.")
    return tree


def _forbid_writes(tree: exp.Expression) -> None:
    if tree.find(exp.Into, exp.Insert, exp.Update, exp.Delete, exp.Create, exp.Drop, exp.Command, exp.Merge):
        raise SqlRejectedError("Only SELECT statements are allowed.")


def _name_calls(tree: exp.Expression, functions: Collection[str]) -> None:
    """Put the name of its answer in the place of each call of one of the functions."""
    spelt = {name.lower(): name for name in functions}
    for table in tree.find_all(exp.Table):
        call = table.this
        if not isinstance(call, exp.Anonymous) or call.name.lower() not in spelt:
            continue
        numbers = call.expressions
        if not all(isinstance(number, exp.Literal) and number.is_int for number in numbers):
            raise SqlRejectedError(f"expected whole numbers in {call.sql(dialect='tsql')}.")
        table.set("this", exp.to_identifier("_".join([spelt[call.name.lower()], *(n.name for n in numbers)])))


def _calls(tree: exp.Expression, functions: Collection[str]) -> list[str]:
    found = [table.name for table in tree.find_all(exp.Table)]
    return [name for name in found if re.sub(r"(_\d+)+$", "", name) in functions]


def _resolve_tables(tree: exp.Expression, tables: Collection[str]) -> None:
    """Drop database and owner (``BestDR17.dbo.SpecObj``), and refuse what does not exist."""
    known = {name.lower() for name in tables}
    known |= {cte.alias_or_name.lower() for cte in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        if isinstance(table.this, exp.Func):  # a table function, such as dbo.fGetNearbyObjEq
            table.set("db", exp.to_identifier(FUNCTION_SCHEMA))
            table.set("catalog", None)
            continue
        if table.name.lower() not in known:
            raise SqlRejectedError(f"Invalid object name '{table.sql(dialect='tsql')}'.")
        table.set("db", None)
        table.set("catalog", None)


def _plain_differences(node: exp.Expression) -> exp.Expression:
    """Bridge what differs in meaning and sqlglot leaves alone."""
    if isinstance(node, exp.Like):  # collations do not reach LIKE in DuckDB
        return exp.ILike(this=node.this, expression=node.expression)
    if isinstance(node, exp.Rand):
        return exp.Anonymous(this="random")
    if isinstance(node, exp.Cast) and node.to.this in exp.DataType.TEXT_TYPES:
        return exp.Cast(this=node.this, to=exp.DataType.build("text"))
    return node


def _name_columns(tree: exp.Expression) -> None:
    """Give each result column the name that SkyServer's answer would carry."""
    query = tree
    while isinstance(query, exp.SetOperation | exp.Subquery):
        query = query.this
    nameless = 0
    named = []
    for item in query.expressions:
        name = item.alias_or_name
        if not item.is_star and not isinstance(item, exp.Alias | exp.Column):
            nameless += 1
            name = f"Column{nameless}"
        named.append(item if item.is_star else exp.alias_(item.unalias(), name, quoted=True))
    query.set("expressions", named)
