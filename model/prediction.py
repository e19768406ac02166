"""Prediction: a block of a cube in, one Parquet part out.

A network always sees batches of one fixed shape, the last one padded, so results depend neither on what else
is in a batch nor on how a cube is cut into blocks. The network is compiled once a process. TensorFlow is
imported when the first network is loaded, not with this module.
"""

import functools
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from model.bundles import Bundle, load_bundle
from model.cubes import Cube, open_cube, read_ahead
from model.estimates import Estimates, bin_edges, estimate
from model.files import disk_errors
from model.order import apply_symmetry
from model.threads import import_with_tensorflow
from schemas import arrays
from schemas.errors import ModelError
from schemas.flags import Status

Array = NDArray[Any]
Answer = Callable[[Array], Array]
"""The head's answers to images of one fixed shape ``(batch, y, x, band)``."""

DEFAULT_BATCH = 128
_ROWS_PER_GROUP = 1 << 20
_COPIED: dict[str, tuple[str, Any]] = {
    "id": (arrays.ID.name, np.uint64),
    "ra": (arrays.RA.name, np.float64),
    "dec": (arrays.DEC.name, np.float64),
    "z_spec": (arrays.LABEL.name, np.float32),
    "split": (arrays.SPLIT.name, np.uint8),
}
"""Columns of a part that are copied from the cube: array and type."""
_COLUMNS = ("row", "id", "ra", "dec", "z_spec", "z_phot", "z_phot_err", "flags", "split")
_lock = threading.Lock()


def frozen_engine(bundle: Bundle, batch: int) -> Answer:
    """Compile a bundle's network with TensorFlow, its weights frozen into the graph; one thread computes."""
    networks = import_with_tensorflow("model.networks", threads=1)
    engines = import_with_tensorflow("model.engines", threads=1)
    network = networks.build_network(bundle.preset, bundle.geometry, seed=0)
    shapes = [tuple(weight.shape) for weight in network.weights]
    if shapes != [weight.shape for weight in bundle.weights]:
        raise ModelError(
            f"the weights of {bundle.path} do not fit preset {bundle.preset.name!r} of this version",
            "use the version that trained the bundle (it is in run.json), or train again",
        )
    network.set_weights(list(bundle.weights))
    answer: Answer = engines.inference(network, bundle.preset["head"], batch)
    return answer


class Predictor:
    """A bundle ready to predict.

    Parameters
    ----------
    bundle : Bundle
        The trained network.
    batch : int
        Images that are computed at once.
    """

    def __init__(self, bundle: Bundle, *, batch: int = DEFAULT_BATCH) -> None:
        self.bundle, self.batch = bundle, batch
        self._answer = frozen_engine(bundle, batch)
        self._symmetries = range(8) if bundle.preset["input"]["average_symmetries"] else range(1)

    def __call__(self, images: Array) -> Estimates:
        """Predict ``(n, y, x, band)`` images as stored, any n."""
        if images.shape[1:] != self._shape or images.dtype != np.uint8:
            raise ModelError(
                f"the bundle {self.bundle.path} wants uint8 images {self._shape}, "
                f"found {images.dtype} {images.shape[1:]}",
                "predict on a cube with the images settings the bundle was trained with",
            )
        parts = [self._batch(images[i : i + self.batch]) for i in range(0, len(images), self.batch)]
        answers = np.concatenate(parts) if parts else np.zeros((0, self._width), np.float32)
        return estimate(answers, self.bundle.preset["head"])

    @property
    def _shape(self) -> tuple[int, ...]:
        geometry = self.bundle.geometry
        return (geometry.pixels, geometry.pixels, len(geometry.bands))

    @property
    def _width(self) -> int:
        head = self.bundle.preset["head"]
        return int(head["bins"]) if head["kind"] == "bins" else 1

    def _batch(self, images: Array) -> Array:
        given = len(images)
        if given < self.batch:
            images = np.concatenate([images, np.zeros((self.batch - given, *images.shape[1:]), np.uint8)])
        total = np.asarray(self._answer(images), np.float32)
        for code in self._symmetries[1:]:
            total = total + self._answer(np.ascontiguousarray(apply_symmetry(images, code)))
        return total[:given] / np.float32(len(self._symmetries))


@functools.lru_cache(maxsize=2)
def _cached(path: str, manifest: bytes, batch: int) -> Predictor:
    return Predictor(load_bundle(path), batch=batch)


def predictor_for(bundle: str, *, batch: int = DEFAULT_BATCH) -> Predictor:
    """Return the predictor of the bundle at path `bundle`: loaded and compiled once a process."""
    manifest = Path(bundle) / "manifest.json"
    with _lock:
        return _cached(bundle, manifest.read_bytes() if manifest.exists() else b"", batch)


