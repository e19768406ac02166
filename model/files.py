"""Files that are whole or not there, and the file system's refusals in clear words."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from schemas.disk import FULL, sync
from schemas.errors import StoreError


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the file system's refusal to write `path`, or the file the error names, into a `StoreError`."""
    try:
        yield
    except OSError as error:
        raise refusal(path, error) from error


def refusal(path: str | Path, error: OSError) -> StoreError:
    """Return what it means that the file system refuses to write `path`, or the file the error names."""
    path = error.filename or path
    if error.errno in FULL:
        return StoreError(
            f"the disk is full: cannot write {path}",
            "free some space or choose another `output`, then run the same command again: a training goes on "
            "from its last checkpoint",
        )
    return StoreError(
        f"cannot write {path}: {error.strerror or error}",
        "check the folder's permissions and its file system, then run the same command again",
    )


def write_durably(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that, whenever the process dies, the old or the new file is there, whole.

    Raises
    ------
    StoreError
        The file system refused; nothing is left of the new file.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with disk_errors(path):
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        sync(path.parent)


def clean(folder: Path, *, older_s: float) -> None:
    """Remove the temporary files that killed processes have left in `folder`, those older than `older_s`."""
    for path in folder.glob(".*.tmp"):
        with suppress(FileNotFoundError):  # its writer has just made it whole
            if time.time() - path.stat().st_mtime > older_s:
                path.unlink()
