"""Politeness towards a survey server, global over all workers of a run.

The desk sits in the Dask scheduler, as a plug-in with a few handlers, and is asked over the connection
that a worker has anyway. Without a cluster (planning, tests, benchmarks) the same desk sits in the process.
Both are a `Politeness`; a `Visit` is what a task uses.
"""

import asyncio
import dataclasses
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from distributed import Client, SchedulerPlugin, default_client, get_worker

from cluster.desk import Answer, Desk, Grant, Manners
from schemas.errors import SourceDown

PLUGIN = "skymill-politeness"
POLL_S = 0.1
"""How often [s] a task that waits for a connection asks again."""
TICKETS = 64


class Good(NamedTuple):
    """Good answers not told to the desk yet: how many, and the highest window and epoch of their grants."""

    answers: int = 0
    window: int = 0
    epoch: int = 0


NOTHING = Good()


class Politeness(Protocol):
    """A desk, wherever it sits."""

    async def enter(self, holder: str, wanted: int) -> int:
        """Lend connections to `holder`: at least one, or 0 if it should ask again soon."""

    async def leave(self, holder: str) -> None:
        """Take back the connections of `holder`."""

    async def admit(self, lane: str, wanted: int, good: Good = NOTHING) -> Grant:
        """Return when it is time to start; the good answers since the last call are noted first.

        Raises
        ------
        SourceDown
            If the source has been out of reach for too long.
        """

    async def report(self, grant: Grant, answer: Answer, retry_after_s: float = 0.0) -> bool:
        """Note a refusal or a failure at once; return whether the source is down."""


async def wait_at(desk: Desk, lane: str, wanted: int) -> Grant:
    """Book start times at `desk` and wait for them; a pause that comes between is waited out too."""
    while True:
        grant = desk.reserve(lane, wanted)
        if grant.down:
            return grant
        if (delay_s := grant.start_s - desk.clock()) > 0:
            await asyncio.sleep(delay_s)
        if desk.is_current(grant):
            return grant


def _checked(grant: Grant) -> Grant:
    if grant.down:
        raise SourceDown(grant.down, "run the same command again later; what is done stays done")
    return grant


_LOCAL_DESKS: dict[Manners, Desk] = {}


class LocalPoliteness:
    """A desk in this process, shared by all that name the same manners."""

    def __init__(self, manners: Manners, desk: Desk | None = None) -> None:
        self.desk = desk or _LOCAL_DESKS.setdefault(manners, Desk(manners))

    async def enter(self, holder: str, wanted: int) -> int:
        """See `Politeness.enter`."""
        return self.desk.permits(holder, "local", wanted=wanted)

    async def leave(self, holder: str) -> None:
        """See `Politeness.leave`."""
        self.desk.release(holder)

    async def admit(self, lane: str, wanted: int, good: Good = NOTHING) -> Grant:
        """See `Politeness.admit`."""
        self.desk.good(lane, good.answers, window=good.window, epoch=good.epoch)
        return _checked(await wait_at(self.desk, lane, wanted))

    async def report(self, grant: Grant, answer: Answer, retry_after_s: float = 0.0) -> bool:
        """See `Politeness.report`."""
        return self.desk.report(grant, answer, retry_after_s)


