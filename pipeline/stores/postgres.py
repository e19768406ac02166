"""Connect to Postgres, bring its schema up to date, and say in plain words what it refuses."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import errorcodes
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extensions import make_dsn, parse_dsn

from schemas.errors import DatabaseDown, DatabaseError
from schemas.statements import migrations, statement

log = logging.getLogger(__name__)

PATIENCE = {
    "connect_timeout": "5",
    "tcp_user_timeout": "8000",
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "application_name": "skymill",
}
"""Parameters of libpq for a link that may be cut: with its defaults a write to a dead host hangs for ever."""

PASSWORDS = (
    "passwords come from PGPASSWORD, a libpq password file (~/.pgpass, PGPASSFILE, "
    "or passfile= in database.dsn) or database.password_file"
)
LIBPQ_LINE = re.compile(r"^([^:\\\n]|\\.)+:(\d+|\*):([^:\\\n]|\\.)+:([^:\\\n]|\\.)+:.", re.MULTILINE)
"""A line of libpq's password file: ``host:port:database:user:password``, where ``\\`` escapes a colon."""
AGAIN = "see that the server runs and can be reached (`skymill db status`), then run again: nothing is lost"

DOWN_STATES = {
    errorcodes.ADMIN_SHUTDOWN,
    errorcodes.CRASH_SHUTDOWN,
    errorcodes.CANNOT_CONNECT_NOW,
    errorcodes.TOO_MANY_CONNECTIONS,
    errorcodes.IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
}
REMEDIES = {
    errorcodes.DISK_FULL: "make room on the disk of the database, then run again",
    errorcodes.INSUFFICIENT_PRIVILEGE: (
        "the user needs CREATE on the database (for the schemas skymill and catalogue) "
        "and ownership of what is in them"
    ),
    errorcodes.INVALID_PASSWORD: PASSWORDS,
    errorcodes.INVALID_AUTHORIZATION_SPECIFICATION: PASSWORDS,
    errorcodes.INVALID_CATALOG_NAME: "create the database, or correct dbname= in database.dsn",
    errorcodes.LOCK_NOT_AVAILABLE: "end the sessions that read the catalogue for long, then run again",
    errorcodes.DEPENDENT_OBJECTS_STILL_EXIST: (
        "drop the views of yours that are built on the catalogue, then run again"
    ),
    errorcodes.UNIQUE_VIOLATION: "the key named above is there twice; if it is an object's, its sample is not unique",
    errorcodes.DATA_CORRUPTED: "restore the database from a backup",
    errorcodes.READ_ONLY_SQL_TRANSACTION: "name the primary server in database.dsn, not a standby",
}
REFUSALS = [
    (r"password authentication failed|no password supplied|no pg_hba\.conf entry", PASSWORDS),
    (r'role "[^"]*" does not exist', "correct user= in database.dsn, or create the user"),
    (r'database "[^"]*" does not exist', "create the database, or correct dbname= in database.dsn"),
    (r"permission denied", REMEDIES[errorcodes.INSUFFICIENT_PRIVILEGE]),
    (r"No space left on device", REMEDIES[errorcodes.DISK_FULL]),
    (r"SSL|certificate", "correct sslmode= and the certificates in database.dsn"),
]
"""Refusals at connect time carry no error code, only words."""


def connect(dsn: str, password_file: Path | str | None = None) -> Connection:
    """Connect, with time limits wherever `dsn` sets none.

    Parameters
    ----------
    dsn : str
        libpq connection string or URL.
    password_file : path, optional
        File that holds nothing but the password, or libpq's ``host:port:database:user:password`` lines.

    Raises
    ------
    DatabaseDown
        If the server does not answer.
    DatabaseError
        If it refuses, or the connection string can not be read.
    """
    try:
        named = parse_dsn(dsn)
    except psycopg2.Error:
        raise DatabaseError(
            "database.dsn is not a libpq connection string",
            "write for example host=db.example.org dbname=survey user=me, or postgresql://me@db.example.org/survey",
        ) from None
    if password_file is not None:
        named |= _secret(Path(password_file))
    with translate():
        connection = psycopg2.connect(make_dsn(**{**PATIENCE, **named}))
        with connection, connection.cursor() as cursor:
            cursor.execute(statement("connection/settle"))
    return connection


