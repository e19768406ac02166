"""Keep cutouts that were drawn before: some in memory, all on disk if a folder is given."""

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from pipeline.sandbox.parameters import CsstRequest, CutoutRequest, FitsRequest, FrameRequest

ImageRequest = CutoutRequest | FitsRequest | CsstRequest | FrameRequest
_MEMORY_BYTES = 64 * 2**20


class CutoutCache:
    """Ask the sky once for a cutout, and remember.

    Parameters
    ----------
    draw : callable
        What draws an image, or says None outside the footprint.
    folder : pathlib.Path or None
        Where to keep cutouts between starts.
    tag : str
        Names the sky and its seed, so that two skies can share a folder.
    """

    def __init__(
        self, draw: Callable[[ImageRequest], bytes | None], folder: Path | None, *, tag: str
    ) -> None:
        self._draw = draw
        self._folder = folder
        self._tag = tag
        self._kept: OrderedDict[ImageRequest, bytes | None] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()

    def body(self, wanted: ImageRequest) -> bytes | None:
        """Return a cutout, or None outside the footprint; safe to call from several threads."""
        with self._lock:
            if wanted in self._kept:
                self._kept.move_to_end(wanted)
                return self._kept[wanted]
        path = self._path(wanted)
        if path is not None and path.is_file():
            body: bytes | None = path.read_bytes()
        else:
            body = self._draw(wanted)
            if path is not None and body is not None:
                _write_whole(path, body)
        self._keep(wanted, body)
        return body

    def _path(self, wanted: ImageRequest) -> Path | None:
        if self._folder is None:
            return None
        name = hashlib.blake2b(f"{self._tag}|{wanted}".encode(), digest_size=16).hexdigest()
        return self._folder / name[:2] / f"{name}{'.jpg' if isinstance(wanted, CutoutRequest) else '.fits'}"

    def _keep(self, wanted: ImageRequest, body: bytes | None) -> None:
        with self._lock:
            if wanted not in self._kept:
                self._kept_bytes += len(body or b"")
            self._kept[wanted] = body
            while self._kept_bytes > _MEMORY_BYTES:
                _, dropped = self._kept.popitem(last=False)
                self._kept_bytes -= len(dropped or b"")


def _write_whole(path: Path, body: bytes) -> None:
    """Write by rename, so that a reader never meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    partial.write_bytes(body)
    partial.replace(path)
