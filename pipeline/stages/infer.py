"""Infer: one task a block; the network is loaded once a worker."""

import time
from pathlib import Path

from cluster.work import whoami
from model.prediction import predict_block
from pipeline.stores.staging import Staging, seal
from schemas.records import Receipt


def infer_block(*, cube: str, bundle: str, rows: tuple[int, int], staging: Staging, final: str) -> Receipt:
    """Predict rows ``rows[0]`` to ``rows[1]`` (exclusive) of a cube into one Parquet part.

    Raises
    ------
    ModelError
        If the bundle is damaged, or the cube has another geometry than the network.
    StoreError
        If the part cannot be written.
    """
    started = time.monotonic()
    with staging.opened() as folder:
        out = folder / Path(final).name
        facts = predict_block(cube=cube, bundle=bundle, start=rows[0], stop=rows[1], out=str(out))
        product = seal(out, Path(final))
    return Receipt(
        rows=int(facts["rows"]),
        bytes=product.bytes,
        seconds=time.monotonic() - started,
        digest=str(facts["digest"]),
        products=(product,),
        worker=whoami(),
    )
