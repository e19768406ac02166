"""Fixtures that several parts use: a Postgres server of the tests' own, and an empty database a test."""

import gc
import itertools
import signal
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import settings
from psycopg2 import sql
from psycopg2.extensions import make_dsn

from pipeline.ledger import Ledger
from pipeline.stores import launcher
from pipeline.stores.postgres import connect

sys.path.insert(0, str(Path(__file__).parent))  # for `small_networks` and `emri_sources`

# A shell that starts the tests in the background makes them deaf to Ctrl-C, and with them all they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("skymill", deadline=None)  # the machines are shared: no test is timed
settings.load_profile("skymill")

gc.disable()  # until all is imported: looking for garbage among what stays is a tenth of the time that takes

TEMPLATE = "migrated"
_NUMBERS = itertools.count()


def pytest_collection_finish() -> None:
    """Look for garbage from now on, but not among what was imported."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def database_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of a running embedded server."""
    directory = tmp_path_factory.mktemp("postgres")
    dsn = launcher.start(directory)
    _execute(dsn, "create database {}", TEMPLATE)
    Ledger.open(make_dsn(dsn, dbname=TEMPLATE)).close()
    yield directory
    launcher.stop(directory)


@pytest.fixture
def database_dsn(database_server: Path) -> Iterator[str]:
    """Connection string of a fresh database with skymill's schema."""
    yield from _database(database_server, TEMPLATE)


@pytest.fixture
def empty_database_dsn(database_server: Path) -> Iterator[str]:
    """Connection string of a fresh database with nothing in it."""
    yield from _database(database_server, "template0")


def _database(directory: Path, template: str) -> Iterator[str]:
    name = f"test_{next(_NUMBERS)}"
    _execute(launcher.start(directory), "create database {} template {}", name, template)
    yield make_dsn(launcher.start(directory), dbname=name)
    _execute(launcher.start(directory), "drop database {} with (force)", name)


def _execute(dsn: str, text: str, *names: str) -> None:
    with closing(connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL(text).format(*map(sql.Identifier, names)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the runs on Slurm: they wait more than they work."""
    items.sort(key=lambda item: "slurm" not in item.path.parts)
