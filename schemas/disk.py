"""What every room that writes files needs of the disk."""

import errno
import os
from pathlib import Path

FULL = {errno.ENOSPC, errno.EDQUOT}
"""Error numbers of a disk, or a quota, that has no room left."""


def sync(path: Path) -> None:
    """Make a file, or a folder's entries, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def filesystem_of(path: Path) -> str:
    """Return the kind of file system that `path` is on, or would be: ``ext4``, ``nfs4``, ``tmpfs``."""
    mounts = [
        line.split()[1:3] for line in Path("/proc/mounts").read_text(errors="surrogateescape").splitlines()
    ]
    above = [(where, kind) for where, kind in mounts if path.is_relative_to(where)]
    return max(above, key=lambda mount: len(mount[0]), default=("", ""))[1]
