"""Blocks without work: what the scheduling of many costs, with Dask alone, and with the driver around it."""

import time
from collections.abc import Callable, Sequence

from distributed import as_completed

from cluster.session import DaskSession
from cluster.work import Task, whoami
from pipeline.mill import Mill
from pipeline.stores.staging import Staging
from schemas.records import Receipt, Unit

STAGE = "none"
WORK = "pipeline.scale.empty:no_work"


def no_work() -> Receipt:
    """Return the receipt of a block without work."""
    return Receipt(1, 0, 0.0, STAGE, worker=whoami())


def bare(session: DaskSession, blocks: int, workers: Sequence[str] = ()) -> float:
    """Return the time [s] that Dask takes by itself: ``Client.map``, and each result as it comes."""
    begun = time.perf_counter()
    futures = session.client.map(_returned, range(blocks), pure=False, workers=list(workers) or None)
    count = 0
    for _, _ in as_completed(futures, loop=session.client.loop, with_results=True):
        count += 1
    taken = time.perf_counter() - begun
    assert count == blocks
    del futures
    return taken


def _returned(number: int) -> Receipt:
    return no_work()


def session(workers: DaskSession, blocks: int) -> float:
    """Return the time [s] of the driver's session alone."""
    begun = time.perf_counter()
    count = sum(
        outcome.error is None
        for outcome in workers.run(Task(f"none-{number}", WORK, starts=4) for number in range(blocks))
    )
    taken = time.perf_counter() - begun
    assert count == blocks
    return taken


def _nothing(unit: Unit, staging: Staging) -> dict[str, object]:
    return {}


def ledger(
    mill: Mill, blocks: int, *, begun: Callable[[Unit, Staging], dict[str, object]] = _nothing
) -> float:
    """Return the time [s] of the whole driver: units planned, begun, accepted and read back.

    `begun` is called for each unit when it begins.
    """
    units = [Unit(STAGE, f"{number:06d}", STAGE) for number in range(blocks)]
    mill.ledger.drop_missing(STAGE, [])
    started = time.perf_counter()
    try:
        done = mill.drive(units, WORK, begun)
        taken = time.perf_counter() - started
    finally:
        mill.ledger.drop_missing(STAGE, [])
    assert len(done) == blocks
    return taken
