"""The predictor: one or more networks that answer together, compiled once a process.

A network always sees batches of one fixed shape, the last one padded, so answers depend neither on what else is in a
batch nor on how a cube is cut into blocks. Each batch is read once, whatever the number of networks and passes. A
framework is imported when the first network is loaded, not with this module.
"""

import functools
import hashlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.bundles import Bundle, load_bundle
from model.cubes import Cube, open_cube
from model.estimates import answer_width
from model.intake import intake_of
from model.order import apply_symmetry, draws, evaluation_draws
from model.runtimes import AHEAD, Answer, best_batch, engine_of, make_answer
from schemas.errors import ModelError

Array = NDArray[Any]

_ANSWERS_BYTES = 8 << 20
"""Of answers, before they are combined, that are made at once."""
_lock = threading.Lock()


class Predictor:
    """One or more bundles ready to predict together.

    Parameters
    ----------
    bundles : sequence of Bundle
        Trained networks for the same images, of the same head and target.
    passes : int
        Passes of each with dropout active (Monte Carlo); 0 for one pass without.
    engine : str
        ``auto``, ``openvino`` or ``tensorflow``, see `model.runtimes`.
    batch : int
        Rows that are computed at once; by default what is best.
    threads : int
        How many threads of this process may call it at the same time.

    Raises
    ------
    ModelError
        The bundles do not belong together, or the engine cannot compute them.
    """

    def __init__(
        self,
        bundles: Sequence[Bundle],
        *,
        passes: int = 0,
        engine: str = "auto",
        batch: int | None = None,
        threads: int = 1,
    ) -> None:
        _check_together(bundles)
        self.bundles, self.passes = tuple(bundles), passes
        self.batch = batch = batch or best_batch(bundles[0])
        self.head, self.geometry = bundles[0].preset["head"], bundles[0].geometry
        self.intake = intake_of(bundles[0].preset)
        self.engines = [engine_of(bundle, engine) for bundle in bundles]
        self._answers: list[Answer] = [
            make_answer(bundle, engine=engine, batch=batch, passes=passes, threads=threads)
            for bundle in bundles
        ]

    def __call__(self, images: Array, rows: Array | None = None, vectors: Array | None = None) -> Array:
        """Answer to ``(n, y, x, band)`` images as stored, any n: ``(m, n, width)``, of each bundle's passes.

        `rows` are their rows in the cube, which decide what is drawn for them; 0 to n if not given. `vectors`
        ``(n, feature)`` are for networks that take them; one that takes no images is given them as ``(n, 0)``.
        The answer to a row of which a pixel or a feature is not finite is NaN; a forest knows missing features.
        """
        vectors = np.empty((len(images), 0), np.float32) if vectors is None else vectors
        if self.intake.image and (
            images.shape[1:] != self.geometry.whole or images.dtype != self.geometry.dtype
        ):
            raise ModelError(
                f"the bundle {self.bundles[0].path} wants {self.geometry.dtype} images {self.geometry.whole}, "
                f"found {images.dtype} {images.shape[1:]}",
                "predict on a cube with the images settings the bundle was trained with",
            )
        rows = np.arange(len(images)) if rows is None else rows
        answers = np.zeros((len(self.bundles), max(1, self.passes), len(images), self._width), np.float32)
        begun: deque[tuple[Array, Callable[[], Array]]] = deque()

        def take() -> None:
            place, wait = begun.popleft()
            place += wait()[:, : place.shape[1]]

        for first in range(0, len(images), self.batch):
            batch, vector, its_rows = (self._padded(part, first) for part in (images, vectors, rows))
            for member, (bundle, begin) in enumerate(zip(self.bundles, self._answers, strict=True)):
                draw = self._draws(bundle, its_rows)
                for code in range(_symmetries(bundle)):
                    if len(begun) == AHEAD:
                        take()
                    turned = np.ascontiguousarray(apply_symmetry(batch, code)) if code else batch
                    given = {"image": turned, "vector": vector, "draw": draw}
                    begun.append((answers[member, :, first : first + self.batch], begin(given)))
        while begun:
            take()
        for member, bundle in enumerate(self.bundles):
            answers[member] /= _symmetries(bundle)
        answers[:, :, ~self._usable(images, vectors)] = np.nan
        return answers.reshape(-1, len(images), self._width)

    @property
    def most(self) -> int:
        """Rows, in whole batches, whose answers of all bundles and passes take little memory."""
        of_a_row = len(self.bundles) * max(1, self.passes) * self._width * np.dtype(np.float32).itemsize
        return max(1, _ANSWERS_BYTES // of_a_row // self.batch) * self.batch

    @property
    def digest(self) -> str:
        """Name of what predicts: the digest of a single bundle without passes, else of all and their passes."""
        if len(self.bundles) == 1 and not self.passes:
            return self.bundles[0].digest
        words = [*(bundle.digest for bundle in self.bundles), str(self.passes)]
        return hashlib.sha256(" ".join(words).encode()).hexdigest()

    @property
    def _width(self) -> int:
        """Numbers of an answer."""
        return answer_width(self.head, self.geometry.shape)

    def _usable(self, images: Array, vectors: Array) -> NDArray[np.bool_]:
        """Say which rows can be answered: what is computed from NaN is NaN or any number, as the engine has it."""
        forest = self.bundles[0].preset["network"]["kind"] == "forest"
        usable = np.ones(len(images), bool)
        for values in [images] if forest else [images, vectors]:
            if values.dtype.kind == "f":
                usable &= np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        return usable

    def _padded(self, values: Array, first: int) -> Array:
        """Return the batch of `values` that begins at `first`, filled up with zeros."""
        found = values[first : first + self.batch]
        missing = self.batch - len(found)
        if not missing:
            return np.ascontiguousarray(found)
        return np.concatenate([found, np.zeros((missing, *found.shape[1:]), found.dtype)])

    def _draws(self, bundle: Bundle, rows: Array) -> Array:
        """Return the draws ``(pass, row)``: functions of bundle, pass and row, without passes of the row alone."""
        if not self.passes:
            return evaluation_draws(rows)[None]
        seed = int(bundle.digest[:8], 16)
        return np.stack([draws(rows, seed=seed, epoch=number) for number in range(self.passes)])


def _symmetries(bundle: Bundle) -> int:
    """Return over how many symmetries of the square a bundle's answers are averaged."""
    return 8 if bundle.preset["input"]["average_symmetries"] else 1


def _check_together(bundles: Sequence[Bundle]) -> None:
    if not bundles:
        raise ModelError("there is no bundle to predict with", "run the train stage first")
    first = bundles[0]
    for other in bundles[1:]:
        for what, ours, theirs in (
            ("images", first.geometry, other.geometry),
            ("vector", first.preset["vector"], other.preset["vector"]),
            ("head", first.preset["head"], other.preset["head"]),
            ("target", first.target, other.target),
        ):
            if ours != theirs:
                raise ModelError(
                    f"bundles that predict together need the same {what}: "
                    f"{first.path} has {ours}, {other.path} has {theirs}",
                    "train them with the same images, head and target settings, or predict with one of them",
                )


@functools.lru_cache(maxsize=2)
def _cached(paths: tuple[str, ...], manifests: tuple[bytes, ...], **settings: Any) -> Predictor:
    return Predictor([load_bundle(path) for path in paths], **settings)


def predictor_for(bundles: Sequence[str], **settings: Any) -> Predictor:
    """Return the predictor of the bundles at these paths, loaded and compiled once a process.

    The settings are those of `Predictor`.
    """
    manifests = [Path(bundle) / "manifest.json" for bundle in bundles]
    read = tuple(path.read_bytes() if path.exists() else b"" for path in manifests)
    with _lock:
        return _cached(tuple(bundles), read, **settings)


@functools.lru_cache(maxsize=2)
def _known(path: str, stamp: int) -> Cube:
    return open_cube(path)


def opened(path: str) -> Cube:
    """Return the cube at `path`, opened once a process unless it is made anew."""
    metadata = Path(path, "zarr.json")
    return _known(path, metadata.stat().st_mtime_ns) if metadata.exists() else open_cube(path)


def check_geometry(cube: Cube, predictor: Predictor) -> None:
    """Refuse a cube of other images than those that the networks have learnt from.

    Raises
    ------
    ModelError
        It has other images.
    """
    if predictor.intake.image and cube.geometry != predictor.geometry:
        raise ModelError(
            f"the bundle {predictor.bundles[0].path} was trained on {predictor.geometry}, "
            f"the cube {cube.path} has {cube.geometry}",
            "train on a cube with the same images settings, or predict on the one it was trained for",
        )
