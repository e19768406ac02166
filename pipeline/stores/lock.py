"""A lock on a folder, so that two drivers never write to it at once.

The ledger keeps drivers of one run apart, but only within one database. This lock is the kernel's (``flock``):
it holds on one machine and over NFSv4, and it is gone when its process is, however that ends.
"""

import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.stores.staging import disk_errors
from schemas.errors import Busy

log = logging.getLogger(__name__)

PATIENCE_S = 2.0
"""How long to wait: a driver that was killed a moment ago may not be quite gone."""
_UNKNOWN = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}


@contextmanager
def locked(path: Path, *, what: str) -> Iterator[None]:
    """Hold the lock file `path` for this process; it is left behind, and says who had it last.

    A file system that knows no locks is worked on without one, with a warning in the log.

    Parameters
    ----------
    path : Path
        The lock file; it and its folder are made when they are not there.
    what : str
        What it stands for, in the words of the error.

    Raises
    ------
    Busy
        If another process holds it.
    StoreError
        If the file cannot be made.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _take(descriptor, path, what)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                who = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "?"
                raise Busy(
                    f"another driver works on {what}: {who} ({path})",
                    "wait for it, or end it; two runs of their own need an `output` and a `cube.path` of their own",
                ) from None
            time.sleep(0.1)
        except OSError as error:
            if error.errno not in _UNKNOWN:
                raise
            log.warning("%s: this file system knows no locks; see to it that one driver works there", path)
            return
    with suppress(OSError):  # a full disk
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
