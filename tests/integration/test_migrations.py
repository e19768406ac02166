from contextlib import closing

import pytest

from pipeline.ledger import Ledger
from pipeline.stores.postgres import connect, migrate
from schemas.errors import DatabaseDown, DatabaseError
from schemas.statements import ROOT, migrations, statement

CATALOGS = {
    "columns": """select table_schema, table_name, column_name, ordinal_position, data_type, udt_name,
        is_nullable, column_default, is_identity, numeric_precision from information_schema.columns
        where table_schema in ('skymill', 'catalogue') order by 1, 2, 4""",
    "constraints": """select conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        from pg_constraint
        where connamespace::regnamespace::text in ('skymill', 'catalogue') order by 1, 2""",
    "indexes": """select indexname, indexdef from pg_indexes
        where schemaname in ('skymill', 'catalogue') order by 1""",
    "functions": """select pg_get_functiondef(oid) from pg_proc
        where pronamespace::regnamespace::text in ('skymill', 'catalogue') order by 1""",
    "enums": """select t.typname, e.enumlabel from pg_enum e join pg_type t on t.oid = e.enumtypid
        where t.typnamespace::regnamespace::text = 'skymill' order by 1, e.enumsortorder""",
    "comments": """select classoid::regclass::text, d.objsubid, d.description,
        case when classoid = 'pg_class'::regclass then objoid::regclass::text end
        from pg_description d where objoid >= 16384 order by 1, 4, 2, 3""",
    "rights": """select nspname, nspacl::text from pg_namespace
        where nspname in ('skymill', 'catalogue') order by 1""",
}


def catalogs(connection):
    with connection, connection.cursor() as cursor:
        answers = {}
        for name, question in CATALOGS.items():
            cursor.execute(question)
            answers[name] = cursor.fetchall()
        return answers


def run(connection, text):
    with connection, connection.cursor() as cursor:
        cursor.execute(text)
        return cursor.fetchall() if cursor.description else []


def test_the_migrations_add_up_to_the_schema(empty_database_dsn):
    with closing(connect(empty_database_dsn)) as connection:
        migrate(connection)
        migrated = catalogs(connection)
        run(connection, "drop schema skymill, catalogue cascade")
        run(connection, statement("schema"))
        whole = catalogs(connection)
    assert all(migrated.values())
    for name in CATALOGS:
        assert migrated[name] == whole[name], name


def test_migrating_again_changes_nothing(empty_database_dsn):
    with closing(connect(empty_database_dsn)) as connection:
        assert migrate(connection) == migrate(connection) == len(migrations())
        assert run(connection, "select count(*) from skymill.migration") == [(len(migrations()),)]


def test_migrations_are_numbered_without_a_gap():
    assert [number for number, _, _ in migrations()] == list(range(1, len(migrations()) + 1))


def test_a_database_of_a_newer_skymill_is_left_alone(database_dsn):
    with closing(connect(database_dsn)) as connection:
        run(connection, "insert into skymill.migration values (999, '0999_future')")
        before = catalogs(connection)
        with pytest.raises(DatabaseError, match="schema version 999") as caught:
            Ledger.open(database_dsn)
        assert "newer skymill" in caught.value.remedy
        assert catalogs(connection) == before


def test_a_user_without_rights_is_told_which(empty_database_dsn):
    with closing(connect(empty_database_dsn)) as connection:
        run(connection, "drop role if exists guest; create role guest")
        run(connection, "set role guest")
        with pytest.raises(DatabaseError, match="permission denied") as caught:
            migrate(connection)
    assert "CREATE on the database" in caught.value.remedy and not isinstance(caught.value, DatabaseDown)


def test_every_column_of_the_ledger_has_a_comment(database_dsn):
    with closing(connect(database_dsn)) as connection:
        bare = run(
            connection,
            """select attrelid::regclass::text || '.' || attname from pg_attribute
            join pg_class c on c.oid = attrelid
            where relnamespace = 'skymill'::regnamespace and relkind = 'r' and attnum > 0
                and col_description(attrelid, attnum) is null""",
        )
    assert bare == []


def test_every_statement_is_used_by_a_module():
    rooms = [ROOT.parents[1] / name for name in ("pipeline", "schemas")]
    source = "".join(file.read_text() for room in rooms for file in room.rglob("*.py"))
    names = [str(file.relative_to(ROOT).with_suffix("")) for file in ROOT.rglob("*.sql")]
    loose = [
        name for name in names if f'"{name}"' not in source and "migrations/" not in name and name != "schema"
    ]
    assert loose == []
