"""The loop that downloads a block's rows: bounded, polite, patient."""

import asyncio
import heapq
import random
import time
from collections import Counter, deque
from dataclasses import dataclass, field, replace

import aiohttp

from cluster.desk import Answer, Grant, Lane
from cluster.politeness import Visit
from pipeline.sources.download import Reply, download, is_alive, open_session
from pipeline.sources.images import Body, ImageSource
from pipeline.sources.patience import backoff_s
from pipeline.sources.verdicts import Verdict, judge_status
from pipeline.stages.settle import place_of, settle
from pipeline.stores.cube import BlockRows
from schemas.errors import SourceDown
from schemas.flags import Status

SAME_PICTURES = 3
"""A picture of nothing that comes back this often, byte for byte, is the server's last word."""
ASKED_TWICE = (Status.WRONG_SIZE, Status.WRONG_HEADER)
"""The server's last word only if it says it twice: what stands between may have mixed up answers."""
MOST_REFUSALS = 50
HOPELESS_ROWS = 50
"""With this many rows failed and none had, it is the server, not the galaxies."""


@dataclass
class Tally:
    """What a block's download took."""

    requests: int = 0
    retries: int = 0
    bytes: int = 0
    network_s: float = 0.0
    decode_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    details: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Job:
    row: int
    tries: Counter[tuple[int, Status | None]] = field(default_factory=Counter)
    """How often each of its requests came to nothing; what must be said twice is counted by itself."""
    refusals: int = 0
    bodies: dict[int, Body] = field(default_factory=dict)
    """Answers that came already, by the number of their request."""


