"""Staging: where a worker's products wait until the driver accepts them.

A worker never writes to a final place. It fills a folder of its own, makes it durable, and returns what
lies there; the driver moves it, inside the ledger's transaction. A late twin of a worker therefore can
not touch what was accepted, and what it left behind is a folder to remove.
"""

import errno
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas.digests import file_sha256
from schemas.disk import FULL, sync
from schemas.errors import StoreError
from schemas.records import Product, Receipt

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
        if error.errno in FULL:
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
        return Product(str(staged), str(final), staged.stat().st_size, file_sha256(staged))


def place(receipt: Receipt) -> None:
    """Move a receipt's products to where they belong; the driver calls this when it accepts the receipt.

    Everything that can be checked is checked before the first move. Calling it again after it was
    interrupted finishes the work. The last product vouches for those before it: an old one in its place is
    removed first, and each step is durable before the next one begins. So whenever the power fails, the last
    product is never seen beside others than its own.

    Raises
    ------
    StoreError
        If a product is missing or of another size, lies on another file system, or may not be moved.
    """
    moves = [(product, Path(product.staged), Path(product.final)) for product in receipt.products]
    todo = [move for move in moves if not _is_placed(*move)]
    for product, staged, final in todo:
        _check_movable(product, staged, final)
    if len(todo) > 1:
        remove(todo[-1][2])
    for product, staged, final in todo:
        with disk_errors(final, product.bytes):
            staged.replace(final)
            sync(final.parent)


def remove(path: Path) -> None:
    """Remove a file, durably; one that is gone already is no fault.

    Raises
    ------
    StoreError
        If it may not be removed.
    """
    if path.exists():
        with disk_errors(path):
            path.unlink()
            sync(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, durably."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync(folder)
        sync(folder.parent)


def _is_placed(product: Product, staged: Path, final: Path) -> bool:
    return not staged.exists() and _is_intact(product, final)


def _check_movable(product: Product, staged: Path, final: Path) -> None:
    if not staged.is_file() or staged.stat().st_size != product.bytes:
        found = f"{staged.stat().st_size:,} bytes" if staged.is_file() else "nothing"
        raise StoreError(
            f"staged product {staged}: expected {product.bytes:,} bytes, found {found}",
            "run the same command again: the unit will be done anew",
        )
    with disk_errors(final.parent):
        make_folder(final.parent)
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
    return [product for product in products if not _is_intact(product, Path(product.final))]


def _is_intact(product: Product, final: Path) -> bool:
    try:
        return final.stat().st_size == product.bytes and file_sha256(final) == product.sha256
    except OSError:
        return False
