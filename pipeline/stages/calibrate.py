"""Calibrate: one task, which predicts the calibration part and learns from it what mends PDFs or errors."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.work import find, whoami
from pipeline.stages.infer import threads_of_worker
from pipeline.stores.staging import Staging, disk_errors, seal
from schemas.digests import digest_of
from schemas.records import Receipt


def calibrate_predictions(
    *,
    cube: str,
    bundles: Sequence[str],
    settings: Mapping[str, Any],
    made_from: Mapping[str, Any],
    staging: Staging,
    final: str,
) -> Receipt:
    """Learn a recalibration, and write it as ``calibration.json``.

    Parameters
    ----------
    cube : str
        The cube of the training sample.
    bundles : sequence of str
        Folders of the networks that predict together.
    settings : mapping
        Further keywords of `model.calibrating.calibrate`.
    made_from : mapping
        What the file says of where its numbers come from.
    staging : Staging
        Where the file waits to be accepted.
    final : str
        Where it belongs then.

    Raises
    ------
    ModelError
        If there are too few rows, or they cannot be mended; or the networks cannot predict.
    StoreError
        If the cube cannot be read, or the file not be written.
    """
    started = time.monotonic()
    calibrate = find("model.calibrating:calibrate")  # with SciPy, which those who predict do without
    found: dict[str, Any] = calibrate(cube=cube, bundles=bundles, threads=threads_of_worker(), **settings)
    said = {**found, "made_from": dict(made_from)}
    with staging.opened() as folder:
        out = folder / Path(final).name
        with disk_errors(out):
            out.write_text(json.dumps(said, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        product = seal(out, Path(final))
    return Receipt(
        rows=int(found["rows"]),
        bytes=product.bytes,
        seconds=time.monotonic() - started,
        digest=digest_of(said),
        products=(product,),
        facts=said,
        worker=whoami(),
    )