def predict_block(
    *, cube: str, bundle: str, start: int, stop: int, out: str, batch: int = DEFAULT_BATCH
) -> dict[str, Any]:
    """Predict the rows `start` to `stop` (exclusive) of a cube that were fetched well.

    Writes one Parquet file at `out`, not synced: ``row, id, ra, dec, z_spec, z_phot, z_phot_err, flags, split``
    and, for a head with a PDF, ``pdf``; the bins' edges are in the schema's metadata under ``skymill``. The
    same block and bundle give the same bytes.

    Returns
    -------
    dict
        ``rows``, and ``digest`` of the columns' content.

    Raises
    ------
    ModelError
        The bundle is damaged, or was trained on images of another geometry.
    StoreError
        The cube cannot be read, or the part not be written.
    """
    source = open_cube(cube)
    predictor = predictor_for(bundle, batch=batch)
    _check_geometry(source, predictor.bundle)
    columns = _predict(source, predictor, start, stop)
    table = _table(columns, predictor.bundle)
    with disk_errors(Path(out)), Path(out).open("wb") as file:
        pq.write_table(table, file, compression="zstd", use_dictionary=False, row_group_size=_ROWS_PER_GROUP)
    return {"rows": table.num_rows, "digest": _content_digest(columns, predictor.bundle)}


def _check_geometry(cube: Cube, bundle: Bundle) -> None:
    if cube.geometry != bundle.geometry:
        raise ModelError(
            f"the bundle {bundle.path} was trained on {bundle.geometry}, "
            f"the cube {cube.path} has {cube.geometry}",
            "train on a cube with the same images settings, or predict on the one it was trained for",
        )


def _slices(cube: Cube, start: int, stop: int, batch: int) -> Iterator[tuple[int, int]]:
    """Yield chunk-aligned parts of a block, each about two batches."""
    length = -(-2 * batch // cube.rows_per_chunk) * cube.rows_per_chunk
    first = start
    while first < stop:
        last = min(stop, first - first % cube.rows_per_chunk + length)
        yield first, last
        first = last


def _predict(cube: Cube, predictor: Predictor, start: int, stop: int) -> dict[str, Array]:
    """Return the columns of a block; the next slice is read while one is computed, the small columns last."""
    status = cube.read(arrays.STATUS.name, start, stop)
    rows = np.flatnonzero(status == Status.OK).astype(np.int64)

    def read(span: tuple[int, int] | None) -> Any:
        if span is None:
            return {name: cube.read(name, start, stop)[rows].astype(kind) for name, kind in _COPIED.values()}
        good = status[span[0] - start : span[1] - start] == Status.OK
        images = cube.read(arrays.IMAGE.name, *span)
        return images if good.all() else images[good]

    parts: list[Estimates] = []
    waiting, copied = np.zeros((0, *cube.array(arrays.IMAGE.name).shape[1:]), np.uint8), {}
    with read_ahead(map(read, [*_slices(cube, start, stop, predictor.batch), None])) as (results, go_on):
        for result in results:
            go_on()
            if isinstance(result, dict):
                copied = result
                break
            waiting = np.concatenate([waiting, result]) if len(waiting) else result
            whole = len(waiting) // predictor.batch * predictor.batch
            parts.append(predictor(waiting[:whole]))
            waiting = waiting[whole:]
    parts.append(predictor(waiting))
    columns = {
        "row": rows + start,
        **{column: copied[name] for column, (name, _) in _COPIED.items()},
        "z_phot": np.concatenate([part.z for part in parts]),
        "z_phot_err": np.concatenate([part.error for part in parts]),
        "flags": np.concatenate([part.flags for part in parts]),
    }
    pdfs = [part.pdf for part in parts if part.pdf is not None]
    return columns | ({"pdf": np.concatenate(pdfs).astype(np.float16)} if pdfs else {})


def _table(columns: dict[str, Array], bundle: Bundle) -> pa.Table:
    data: dict[str, pa.Array] = {name: pa.array(columns[name]) for name in _COLUMNS}
    facts: dict[str, Any] = {"bundle": bundle.digest, "target": bundle.target}
    if "pdf" in columns:
        flat = pa.array(columns["pdf"].reshape(-1))
        data["pdf"] = pa.FixedSizeListArray.from_arrays(flat, columns["pdf"].shape[1])
        facts |= {"pdf_edges": bin_edges(bundle.preset["head"]).tolist(), "pdf_dtype": "float16"}
    return pa.table(data).replace_schema_metadata({b"skymill": json.dumps(facts, sort_keys=True).encode()})


def _content_digest(columns: dict[str, Array], bundle: Bundle) -> str:
    whole = hashlib.sha256(bundle.digest.encode())
    for name in sorted(columns):
        whole.update(name.encode() + np.ascontiguousarray(columns[name]).tobytes())
    return whole.hexdigest()
