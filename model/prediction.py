"""Prediction: a block of a cube in, one Parquet part out.

A network always sees batches of one fixed shape, the last one padded, so results depend neither on what else
is in a batch nor on how a cube is cut into blocks. Each batch is read once, whatever the number of networks and
passes. While it is computed, the next one is read and the one before is written. Networks are compiled once a
process; a framework is imported when the first one is loaded, not with this module.
"""

import functools
import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.bundles import Bundle, load_bundle
from model.cubes import Cube, open_cube, read_ahead
from model.estimates import bin_edges, combine
from model.order import apply_symmetry, draws
from model.parts import PDF_TYPE, Part
from model.runtimes import AHEAD, Answer, engine_of, make_answer
from schemas import arrays
from schemas.errors import ModelError
from schemas.flags import Status

Array = NDArray[Any]

DEFAULT_BATCH = 32
"""Images that are computed at once: what they take fits into a core's cache (decision 0012)."""
_ANSWERS_BYTES = 8 << 20
"""Of answers, before they are combined, that are made at once."""
_SLICE_BYTES = 8 << 20
"""Of images that are read at once; the reader costs least with slices of several chunks."""
_COPIED = {
    "id": arrays.ID.name,
    "ra": arrays.RA.name,
    "dec": arrays.DEC.name,
    "z_spec": arrays.LABEL.name,
    "split": arrays.SPLIT.name,
}
"""Columns of a part that are copied from the cube, and the arrays they come from."""
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
        Images that are computed at once.
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
        batch: int = DEFAULT_BATCH,
        threads: int = 1,
    ) -> None:
        _check_together(bundles)
        self.bundles, self.passes, self.batch = tuple(bundles), passes, batch
        self.head, self.geometry = bundles[0].preset["head"], bundles[0].geometry
        self.engines = [engine_of(bundle, engine) for bundle in bundles]
        self._answers: list[Answer] = [
            make_answer(bundle, engine=engine, batch=batch, passes=passes, threads=threads)
            for bundle in bundles
        ]

    def __call__(self, images: Array, rows: Array | None = None) -> Array:
        """Answer to ``(n, y, x, band)`` images as stored, any n: ``(m, n, width)``, of each bundle's passes.

        `rows` are their rows in the cube, which decide their dropout; 0 to n if not given.
        """
        if images.shape[1:] != self._shape or images.dtype != np.uint8:
            raise ModelError(
                f"the bundle {self.bundles[0].path} wants uint8 images {self._shape}, "
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
            batch, its_rows = self._padded(images, rows, first)
            for member, (bundle, begin) in enumerate(zip(self.bundles, self._answers, strict=True)):
                draw = self._draws(bundle, its_rows)
                for code in range(_symmetries(bundle)):
                    if len(begun) == AHEAD:
                        take()
                    turned = np.ascontiguousarray(apply_symmetry(batch, code))
                    begun.append((answers[member, :, first : first + self.batch], begin(turned, draw)))
        while begun:
            take()
        for member, bundle in enumerate(self.bundles):
            answers[member] /= _symmetries(bundle)
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
        return int(self.head["bins"]) if self.head["kind"] == "bins" else 1

    @property
    def _shape(self) -> tuple[int, ...]:
        return (self.geometry.pixels, self.geometry.pixels, len(self.geometry.bands))

    def _padded(self, images: Array, rows: Array, first: int) -> tuple[Array, Array]:
        """Return the batch that begins at `first`, filled up with black images."""
        images, rows = images[first : first + self.batch], rows[first : first + self.batch]
        missing = self.batch - len(images)
        if not missing:
            return images, rows
        black = np.zeros((missing, *self._shape), np.uint8)
        return np.concatenate([images, black]), np.concatenate([rows, np.zeros(missing, rows.dtype)])

    def _draws(self, bundle: Bundle, rows: Array) -> Array:
        """Return the dropout's draws ``(pass, row)``: functions of bundle, pass and row alone."""
        if not self.passes:
            return np.zeros((1, len(rows)), np.int32)
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


def _opened(path: str) -> Cube:
    """Return the cube at `path`, opened once a process unless it is made anew."""
    metadata = Path(path, "zarr.json")
    return _known(path, metadata.stat().st_mtime_ns) if metadata.exists() else open_cube(path)


def predict_block(
    *,
    cube: str,
    bundles: Sequence[str],
    start: int,
    stop: int,
    out: str,
    passes: int = 0,
    engine: str = "auto",
    batch: int | None = None,
    threads: int = 1,
) -> dict[str, Any]:
    """Predict the rows `start` to `stop` (exclusive) of a cube that were fetched well.

    Writes one Parquet file at `out`, not synced: ``row, id, ra, dec, z_spec, z_phot, z_phot_err, flags, split``
    and, for a head with a PDF, ``pdf``; the bins' edges are in the schema's metadata under ``skymill``. The
    same block and bundles give the same bytes. Several bundles and passes are averaged (`model.estimates.combine`);
    the dropout of a pass is a function of bundle, pass and row.

    Returns
    -------
    dict
        ``rows``, and ``digest`` of the columns' content.

    Raises
    ------
    ModelError
        A bundle is damaged, or was trained on images of another geometry; the bundles do not belong together; or
        the engine cannot compute them.
    StoreError
        The cube cannot be read, or the part not be written.
    """
    source = _opened(cube)
    predictor = predictor_for(
        tuple(bundles), passes=passes, engine=engine, batch=batch or DEFAULT_BATCH, threads=threads
    )
    _check_geometry(source, predictor)
    bins = int(predictor.head["bins"]) if predictor.head["kind"] == "bins" else 0
    with Part(Path(out), _facts(predictor), bins=bins) as part, _behind(part.add) as write:
        for columns, answers in _answered(source, predictor, start, stop):
            write(functools.partial(_columns, columns, answers, predictor.head))
    return {"rows": part.rows, "digest": part.digest(predictor.digest)}


def _check_geometry(cube: Cube, predictor: Predictor) -> None:
    if cube.geometry != predictor.geometry:
        raise ModelError(
            f"the bundle {predictor.bundles[0].path} was trained on {predictor.geometry}, "
            f"the cube {cube.path} has {cube.geometry}",
            "train on a cube with the same images settings, or predict on the one it was trained for",
        )


def _facts(predictor: Predictor) -> dict[str, Any]:
    """Return what a part says of itself."""
    facts: dict[str, Any] = {
        "bundle": predictor.digest,
        "bundles": [bundle.digest for bundle in predictor.bundles],
        "engines": predictor.engines,
        "passes": predictor.passes,
        "target": predictor.bundles[0].target,
    }
    if predictor.head["kind"] == "bins":
        facts |= {"pdf_edges": bin_edges(predictor.head).tolist(), "pdf_dtype": np.dtype(PDF_TYPE).name}
    return facts


def _columns(copied: dict[str, Array], answers: Array, head: Any) -> dict[str, Array]:
    """Return the columns of some rows."""
    found = combine(answers, head)
    columns = {**copied, "z_phot": found.z, "z_phot_err": found.error, "flags": found.flags}
    return columns if found.pdf is None else columns | {"pdf": found.pdf.astype(PDF_TYPE)}


@contextmanager
def _behind(add: Callable[[Any], None]) -> Iterator[Callable[[Callable[[], Any]], None]]:
    """Give a function that makes and adds something in one background thread, in order, at most two behind.

    An error of it is raised here, at a later call or at the end.
    """
    waiting: list[Future[None]] = []
    with ThreadPoolExecutor(1, thread_name_prefix="part-writer") as pool:

        def write(make: Callable[[], Any]) -> None:
            if len(waiting) > 1:
                waiting.pop(0).result()
            waiting.append(pool.submit(lambda: add(make())))

        yield write
        for one in waiting:
            one.result()


def _answered(
    cube: Cube, predictor: Predictor, start: int, stop: int
) -> Iterator[tuple[dict[str, Array], Array]]:
    """Yield the answers to the rows that were fetched well, whole batches at a time, with the copied columns."""
    status = cube.read(arrays.STATUS.name, start, stop)
    rows = np.flatnonzero(status == Status.OK) + start
    done, copied, found = 0, {}, []
    waiting = np.zeros((0, *cube.array(arrays.IMAGE.name).shape[1:]), np.uint8)
    with read_ahead(_read(cube, status, start, stop)) as (results, go_on):
        for result in results:
            go_on()
            if isinstance(result, dict):
                copied, result = result, waiting[:0]
            waiting = np.concatenate([waiting, result]) if len(waiting) else result
            ready = len(waiting) // predictor.batch * predictor.batch
            if done + len(waiting) == len(rows):  # nothing comes after it
                ready = len(waiting)
            for first in range(0, ready, predictor.most):
                last = min(first + predictor.most, ready)
                span = slice(done + first, done + last)
                found.append((span, predictor(waiting[first:last], rows[span])))
            waiting, done = waiting[ready:], done + ready
            if copied:
                for span, answers in found:
                    yield (
                        {"row": rows[span], **{name: values[span] for name, values in copied.items()}},
                        answers,
                    )
                found = []


def _read(cube: Cube, status: Array, start: int, stop: int) -> Iterator[Any]:
    """Yield the good images slice by slice, and second the good rows of the columns that are copied.

    The first slice is short, so that there soon is something to compute.
    """
    good = status == Status.OK
    for number, (first, last) in enumerate(_slices(cube, start, stop)):
        chosen = good[first - start : last - start]
        if chosen.any():
            images = cube.read(arrays.IMAGE.name, first, last)
            yield images if chosen.all() else images[chosen]
        if number == 0:
            yield {column: cube.read(name, start, stop)[good] for column, name in _COPIED.items()}


def _slices(cube: Cube, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield parts of a block that end where chunks end: one chunk, then longer ones."""
    chunk = cube.rows_per_chunk
    chunk_bytes = chunk * cube.geometry.pixels**2 * len(cube.geometry.bands)
    first, length = start, chunk
    while first < stop:
        last = min(stop, first - first % chunk + length)
        yield first, last
        first, length = last, max(1, _SLICE_BYTES // chunk_bytes) * chunk
