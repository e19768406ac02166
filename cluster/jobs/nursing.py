"""A Dask nanny in a worker's job: from joining a scheduler to leaving it."""

import asyncio
import contextlib
import time

import dask
from distributed import Nanny, rpc
from distributed.comm import connect
from distributed.core import Status

from cluster.jobs.asking import MEMORY_SHARE, interface_of
from cluster.jobs.departure import Departure, Life
from cluster.jobs.times import say
from cluster.jobs.worker import Bench
from cluster.session import SETTINGS

TICK_S = 0.2
LOOK_S = 1.0
"""How often [s] it looks whether the submission has ended."""
START_S = 300.0
"""A worker process may take so long [s] to begin: its packages may come from a slow shared disk."""
PLENTY = 1e9


def nurse(bench: Bench, address: str, number: int, departure: Departure) -> tuple[str, bool]:
    """Look after one worker until it has ended; say why it did, and whether it had joined.

    Parameters
    ----------
    bench : Bench
        Where it works.
    address : str
        Of the Dask scheduler.
    number : int
        Which worker of this job it is.
    departure : Departure
        When its job is to leave.
    """
    return asyncio.run(_nurse(bench, address, number, departure))


async def _nurse(bench: Bench, address: str, number: int, departure: Departure) -> tuple[str, bool]:
    dask.config.set(SETTINGS)
    try:
        await _probe(address, bench.times.join_s)
        bench.scratch.mkdir(parents=True, exist_ok=True)
        nanny = await _nanny(bench, address, number)
    except (OSError, TimeoutError, RuntimeError, ValueError) as error:
        why = f"the Dask scheduler at {address} could not be joined: {type(error).__name__}: {error}"
        return why, False
    say(f"worker {nanny.worker_address} has joined the Dask scheduler at {address}")
    try:
        return await _watch(nanny, bench, Life(departure, bench.lifetime_s)), True
    finally:
        await nanny.close(timeout=2.0)


async def _probe(address: str, within_s: float) -> None:
    """Raise an error if no scheduler listens there: its file may be older than its end."""
    comm = await connect(address, timeout=within_s)
    await comm.close()


async def _nanny(bench: Bench, address: str, number: int) -> Nanny:
    stages: dict[str, float] = dict.fromkeys(bench.pool.stages, PLENTY)
    return await Nanny(
        address,
        name=f"{bench.name}-{number}",
        nthreads=bench.pool.threads,
        memory_limit=int(MEMORY_SHARE * bench.pool.memory_gib * 2**30),
        local_directory=str(bench.scratch),
        resources={**stages, "memory_gib": bench.pool.memory_gib},
        interface=interface_of(bench.site) or None,
        death_timeout=START_S,
        preload=["cluster.jobs.leaving"],
        preload_argv=bench.work,
    )


async def _watch(nanny: Nanny, bench: Bench, life: Life) -> str:
    looked_s = time.monotonic()
    while nanny.status not in (Status.closing, Status.closed, Status.failed):
        if why := life.why:
            say(f"the worker leaves within {life.left_s:.0f} s: {why}")
            await _leave(nanny, life)
            return f"the worker has left: {why}"
        if time.monotonic() - looked_s > LOOK_S:
            looked_s = time.monotonic()
            if bench.over:
                return "the worker is not needed any more"
        await asyncio.sleep(TICK_S)
    return "the Dask scheduler is gone"


async def _leave(nanny: Nanny, life: Life) -> None:
    """Have the worker process leave, and wait for it as long as there is time."""
    told_s = float("inf")
    while nanny.status not in (Status.closing, Status.closed, Status.failed) and life.left_s > 0:
        if life.left_s < told_s - 1.0:
            told_s = life.left_s
            await _tell(nanny, life)
        await asyncio.sleep(TICK_S)
        told_s -= TICK_S


async def _tell(nanny: Nanny, life: Life) -> None:
    if nanny.worker_address is None:
        return
    with contextlib.suppress(OSError, TimeoutError):
        async with rpc(nanny.worker_address) as worker:
            answer = worker.skymill_leave(left_s=life.left_s, life_s=life.seconds)
            await asyncio.wait_for(answer, max(0.1, life.left_s))
