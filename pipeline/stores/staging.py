"""Staging: where a worker's products wait until the driver accepts them.

A worker never writes to a final place. It fills a folder of its own, makes it durable, and returns what
lies there; the driver moves it, inside the ledger's transaction. A late twin of a worker therefore can
not touch what was accepted, and what it left behind is a folder to remove.
"""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import StoreError
from schemas.records import Product, Receipt

READ_BYTES = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass(frozen=True)
class Staging:
    """Where one attempt at one unit may write: folders below ``root/stage``."""

    root: str
    stage: str
    unit: str
    attempt: int = 0

    @contextmanager
    def opened(self) -> Iterator[Path]:
        """Make a folder of this process's own, and remove it again should the work fail.

        Yields
        ------
        Path
            ``root/stage/<unit>-a<attempt>-<nonce>``; the nonce keeps twins of one attempt apart.
        """
        name = f"{self.unit.replace('/', '-')}-a{self.attempt}-{secrets.token_hex(4)}"
        folder = Path(self.root, self.stage, name)
        try:
            with disk_errors(folder):
                folder.mkdir(parents=True)
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


@contextmanager
def disk_errors(path: Path, needed_bytes: int = 0) -> Iterator[None]:
    """Turn the file system's refusals into `StoreError` with the remedy.

    Parameters
    ----------
    path : Path
        What is being written.
    needed_bytes : int
        What the write takes, if known; named in the message.

    Raises
    ------
    StoreError
        If the disk is full, the quota is used up, or the folder may not be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            needed = f"{needed_bytes:,} bytes needed, " if needed_bytes else ""
            raise StoreError(
                f"the disk is full: cannot write {path} ({needed}{free_bytes(path):,} bytes free)",
                "free some space or choose another `output` or `cube.path`, then run the same command again",
            ) from error
        if error.errno in _FORBIDDEN:
            raise StoreError(
                f"cannot write {path}: {error.strerror}",
                "give this user the right to write there, or choose another `output` or `cube.path`",
            ) from error
        raise StoreError(
            f"cannot write {path}: {error}", "check the file system, then run the same command again"
        ) from error


def free_bytes(path: Path) -> int:
    """Return the bytes an ordinary user can still write at `path`, or at its nearest parent there is."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def sync(path: Path) -> None:
    """Make a file, or a folder's entries, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hash_file(path: Path) -> tuple[int, str]:
    """Return size [byte] and SHA-256 of a file, read in small pieces."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


def seal(staged: Path, final: Path) -> Product:
    """Make a staged file durable, read it back, and say what it is and where it belongs.

    Raises
    ------
    StoreError
        If it cannot be made durable.
    """
    with disk_errors(staged):
        sync(staged)
        sync(staged.parent)
    size, sha256 = hash_file(staged)
    return Product(str(staged), str(final), size, sha256)


def place(receipt: Receipt) -> None:
    """Move a receipt's products to where they belong; the driver calls this when it accepts the receipt.

    Everything that can be checked is checked before the first move. Calling it again after it was
    interrupted finishes the work.

    Raises
    ------
    StoreError
        If a product is missing or of another size, lies on another file system, or may not be moved.
    """
    moves = [(product, Path(product.staged), Path(product.final)) for product in receipt.products]
    todo = [move for move in moves if not _is_placed(*move)]
    for product, staged, final in todo:
        _check_movable(product, staged, final)
    folders = set()
    for product, staged, final in todo:
        with disk_errors(final, product.bytes):
            staged.replace(final)
        folders.add(final.parent)
    for folder in sorted(folders):
        sync(folder)


def _is_placed(product: Product, staged: Path, final: Path) -> bool:
    return not staged.exists() and final.is_file() and hash_file(final) == (product.bytes, product.sha256)


def _check_movable(product: Product, staged: Path, final: Path) -> None:
    if not staged.is_file() or staged.stat().st_size != product.bytes:
        found = f"{staged.stat().st_size:,} bytes" if staged.is_file() else "nothing"
        raise StoreError(
            f"staged product {staged}: expected {product.bytes:,} bytes, found {found}",
            "run the same command again: the unit will be done anew",
        )
    with disk_errors(final.parent):
        final.parent.mkdir(parents=True, exist_ok=True)
    if staged.stat().st_dev != final.parent.stat().st_dev:
        raise StoreError(
            f"{staged} and {final.parent} lie on different file systems, so a move would not be atomic",
            "put the staging folder and the product's folder on one file system (`output`, `cube.path`)",
        )


def clean(folder: Path) -> None:
    """Remove a staging folder, whatever is left in it; a folder that is gone already is no fault."""
    shutil.rmtree(folder, ignore_errors=True)


def verify(products: Iterable[Product]) -> list[Product]:
    """Re-read and re-hash final files, and return the products that are missing or damaged."""
    return [product for product in products if not _is_intact(product)]


def _is_intact(product: Product) -> bool:
    try:
        return hash_file(Path(product.final)) == (product.bytes, product.sha256)
    except OSError:
        return False