class PolitenessPlugin(SchedulerPlugin):
    """Keep the desks of all sources in the scheduler, and free what a lost worker held."""

    name = PLUGIN
    idempotent = True

    async def start(self, scheduler: Any) -> None:
        """Add the handlers when the plug-in is registered."""
        self.scheduler = scheduler
        self.desks: dict[str, Desk] = {}
        scheduler.handlers.update(
            {
                "skymill_enter": self._enter,
                "skymill_leave": self._leave,
                "skymill_admit": self._admit,
                "skymill_report": self._report,
            }
        )

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        """Free the connections of a worker that left."""
        for desk in self.desks.values():
            desk.drop_worker(worker)

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Free the connections of a driver that left."""
        self.remove_worker(scheduler, client)

    def _desk(self, manners: dict[str, Any]) -> Desk:
        wanted = Manners(**manners)
        desk = self.desks.get(wanted.source)
        if desk is None:
            desk = self.desks[wanted.source] = Desk(wanted)
        elif desk.manners != wanted:
            desk.adopt(wanted)
        return desk

    def _enter(self, manners: dict[str, Any], holder: str, worker: str, wanted: int) -> int:
        sharers = len(self.scheduler.workers)
        return self._desk(manners).permits(holder, worker, wanted=wanted, sharers=sharers)

    def _leave(self, manners: dict[str, Any], holder: str) -> None:
        self._desk(manners).release(holder)

    async def _admit(
        self, manners: dict[str, Any], lane: str, wanted: int, good: tuple[int, int, int]
    ) -> dict[str, Any]:
        desk = self._desk(manners)
        desk.good(lane, good[0], window=good[1], epoch=good[2])
        begun = time.monotonic()
        grant = await wait_at(desk, lane, wanted)
        return {"grant": dataclasses.asdict(grant), "held_s": time.monotonic() - begun}

    def _report(
        self, manners: dict[str, Any], grant: dict[str, Any], answer: str, retry_after_s: float
    ) -> bool:
        return self._desk(manners).report(Grant(**grant), Answer(answer), retry_after_s)


Call = Callable[..., Awaitable[Any]]


class RemotePoliteness:
    """The desk in the scheduler, asked over the worker's or the client's own connection."""

    def __init__(self, manners: Manners, call: Call, worker: str) -> None:
        self._manners = dataclasses.asdict(manners)
        self._call = call
        self._worker = worker

    async def enter(self, holder: str, wanted: int) -> int:
        """See `Politeness.enter`."""
        found = await self._ask("skymill_enter", holder=holder, worker=self._worker, wanted=wanted)
        return int(found)

    async def leave(self, holder: str) -> None:
        """See `Politeness.leave`."""
        await self._ask("skymill_leave", holder=holder)

    async def admit(self, lane: str, wanted: int, good: Good = NOTHING) -> Grant:
        """See `Politeness.admit`."""
        while True:
            begun = time.monotonic()
            found = await self._ask("skymill_admit", lane=lane, wanted=wanted, good=tuple(good))
            grant, good = _checked(Grant(**found["grant"])), NOTHING
            if not grant.is_late(time.monotonic() - begun - found["held_s"]):
                return grant

    async def report(self, grant: Grant, answer: Answer, retry_after_s: float = 0.0) -> bool:
        """See `Politeness.report`."""
        return bool(
            await self._ask(
                "skymill_report",
                grant=dataclasses.asdict(grant),
                answer=answer.value,
                retry_after_s=retry_after_s,
            )
        )

    async def _ask(self, handler: str, **arguments: Any) -> Any:
        return await self._call(handler, manners=self._manners, **arguments)


def install(client: Client) -> None:
    """Put the desks into the scheduler of `client`; a second call changes nothing."""
    client.register_plugin(PolitenessPlugin(), name=PLUGIN)


def reach(manners: Manners) -> Politeness:
    """Return the way to the desk: in the scheduler if ``manners.shared``, else in this process.

    A worker's task uses its worker's connection, the driver that of its client.
    """
    if not manners.shared:
        return LocalPoliteness(manners)
    try:
        node: Any = get_worker()
        name = str(node.address)
    except ValueError:
        node = default_client()
        name = str(node.id)
    return RemotePoliteness(manners, _bridge(node), name)


def _bridge(node: Any) -> Call:
    loop = node.loop.asyncio_loop

    async def call(handler: str, **arguments: Any) -> Any:
        coroutine = getattr(node.scheduler, handler)(**arguments)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))

    return call


class Visit:
    """One task's dealings with a source: its connections, its tickets, its answers.

    Used as ``async with Visit(politeness, wanted=8) as visit``; ``visit.cap`` connections may be used.
    """

    def __init__(self, politeness: Politeness, *, wanted: int) -> None:
        self._politeness = politeness
        self._wanted = wanted
        self._holder = secrets.token_hex(8)
        self._tickets: deque[tuple[float, Grant]] = deque()
        self._turn = asyncio.Lock()
        self._good = NOTHING
        self.permits = 0
        self.cap = 0

    async def __aenter__(self) -> "Visit":
        while not (count := await self._politeness.enter(self._holder, self._wanted)):
            await asyncio.sleep(POLL_S)
        self.permits = self.cap = count
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._politeness.leave(self._holder)

    async def ticket(self, lane: str) -> Grant:
        """Wait until one request may be sent.

        Raises
        ------
        SourceDown
            If the source has been out of reach for too long.
        """
        while True:
            while not self._tickets:
                async with self._turn:
                    if not self._tickets:
                        await self._ask(lane)
            due_s, grant = self._tickets.popleft()
            if (delay_s := due_s - time.monotonic()) > 0:
                await asyncio.sleep(delay_s)
            if not grant.is_late(time.monotonic() - due_s):
                return grant

    def good(self, grant: Grant) -> None:
        """Note an answer of a living server; the desk hears of it with the next request for tickets."""
        count, window, epoch = self._good
        self._good = Good(count + 1, max(window, grant.window), max(epoch, grant.epoch))

    async def bad(self, grant: Grant, answer: Answer, retry_after_s: float = 0.0) -> bool:
        """Report a refusal or a failure at once; return whether the source is down."""
        down = await self._politeness.report(grant, answer, retry_after_s)
        self._tickets.clear()
        return down

    async def alive(self, grant: Grant) -> None:
        """Report at once that the server lives, as after a probe."""
        await self._politeness.report(grant, Answer.GOOD)

    async def _ask(self, lane: str) -> None:
        good, self._good = self._good, NOTHING
        grant = await self._politeness.admit(lane, TICKETS, good)
        self.cap = min(self.permits, grant.cap)
        now = time.monotonic()
        self._tickets.extend((now + k * grant.interval_s, grant) for k in range(grant.count))
