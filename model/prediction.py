"""Prediction: a block of a cube in, one Parquet part out.

While a batch is computed, the next one is read and the one before is written.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.answering import answered
from model.estimates import bin_edges, combine
from model.parts import PDF_TYPE, Part
from model.predictor import Predictor, check_geometry, opened, predictor_for
from model.recalibration import recalibrated
from schemas import arrays
from schemas.flags import Status

Array = NDArray[Any]


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
    recalibration: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Predict the rows `start` to `stop` (exclusive) of a cube that were fetched well.

    Writes one Parquet file at `out`, not synced: ``row, id, ra, dec, z_spec, z_phot, z_phot_err, flags, split``
    and, for a head with a PDF, ``pdf``; the bins' edges are in the schema's metadata under ``skymill``. The
    same block and bundles give the same bytes. Several bundles and passes are averaged (`model.estimates.combine`);
    the dropout of a pass is a function of bundle, pass and row. A `recalibration` that was learnt is applied to each
    row (`model.recalibration`).

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
    source = opened(cube)
    predictor = predictor_for(tuple(bundles), passes=passes, engine=engine, batch=batch, threads=threads)
    check_geometry(source, predictor)
    bins = int(predictor.head["bins"]) if predictor.head["kind"] == "bins" else 0
    good = source.read(arrays.STATUS.name, start, stop) == Status.OK
    facts = _facts(predictor) | ({"recalibration": dict(recalibration)} if recalibration else {})
    with Part(Path(out), facts, bins=bins) as part, _behind(part.add) as write:
        for columns, answers in answered(source, predictor, start, good):
            write(functools.partial(_columns, columns, answers, predictor.head, recalibration))
    return {"rows": part.rows, "digest": part.digest(predictor.digest)}


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


def _columns(
    copied: dict[str, Array], answers: Array, head: Any, recalibration: Mapping[str, Any] | None
) -> dict[str, Array]:
    """Return the columns of some rows."""
    found = combine(answers, head)
    if recalibration:
        found = recalibrated(found, head, recalibration)
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
