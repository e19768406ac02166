"""What the files and processes of a server's folder tell: does it live, is it ready, whose is it."""

import time
from collections.abc import Iterator
from pathlib import Path

from psycopg2.extensions import make_dsn

from pipeline.stores.postgres import connect
from schemas.errors import DatabaseDown, DatabaseError

USER = DATABASE = "skymill"
START_TIMEOUT_S = 300
ORPHANS_TIMEOUT_S = 30


def dsn_of(directory: Path, port: int) -> str:
    """Return the connection string; it names the password file."""
    return make_dsn(
        host="127.0.0.1", port=port, user=USER, dbname=DATABASE, passfile=str(directory / "pgpass")
    )


def see_log(directory: Path) -> str:
    """Return the remedy that names the server's log."""
    return f"see {directory / 'server.log'}"


def lock_file(directory: Path) -> tuple[int | None, int | None]:
    """Return process id and port of ``postmaster.pid`` (its lines 1 and 4)."""
    try:
        lines = (directory / "data" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        return int(lines[0]), int(lines[3])
    except (FileNotFoundError, IndexError, ValueError):
        return None, None


def is_server(pid: int, directory: Path) -> bool:
    """Tell whether `pid` is a live process of this very cluster: a server's working folder is its data.

    A zombie has none, and a foreign process that took over the number of a dead server has another.
    """
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == directory / "data"
    except OSError:
        return False


def becomes_ready(pid: int, directory: Path, port: int) -> bool:
    """Wait until server `pid` takes connections (after a crash it recovers first), or is gone.

    Only an answer counts: a server that was killed a moment ago still looks alive.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while is_server(pid, directory):
        if _says_ready(directory) and _answers(dsn_of(directory, port)):
            return True
        if time.monotonic() > deadline:
            raise DatabaseDown(f"the server in {directory} does not get ready", see_log(directory))
        time.sleep(0.05)
    return False


def clear_stale_lock(directory: Path) -> None:
    """Remove the lock file of a dead server, once none of its children is left to write to the data."""
    if not (directory / "data" / "postmaster.pid").exists():
        return
    deadline = time.monotonic() + ORPHANS_TIMEOUT_S
    while orphans := [pid for pid in _postgres_processes() if is_server(pid, directory)]:
        if time.monotonic() > deadline:
            raise DatabaseDown(
                f"the server in {directory} died, and its processes {orphans} still run",
                f"end them (kill {' '.join(map(str, orphans))}) and run again",
            )
        time.sleep(0.1)
    (directory / "data" / "postmaster.pid").unlink(missing_ok=True)


def _answers(dsn: str) -> bool:
    try:
        connect(dsn).close()
    except DatabaseDown:
        return False
    except DatabaseError:
        return True
    return True


def _says_ready(directory: Path) -> bool:
    try:
        lines = (directory / "data" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[7].strip() == "ready"


def _postgres_processes() -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "comm").read_text(encoding="utf-8")
        except OSError:
            continue
        if name.startswith("postgres"):
            yield int(folder.name)
