"""Train: one task, which starts a trainer process and watches it.

A bundle is named by what it was made from. Its checkpoints lie outside the staging area, under the same
name, so that a trainer that was killed is taken up where its last whole epoch ended.
"""

import logging
import time
from pathlib import Path
from typing import Any

from cluster.work import whoami
from model.jobs import TrainingJob
from model.launch import run_trainer
from pipeline.stores.staging import Staging, seal
from schemas.records import Receipt

logger = logging.getLogger(__name__)


def train_model(*, job: dict[str, Any], staging: Staging, final: str) -> Receipt:
    """Train the network of `job` and return the receipt of its bundle.

    Parameters
    ----------
    job : dict
        Keywords of `model.jobs.TrainingJob`, less its bundle folder.
    staging : Staging
        Where the bundle waits to be accepted.
    final : str
        Folder it belongs in then.

    Raises
    ------
    ModelError
        If the network, its data or its training is at fault.
    """
    started = time.monotonic()
    with staging.opened() as folder:
        result = run_trainer(TrainingJob(**job, bundle=str(folder)), on_progress=_note)
        products = tuple(seal(path, Path(final, path.name)) for path in sorted(folder.iterdir()))
    return Receipt(
        rows=sum(result.rows.get(part, 0) for part in ("train", "validation")),
        bytes=sum(product.bytes for product in products),
        seconds=time.monotonic() - started,
        digest=result.digest,
        products=products,
        facts={
            "best_epoch": result.best_epoch,
            "epochs": result.epochs,
            "rows": result.rows,
            "code": job["provenance"]["code"],
            "packages": job["provenance"]["packages"],
            "metrics": result.metrics,
            "history": result.history,
        },
        worker=whoami(),
    )


def _note(event: dict[str, Any]) -> None:
    if ignored := event.get("checkpoint_ignored"):
        logger.warning("the training begins anew: %s", ignored)
