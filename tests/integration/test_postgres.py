from contextlib import closing

import pytest

from pipeline.stores.postgres import connect, translate
from schemas.errors import DatabaseDown, DatabaseError


@pytest.mark.parametrize(
    ("code", "down", "remedy"),
    [
        ("disk_full", False, "make room on the disk"),
        ("insufficient_privilege", False, "CREATE on the database"),
        ("lock_not_available", False, "end the sessions"),
        ("dependent_objects_still_exist", False, "drop the views"),
        ("read_only_sql_transaction", False, "primary server"),
        ("configuration_limit_exceeded", False, "give the server more"),
        ("admin_shutdown", True, "nothing is lost"),
        ("connection_failure", True, "nothing is lost"),
        ("division_by_zero", False, "report it"),
    ],
)
def test_what_postgres_says_gets_a_remedy_and_an_exit_code(database_dsn, code, down, remedy):
    with closing(connect(database_dsn)) as connection, pytest.raises(DatabaseError) as caught, translate():
        connection.cursor().execute(f"do $$ begin raise exception 'oh' using errcode = '{code}'; end $$")
    assert remedy in caught.value.remedy and "oh" in caught.value.message
    assert isinstance(caught.value, DatabaseDown) == down
    assert caught.value.exit_code == (75 if down else 6)


def test_a_connection_the_server_ended_is_down(database_dsn):
    with closing(connect(database_dsn)) as ours, closing(connect(database_dsn)) as other:
        other.cursor().execute("select pg_terminate_backend(%s)", [ours.info.backend_pid])
        with pytest.raises(DatabaseDown), translate():
            ours.cursor().execute("select 1")
        with pytest.raises(DatabaseDown), translate():
            ours.cursor()


def test_times_are_utc_whatever_the_server_thinks(database_dsn):
    with closing(connect(database_dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("show timezone")
        assert cursor.fetchone() == ("UTC",)
