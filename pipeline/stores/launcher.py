"""Run the embedded Postgres: a server of one's own in one folder, with no set-up and no rights needed.

The folder holds ``data`` (the cluster), ``pgpass`` (the generated password, libpq's format, 0600),
``server.log`` and ``host`` (where the server was started, see `pipeline.stores.takeover`). The server
listens on 127.0.0.1 only, asks for a SCRAM password, and outlives the process that started it. After a
crash it is simply started again: Postgres replays its log.
"""

import errno
import fcntl
import logging
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.stores.binaries import Binaries, find_binaries
from pipeline.stores.identity import Identity, write_private
from pipeline.stores.postgres import connect, one
from pipeline.stores.postmaster import (
    ORPHANS_TIMEOUT_S,
    START_TIMEOUT_S,
    USER,
    becomes_ready,
    clear_stale_lock,
    dsn_of,
    lock_file,
    see_log,
)
from pipeline.stores.takeover import read_note, take_over, write_note
from schemas.disk import filesystem_of
from schemas.errors import DatabaseError
from schemas.statements import statement

log = logging.getLogger(__name__)

NETWORK_FILESYSTEMS = {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb3", "panfs", "afs"}

SETTINGS = """\
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 50
shared_buffers = 256MB
maintenance_work_mem = 256MB
max_wal_size = 4GB
checkpoint_timeout = 15min
wal_compression = off
jit = off
max_parallel_maintenance_workers = 0  # containers often have a /dev/shm of 64 MiB only
tcp_keepalives_idle = 5
tcp_keepalives_interval = 2
tcp_keepalives_count = 3
timezone = 'UTC'
log_timezone = 'UTC'
"""


@dataclass(frozen=True)
class ServerStatus:
    """What is known of the server of a folder; ``dsn`` holds no password."""

    directory: Path
    running: bool
    pid: int | None = None
    port: int | None = None
    major: int | None = None
    dsn: str | None = None


def start(directory: Path, *, say: Callable[[str], None] = log.warning) -> str:
    """Start the server of `directory` if it is not running, and return its connection string.

    Parameters
    ----------
    directory : Path
        The server's folder; made when it is not there.
    say : callable, optional
        Takes what a user wants to know who waits.

    Returns
    -------
    str
        libpq connection string that names the password file and holds no password.

    Raises
    ------
    DatabaseError
        If there are no binaries, the folder belongs to another major version or another host, or the
        server does not start; the message holds the end of its log.
    """
    directory = directory.resolve()
    with _locked(directory):
        if (state := status(directory)).running and state.dsn:
            return state.dsn
        _warn_of_network_filesystem(directory)
        binaries = find_binaries(_major(directory))
        identity = Identity(directory)
        if not (directory / "data" / "PG_VERSION").exists():
            _initialise(directory, binaries, identity)
        take_over(directory, say=say)
        clear_stale_lock(directory)
        return _launch(directory, binaries, identity)


def stop(directory: Path) -> bool:
    """Stop the server of `directory`, and say whether it ran; what a dead one left behind is put in order."""
    directory = directory.resolve()
    if not directory.exists():
        return False
    with _locked(directory):
        if not status(directory).running:
            if read_note(directory).host == socket.gethostname():
                clear_stale_lock(directory)
            return False
        binaries = find_binaries(_major(directory))
        done = Identity(directory).run(
            [binaries.tool("pg_ctl"), "-D", directory / "data", "-m", "fast", "-w", "-t", "60", "stop"]
        )
        if done.returncode:
            raise DatabaseError(
                f"the server in {directory} does not stop: {done.stderr.strip()}", see_log(directory)
            )
    return True


def clients(directory: Path) -> int:
    """Return how many clients are connected to the server of `directory`; 0 where it does not run."""
    found = status(directory)
    if not found.running or not found.dsn:
        return 0
    with closing(connect(found.dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(statement("launcher/clients"))
        return int(one(cursor)[0])


def status(directory: Path) -> ServerStatus:
    """Tell whether the server of `directory` runs, and where; start nothing."""
    directory = directory.resolve()
    major = _major(directory)
    pid, port = lock_file(directory)
    if pid is None or port is None or not becomes_ready(pid, directory, port):
        return ServerStatus(directory, running=False, major=major)
    return ServerStatus(directory, True, pid, port, major, dsn_of(directory, port))


def _initialise(directory: Path, binaries: Binaries, identity: Identity) -> None:
    fresh, passfile = directory / "data.new", directory / "pgpass"
    shutil.rmtree(fresh, ignore_errors=True)
    password, plain = secrets.token_urlsafe(24), directory / "password.new"
    write_private(passfile, f"127.0.0.1:*:*:{USER}:{password}\n", identity.user)
    write_private(plain, f"{password}\n", identity.user)
    try:
        for locale in ("C.UTF-8", "C"):
            shutil.rmtree(fresh, ignore_errors=True)
            done = identity.run(
                [
                    *(binaries.tool("initdb"), "-D", fresh, "-U", USER, "--auth=scram-sha-256"),
                    *(f"--pwfile={plain}", "-k", "-E", "UTF8", f"--locale={locale}"),
                ]
            )
            if not done.returncode:
                break
        else:
            raise DatabaseError(
                f"initdb of Postgres {binaries.major} failed in {directory}: {done.stderr.strip()}",
                "check the free space and the rights of the folder, or name a server in database.dsn",
            )
    finally:
        plain.unlink()
    create = statement("launcher/create_database")
    done = identity.run([binaries.tool("postgres"), "--single", "-D", fresh, "postgres"], said=create)
    if done.returncode:
        raise DatabaseError(f"cannot make the database: {done.stderr.strip()}", "look at the message above")
    with (fresh / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.write("\ninclude 'skymill.conf'\n")
    fresh.rename(directory / "data")


def _launch(directory: Path, binaries: Binaries, identity: Identity) -> str:
    data, logfile = directory / "data", directory / "server.log"
    old = data / "skymill.conf"
    port = _port_of(old.read_text(encoding="utf-8")) if old.exists() else None
    deadline = time.monotonic() + ORPHANS_TIMEOUT_S
    while True:
        port = port if port and _is_free(port) else _free_port()
        write_private(old, SETTINGS.format(port=port), identity.user)
        write_note(directory)
        size = logfile.stat().st_size if logfile.exists() else 0
        done = identity.run(
            [
                *(binaries.tool("pg_ctl"), "-D", data, "-l", logfile),
                *("-w", "-t", str(START_TIMEOUT_S), "start"),
            ]
        )
        if not done.returncode:
            break
        said = logfile.read_bytes()[size:].decode(errors="replace") if logfile.exists() else done.stderr
        passing = any(words in said for words in ("Address already in use", "still in use"))
        if not passing or time.monotonic() > deadline:
            raise DatabaseError(
                f"Postgres {binaries.major} does not start in {directory}:\n{said[-2000:].strip()}",
                see_log(directory),
            )
        time.sleep(0.5)
    return dsn_of(directory, port)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep two drivers from starting one server at the same time."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (directory / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise DatabaseError(
            f"cannot keep a database in {directory}: {error}",
            "set database.directory to a folder you can write, on a local disk with room",
        ) from error


def _major(directory: Path) -> int | None:
    try:
        return int((directory / "data" / "PG_VERSION").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _port_of(settings: str) -> int | None:
    lines = [line for line in settings.splitlines() if line.startswith("port =")]
    return int(lines[0].split("=")[1]) if lines else None


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _warn_of_network_filesystem(directory: Path) -> None:
    kind = filesystem_of(directory)
    if kind in NETWORK_FILESYSTEMS:
        log.warning(
            "the database lies on a network file system (%s: %s), where it is slow and can be damaged; "
            "set database.directory to a local disk",
            kind,
            directory,
        )
