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
