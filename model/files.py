"""Files that are whole or not there, locks on folders, and the file system's refusals in clear words."""

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.disk import FULL, sync
from schemas.errors import ModelError, StoreError

_LOCK, _POLL_S = ".lock", 0.1


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the file system's refusal to write `path`, or the file the error names, into a `StoreError`."""
    try:
        yield
    except OSError as error:
        raise _refused(error.filename or path, error) from error


def _refused(path: str | Path, error: OSError) -> StoreError:
    if error.errno in FULL:
        return StoreError(
            f"the disk is full: cannot write {path}",
            "free some space or choose another `output`, then run the same command again: a training goes on "
            "from its last epoch",
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


@contextmanager
def locked(folder: Path, *, wait_s: float) -> Iterator[int]:
    """Hold the lock of a training's folder, and give its descriptor: who inherits it holds the lock too.

    Raises
    ------
    ModelError
        Another process still holds it after `wait_s`.
    StoreError
        The lock's file cannot be written, or its file system knows no locks.
    """
    with disk_errors(folder / _LOCK):
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + wait_s
        while not _take(descriptor, folder):
            if time.monotonic() > deadline:
                raise ModelError(
                    f"another trainer works in {folder} (waited {wait_s:g} s for it to end)",
                    "wait until it has ended, or stop it, then run the same command again",
                )
            time.sleep(_POLL_S)
        yield descriptor
    finally:
        os.close(descriptor)


def _take(descriptor: int, folder: Path) -> bool:
    with disk_errors(folder / _LOCK):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def clean(folder: Path) -> None:
    """Remove the temporary files that killed processes have left in `folder`."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)
