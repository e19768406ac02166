"""Infer: one task a block; the networks are loaded once a worker."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distributed import get_worker

from cluster.work import whoami
from model.prediction import predict_block
from pipeline.stores.staging import Staging, seal
from schemas.records import Receipt


def infer_block(
    *,
    cube: str,
    bundles: Sequence[str],
    rows: tuple[int, int],
    passes: int = 0,
    engine: str = "auto",
    batch: int | None = None,
    recalibration: Mapping[str, Any] | None = None,
    staging: Staging,
    final: str,
) -> Receipt:
    """Predict rows ``rows[0]`` to ``rows[1]`` (exclusive) of a cube into one Parquet part.

    Parameters
    ----------
    cube : str
        The cube.
    bundles : sequence of str
        Folders of one or more trained networks, which predict together.
    rows : tuple
        First row, and the one after the last.
    passes : int
        Passes of each network with dropout active; 0 for one without.
    engine : str
        ``auto``, ``openvino`` or ``tensorflow``.
    batch : int, optional
        Images that are computed at once.
    recalibration : mapping, optional
        What mends PDFs or errors, as the stage ``calibrate`` has learnt it.
    staging : Staging
        Where the part waits to be accepted.
    final : str
        Where it belongs then.

    Raises
    ------
    ModelError
        If a bundle is damaged, the cube has another geometry than the network, or the engine is not there.
    StoreError
        If the part cannot be written.
    """
    started = time.monotonic()
    with staging.opened() as folder:
        out = folder / Path(final).name
        facts = predict_block(
            cube=cube,
            bundles=bundles,
            start=rows[0],
            stop=rows[1],
            out=str(out),
            passes=passes,
            engine=engine,
            batch=batch,
            threads=threads_of_worker(),
            recalibration=recalibration,
        )
        product = seal(out, Path(final))
    return Receipt(
        rows=int(facts["rows"]),
        bytes=product.bytes,
        seconds=time.monotonic() - started,
        digest=str(facts["digest"]),
        products=(product,),
        worker=whoami(),
    )


def threads_of_worker() -> int:
    """Return how many tasks this process may work on at the same time."""
    try:
        return int(get_worker().state.nthreads)
    except ValueError:  # not within a task
        return 1