class Fetcher:
    """Download rows into a block's arrays.

    Parameters
    ----------
    rows : BlockRows
        Filled in place.
    source : ImageSource
        The server, and what is asked of it.
    visit : Visit
        Leave to ask it.
    strict : bool
        Raise `SourceDown` when row after row fails and none can be had.
    """

    def __init__(self, rows: BlockRows, source: ImageSource, visit: Visit, *, strict: bool = True) -> None:
        self._rows = rows
        self._source = source
        self._asking = source.asking
        self._visit = visit
        self._strict = strict
        self._fresh: deque[_Job] = deque()
        self._later: list[tuple[float, int, _Job]] = []
        self._open = 0
        self._settled = 0
        self._useful = 0
        self._changed = asyncio.Event()
        self._waiting: list[tuple[_Job, list[Body]]] = []
        self._arrived = asyncio.Event()
        self._room = asyncio.Semaphore(self._asking.backlog)
        self._seen: Counter[tuple[int, bytes]] = Counter()
        # Jitter only: it must differ between workers, and nothing that is stored depends on it.
        self._random = random.Random()
        self.tally = Tally()

    async def run(self, asked: list[int]) -> Tally:
        """Ask for the rows `asked` until each has its outcome.

        Raises
        ------
        SourceDown
            See `Visit.ticket`; also if the server answers row after row with errors only.
        """
        self._fresh.extend(_Job(row) for row in asked)
        self._open = len(asked)
        async with open_session(self._source.asking, self._visit.permits) as session:
            decoder = asyncio.create_task(self._decode())
            askers = [asyncio.create_task(self._ask(session, k)) for k in range(self._visit.permits)]
            try:
                done, _ = await asyncio.wait([decoder, *askers], return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
            finally:
                for task in (decoder, *askers):
                    task.cancel()
                await asyncio.gather(decoder, *askers, return_exceptions=True)
        return self.tally

    async def _ask(self, session: aiohttp.ClientSession, index: int) -> None:
        while self._open:
            if index and index >= self._visit.cap:
                await asyncio.sleep(0.25)
            elif job := self._next_job():
                await self._try(session, job)
            else:
                await self._wait_for_work()

    def _next_job(self) -> _Job | None:
        if self._later and self._later[0][0] <= time.monotonic():
            return heapq.heappop(self._later)[2]
        return self._fresh.popleft() if self._fresh else None

    async def _wait_for_work(self) -> None:
        self._changed.clear()
        delay_s = max(0.0, self._later[0][0] - time.monotonic()) if self._later else None
        try:
            async with asyncio.timeout(delay_s):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _try(self, session: aiohttp.ClientSession, job: _Job) -> None:
        ticket = await self._visit.ticket(Lane.CUTOUTS)
        if ticket.probe:
            await self._probe(session, ticket)
            self._fresh.appendleft(job)
            self._changed.set()
            return
        addresses = self._source.addresses(place_of(self._rows, job.row))
        number = next(k for k in range(len(addresses)) if k not in job.bodies)
        begun = time.monotonic()
        reply = await download(session, addresses[number], max_bytes=self._asking.max_bytes)
        self.tally.network_s += time.monotonic() - begun
        self.tally.requests += 1
        self.tally.bytes += len(reply.body)
        if reply.answer is Answer.GOOD:
            self._visit.good(ticket)
        elif await self._visit.bad(ticket, reply.answer, reply.retry_after_s):
            # The source is down, which says nothing about this galaxy.
            self._put_back(job, self._asking.backoff_s)
            return
        if reply.fault is not None:
            self._weigh(job, Verdict(reply.fault, reply.detail, request=number))
        elif (verdict := judge_status(reply.http_status, reply.body)) is not None:
            self._weigh(job, replace(verdict, request=number))
        else:
            await self._take(job, number, reply, wanted=len(addresses))

    async def _probe(self, session: aiohttp.ClientSession, ticket: Grant) -> None:
        if await is_alive(session, self._source.url, max_bytes=self._asking.max_bytes):
            await self._visit.alive(ticket)
        else:
            await self._visit.bad(ticket, Answer.UNREACHABLE)

    async def _take(self, job: _Job, number: int, reply: Reply, *, wanted: int) -> None:
        """Keep a body; when all of a row have come, judge them together."""
        job.bodies[number] = Body(reply.body, reply.content_type)
        if len(job.bodies) < wanted:
            self._fresh.appendleft(job)  # what is begun is ended first: few bodies wait for others
            self._changed.set()
            return
        bodies = [job.bodies[k] for k in range(wanted)]
        if self._source.is_quick:
            begun = time.monotonic()
            verdict = self._source.judge(place_of(self._rows, job.row), bodies)
            self.tally.decode_s += time.monotonic() - begun
            self._heed(job, verdict)
        else:
            await self._room.acquire()
            self._waiting.append((job, bodies))
            self._arrived.set()

    async def _decode(self) -> None:
        """Judge bodies in a thread, whatever has arrived at once, so that the loop keeps running."""
        while self._open:
            await self._arrived.wait()
            self._arrived.clear()
            batch, self._waiting = self._waiting, []
            if batch:
                verdicts, seconds = await asyncio.to_thread(self._judge_all, batch)
                self.tally.decode_s += seconds
                for (job, _), verdict in zip(batch, verdicts, strict=True):
                    self._room.release()
                    self._heed(job, verdict)

    def _judge_all(self, batch: list[tuple[_Job, list[Body]]]) -> tuple[list[Verdict], float]:
        begun = time.monotonic()
        verdicts = [self._source.judge(place_of(self._rows, job.row), bodies) for job, bodies in batch]
        return verdicts, time.monotonic() - begun

    def _heed(self, job: _Job, verdict: Verdict) -> None:
        """Weigh what the bodies of a row are worth, and forget those that are to be asked for again."""
        if verdict.request is None:
            job.bodies.clear()
        else:
            del job.bodies[verdict.request]
        self._weigh(job, verdict)

    def _weigh(self, job: _Job, verdict: Verdict) -> None:
        """Settle a row, or ask again later."""
        status = verdict.status
        if status is Status.OK:
            self._settle(job, verdict)
            return
        self.tally.faults[status.reason] += 1
        if verdict.if_same is not None:
            self._seen[job.row, verdict.digest] += 1
            if self._seen[job.row, verdict.digest] >= SAME_PICTURES:
                self._settle(
                    job, Verdict(verdict.if_same, f"{verdict.detail}, {SAME_PICTURES} times the same")
                )
                return
        if status is Status.THROTTLED:
            # The desk pauses everybody; a refusal says little about this galaxy.
            job.refusals += 1
            again = job.refusals <= MOST_REFUSALS
        else:
            twice = status in ASKED_TWICE
            tried = (verdict.request or 0, status if twice else None)
            job.tries[tried] += 1
            again = job.tries[tried] < (2 if twice else self._asking.retries + 1) and (
                not status.permanent or twice
            )
        if again and self._asking.retries:
            self.tally.retries += 1
            fails = max(1, job.tries.total())
            self._put_back(job, backoff_s(fails, self._asking.backoff_s, self._random.random()))
        else:
            self._settle(job, verdict)

    def _put_back(self, job: _Job, delay_s: float) -> None:
        heapq.heappush(self._later, (time.monotonic() + delay_s, job.row, job))
        self._changed.set()

    def _settle(self, job: _Job, verdict: Verdict) -> None:
        status = verdict.status
        settle(self._rows, job.row, verdict, self.tally.details)
        self._open -= 1
        self._settled += 1
        self._useful += not status.retryable
        if self._strict and not self._useful and self._settled >= HOPELESS_ROWS:
            raise SourceDown(
                f"{self._source.url} answered {self._settled} cutouts with errors and none well; "
                f"the last: {verdict.detail or status.reason}",
                "see whether the server is in order, then run the same command again",
            )
        if not self._open:
            self._changed.set()
            self._arrived.set()
