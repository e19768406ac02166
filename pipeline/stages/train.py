"""Train: one task a member of a group, which starts a trainer process and watches it.

A bundle is named by what it was made from. Its checkpoints lie outside the staging area, under the same
name, so that a training that was stopped is taken up at its last durable step.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from cluster.work import whoami
from model.jobs import TrainingJob, TrainingResult
from model.launch import run_trainer
from pipeline.stores.staging import Staging, clean, seal
from schemas.records import Place, Receipt

Tell = Callable[[dict[str, Any]], None]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Regroup:
    """The training stopped at an epoch's end, and wants to begin its next generation with whoever is there."""

    regroup: bool = True


def train_member(
    *,
    job: Mapping[str, Any],
    staging: Staging,
    final: str,
    place: Place,
    tell: Tell,
    stopped: Callable[[], bool],
    trial: Mapping[str, Any] | None = None,
) -> Receipt | Regroup | None:
    """Train the network of `job` as one member of a group; rank 0 returns the receipt of its bundle.

    Parameters
    ----------
    job : mapping
        Keywords of `model.jobs.TrainingJob`, less its bundle folder.
    staging : Staging
        Where the bundle waits to be accepted.
    final : str
        Folder it belongs in then.
    place : Place
        Where this member stands in its group.
    tell, stopped : callable
        Takes what the trainer says; says whether the trainer has to end.
    trial : mapping, optional
        The values that are tried, if this is a trial: its numbers are kept, its bundle is not.

    Returns
    -------
    Receipt, Regroup or None
        None from all ranks but 0 of a training that came to its end.

    Raises
    ------
    ModelError
        If the network, its data or its training is at fault.
    WorkerError
        If the trainer was killed, was silent for too long, or lost a peer.
    """
    started = time.monotonic()
    if job.get("backend", "tensorflow") != "tensorflow":  # these train on one worker; the others rest
        if place.rank:
            return None
        place = replace(place, members=place.members[:1])
    train = partial(
        run_trainer, place=place, on_progress=partial(_pass_on, tell, place.rank), stopped=stopped
    )
    if place.rank:
        result = train(TrainingJob(**job, bundle=""))
        return Regroup() if result is not None and result.regroup else None
    with staging.opened() as folder:
        result = train(TrainingJob(**job, bundle=str(folder)))
        assert result is not None, "rank 0 has a result"
        if result.regroup or trial is not None:
            clean(folder)
        if result.regroup:
            return Regroup()
        made = sorted(folder.iterdir()) if trial is None else []
        products = tuple(seal(path, Path(final, path.name)) for path in made)
    return Receipt(
        rows=sum(result.rows.get(part, 0) for part in ("train", "validation")),
        bytes=sum(product.bytes for product in products),
        seconds=time.monotonic() - started,
        digest=result.digest,
        products=products,
        facts=_facts(result, job) | ({"trial": dict(trial)} if trial is not None else {}),
        worker=whoami(),
    )


def _facts(result: TrainingResult, job: Mapping[str, Any]) -> dict[str, Any]:
    best = next((entry for entry in result.history if entry["epoch"] == result.best_epoch), {})
    return {
        "best_epoch": result.best_epoch,
        "val_loss": best.get("val_loss"),
        "epochs": result.epochs,
        "rows": result.rows,
        "overrides": dict(job["overrides"]),
        "seed": job["seed"],
        "code": job["provenance"]["code"],
        "packages": job["provenance"]["packages"],
        "metrics": result.metrics,
        "history": result.history,
    }


def _pass_on(tell: Tell, rank: int, event: dict[str, Any]) -> None:
    if ignored := event.get("checkpoint_ignored"):
        logger.warning("the training begins anew: %s", ignored)
    tell({**event, "rank": rank})