@contextmanager
def translate() -> Iterator[None]:
    """Turn the errors of psycopg2 into those of skymill; the only place where that is done."""
    try:
        yield
    except psycopg2.Error as error:
        raise explain(error) from error


@contextmanager
def transaction(connection: Connection) -> Iterator[Cursor]:
    """Open a cursor in a transaction: committed at the end, rolled back if an error leaves the block.

    Raises
    ------
    DatabaseDown, DatabaseError
        For whatever psycopg2 raises inside.
    """
    with translate(), connection, connection.cursor() as cursor:
        yield cursor


def one(cursor: Cursor) -> tuple[Any, ...]:
    """Return the row of a statement that always answers with one."""
    row = cursor.fetchone()
    assert row is not None
    return row


def explain(error: psycopg2.Error) -> DatabaseError:
    """Return the error of skymill for one of psycopg2: `DatabaseDown` when trying again may help."""
    said = _without_password(str(error).strip()) or type(error).__name__
    code = error.pgcode or ""
    if code in DOWN_STATES or code.startswith("08"):
        return DatabaseDown(f"the database went away: {said}", AGAIN)
    if code:
        return DatabaseError(f"the database refused ({code}): {said}", REMEDIES.get(code, _of_class(code)))
    for words, remedy in REFUSALS:
        if re.search(words, said):
            return DatabaseError(f"the database refused the connection: {said}", remedy)
    lost = isinstance(error, (psycopg2.OperationalError, psycopg2.InterfaceError))
    if lost or type(error) is psycopg2.DatabaseError:
        return DatabaseDown(f"the database does not answer: {said}", AGAIN)
    return DatabaseError(f"the database refused: {said}", "look at the message above")


def migrate(connection: Connection) -> int:
    """Bring the schema up to date, each migration in a transaction of its own; return its version.

    Raises
    ------
    DatabaseError
        If the database was written by a newer skymill.
    """
    known = migrations()
    newest = known[-1][0]
    with translate():
        for number, name, text in known:
            with connection, connection.cursor() as cursor:
                applied = _applied(cursor)
                if applied > newest:
                    raise DatabaseError(
                        f"the database has schema version {applied}, and this skymill knows {newest}",
                        "install the newer skymill, or name another database in database.dsn",
                    )
                if number > applied:
                    cursor.execute(text)
                    cursor.execute(statement("connection/migration_done"), {"version": number, "name": name})
    return newest


def _applied(cursor: psycopg2.extensions.cursor) -> int:
    cursor.execute(statement("connection/migrations_begin"))
    row = cursor.fetchone()
    if not row or not row[1]:
        return 0
    cursor.execute(statement("connection/migrations_applied"))
    version = cursor.fetchone()
    return int(version[0]) if version else 0


def _secret(path: Path) -> dict[str, str]:
    """Return what libpq is to be told: the password of a file that holds nothing else, or its password file."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DatabaseError(f"cannot read database.password_file {path}: {error}", PASSWORDS) from None
    if LIBPQ_LINE.search(text):
        if mode & 0o077:
            raise DatabaseError(f"others may read {path}, so libpq would ignore it", f"chmod 600 {path}")
        return {"passfile": str(path)}
    if not text or "\n" in text:
        raise DatabaseError(
            f"expected a password alone or lines of libpq in {path}, found {len(text.splitlines())} lines",
            "write the password alone, or host:port:database:user:password",
        )
    if mode & 0o007:
        log.warning("everybody on this machine can read the password file %s (chmod 600 it)", path)
    return {"password": text}


def _of_class(code: str) -> str:
    if code.startswith("53"):
        return "give the server more of what it lacks, then run again"
    return "look at the message above; if it says nothing to you, it is a fault of skymill: report it"


def _without_password(text: str) -> str:
    text = re.sub(r"(password\s*=\s*)('[^']*'|\S+)", r"\1***", text)
    return re.sub(r"(://[^:/@\s]*:)[^@\s]+@", r"\1***@", text)
