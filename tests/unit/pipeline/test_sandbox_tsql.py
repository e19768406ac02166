import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sandbox.tsql import SqlRejectedError, translate

TABLES = ("SpecObj", "PhotoObj")


def run(sql: str) -> "duckdb.DuckDBPyConnection":
    connection = duckdb.connect()
    connection.execute("SET integer_division = true")
    connection.execute("SET default_collation = 'NOCASE'")
    connection.execute("CREATE TABLE SpecObj (specObjID UBIGINT, class VARCHAR, z REAL, plate SMALLINT)")
    connection.execute(
        "INSERT INTO SpecObj VALUES (14127152226082258944, 'GALAXY', 0.1, 8303), (5, 'STAR', 0, 301)"
    )
    return connection.execute(translate(sql, TABLES))


def names(sql: str) -> list[str]:
    return [column[0] for column in run(sql).description]


def test_top_becomes_a_limit() -> None:
    assert run("SELECT TOP 1 plate FROM SpecObj ORDER BY plate").fetchall() == [(301,)]


def test_columns_keep_the_spelling_of_the_query() -> None:
    assert names("SELECT SPECOBJID, Class, s.Z FROM SpecObj s") == ["SPECOBJID", "Class", "Z"]


def test_nameless_columns_are_numbered_as_dotnet_numbers_them() -> None:
    assert names("SELECT COUNT(*), MAX(z), MIN(z) AS low FROM SpecObj") == ["Column1", "Column2", "low"]


def test_text_is_compared_without_case_in_equality_and_like() -> None:
    assert run("SELECT class FROM SpecObj WHERE class = 'Galaxy'").fetchall() == [("GALAXY",)]
    assert run("SELECT class FROM SpecObj WHERE class LIKE 'gal%'").fetchall() == [("GALAXY",)]


def test_integers_divide_as_integers_and_reals_as_reals() -> None:
    assert run("SELECT 7/2, 7/2.0, plate/1000 FROM SpecObj WHERE plate = 8303").fetchall() == [(3, 3.5, 8)]


def test_ids_past_two_to_the_63_compare_exactly() -> None:
    assert run("SELECT specObjID FROM SpecObj WHERE specobjid < 9223372036854775807").fetchall() == [(5,)]
    assert run("SELECT specObjID FROM SpecObj WHERE specobjid = 14127152226082258944").fetchall() == [
        (14127152226082258944,)
    ]


def test_database_and_owner_are_dropped() -> None:
    assert run("SELECT COUNT(*) FROM BestDR17.dbo.SpecObj WITH (NOLOCK)").fetchall() == [(2,)]


def test_common_table_expressions_are_tables() -> None:
    assert run(
        "WITH a AS (SELECT TOP 1 z FROM SpecObj ORDER BY z DESC) SELECT COUNT(*) FROM a"
    ).fetchall() == [(1,)]


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE SpecObj",
        "DELETE FROM SpecObj",
        "UPDATE SpecObj SET z = 1",
        "SELECT * INTO copy FROM SpecObj",
        "INSERT INTO SpecObj SELECT * FROM SpecObj",
        "CREATE TABLE t (x int)",
        "EXEC sp_who",
        "SELECT 1; DROP TABLE SpecObj",
        "SELECT 1; SELECT 2",
        "",
        "-- only a comment",
        "SELEC z FROM SpecObj",
        "SELECT z FROM SpecObj WHERE",
        "SELECT 'unclosed FROM SpecObj",
        "COPY SpecObj TO 'x.csv'",
        "ATTACH 'x.db'",
        "PRAGMA database_list",
    ],
)
def test_anything_but_one_select_is_refused(sql: str) -> None:
    with pytest.raises(SqlRejectedError):
        translate(sql, TABLES)


def test_a_query_nested_beyond_reason_is_refused() -> None:
    with pytest.raises(SqlRejectedError):
        translate("SELECT " + "(" * 5000 + "1" + ")" * 5000, TABLES)


def test_an_unknown_table_is_named_as_sql_server_names_it() -> None:
    with pytest.raises(SqlRejectedError, match="Invalid object name 'Nope'"):
        translate("SELECT * FROM Nope", TABLES)


def test_a_file_is_not_a_table() -> None:
    with pytest.raises(SqlRejectedError, match="Invalid object name"):
        translate("SELECT * FROM '/etc/passwd'", TABLES)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_translated_or_refused(text: str) -> None:
    try:
        assert isinstance(translate(text, TABLES), str)
    except SqlRejectedError:
        pass
