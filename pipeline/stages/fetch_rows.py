"""The loop that downloads a block's rows: bounded, polite, patient."""

import asyncio
import heapq
import random
import time
from collections import Counter, deque
from dataclasses import dataclass, field

import aiohttp
import numpy as np

from cluster.desk import Answer, Grant, Lane
from cluster.politeness import Visit
from pipeline.sources.cutouts import DRAWN, CutoutSource, Verdict, judge_body, judge_status
from pipeline.sources.download import Reply, download, is_alive, open_session
from pipeline.sources.patience import backoff_s
from pipeline.stores.cube import BlockRows
from schemas.errors import SourceDown
from schemas.flags import Status

INLINE_PIXELS = 256
"""Pictures up to this width are decoded at once: they take a millisecond at most, and a decoding thread would
hold the interpreter's lock for longer than that each time the loop wants it back."""
BACKLOG = 128
"""Bodies that may wait for the decoder: bounds memory, and is deep enough to keep the decoder busy."""
SAME_PICTURES = 3
"""A drawn tile that comes back this often, byte for byte, is the server's last word."""
TRIES_OF_WRONG_SIZE = 2
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
    tries: int = 0
    refusals: int = 0


class Fetcher:
    """Download rows into a block's arrays.

    Parameters
    ----------
    rows : BlockRows
        Filled in place.
    source : CutoutSource
        The server.
    visit : Visit
        Leave to ask it.
    strict : bool
        Raise `SourceDown` when row after row fails and none can be had.
    """

    def __init__(self, rows: BlockRows, source: CutoutSource, visit: Visit, *, strict: bool = True) -> None:
        self._rows = rows
        self._source = source
        self._visit = visit
        self._strict = strict
        self._fresh: deque[_Job] = deque()
        self._later: list[tuple[float, int, _Job]] = []
        self._open = 0
        self._settled = 0
        self._useful = 0
        self._changed = asyncio.Event()
        self._bodies: list[tuple[_Job, Reply]] = []
        self._arrived = asyncio.Event()
        self._room = asyncio.Semaphore(BACKLOG)
        self._drawn: Counter[tuple[int, bytes]] = Counter()
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
        async with open_session(self._source, self._visit.permits) as session:
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
        address = self._source.address(float(self._rows.ra[job.row]), float(self._rows.dec[job.row]))
        begun = time.monotonic()
        reply = await download(session, address, self._source)
        self.tally.network_s += time.monotonic() - begun
        self.tally.requests += 1
        self.tally.bytes += len(reply.body)
        if reply.answer is Answer.GOOD:
            self._visit.good(ticket)
        elif await self._visit.bad(ticket, reply.answer, reply.retry_after_s):
            # The source is down, which says nothing about this galaxy.
            self._put_back(job, self._source.backoff_s)
            return
        await self._judge(job, reply)

    async def _probe(self, session: aiohttp.ClientSession, ticket: Grant) -> None:
        if await is_alive(session, self._source):
            await self._visit.alive(ticket)
        else:
            await self._visit.bad(ticket, Answer.UNREACHABLE)

    async def _judge(self, job: _Job, reply: Reply) -> None:
        if reply.fault is not None:
            self._weigh(job, Verdict(reply.fault, reply.detail))
        elif (verdict := judge_status(reply.http_status, reply.body)) is not None:
            self._weigh(job, verdict)
        elif self._source.pixels <= INLINE_PIXELS:
            begun = time.monotonic()
            verdict = judge_body(reply.body, reply.content_type, self._source.pixels)
            self.tally.decode_s += time.monotonic() - begun
            self._weigh(job, verdict)
        else:
            await self._room.acquire()
            self._bodies.append((job, reply))
            self._arrived.set()

    async def _decode(self) -> None:
        """Decode bodies in a thread, whatever has arrived at once, so that the loop keeps running."""
        while self._open:
            await self._arrived.wait()
            self._arrived.clear()
            batch, self._bodies = self._bodies, []
            if batch:
                verdicts, seconds = await asyncio.to_thread(_judge_all, batch, self._source.pixels)
                self.tally.decode_s += seconds
                for (job, _), verdict in zip(batch, verdicts, strict=True):
                    self._room.release()
                    self._weigh(job, verdict)

    def _weigh(self, job: _Job, verdict: Verdict) -> None:
        """Settle a row, or ask again later."""
        status = verdict.status
        if status is Status.OK:
            self._settle(job, verdict)
            return
        self.tally.faults[status.reason] += 1
        if status is Status.BLANK and verdict.detail == DRAWN:
            self._drawn[job.row, verdict.digest] += 1
            if self._drawn[job.row, verdict.digest] >= SAME_PICTURES:
                self._settle(
                    job, Verdict(Status.OUTSIDE_FOOTPRINT, f"{DRAWN}, {SAME_PICTURES} times the same")
                )
                return
        if status is Status.THROTTLED:
            # The desk pauses everybody; a refusal says little about this galaxy.
            job.refusals += 1
            again = job.refusals <= MOST_REFUSALS
        else:
            job.tries += 1
            most = TRIES_OF_WRONG_SIZE if status is Status.WRONG_SIZE else self._source.retries + 1
            again = job.tries < most and (not status.permanent or status is Status.WRONG_SIZE)
        if again and self._source.retries:
            self.tally.retries += 1
            self._put_back(job, backoff_s(max(1, job.tries), self._source.backoff_s, self._random.random()))
        else:
            self._settle(job, verdict)

    def _put_back(self, job: _Job, delay_s: float) -> None:
        heapq.heappush(self._later, (time.monotonic() + delay_s, job.row, job))
        self._changed.set()

    def _settle(self, job: _Job, verdict: Verdict) -> None:
        row, status = job.row, verdict.status
        self._rows.status[row] = status
        if verdict.pixels is not None:
            self._rows.image[row] = verdict.pixels
            self._rows.digest[row] = np.frombuffer(verdict.digest, np.uint8)
        else:
            self._rows.image[row] = 0
            self._rows.digest[row] = 0
            self.tally.details[row] = verdict.detail
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


def _judge_all(batch: list[tuple[_Job, Reply]], pixels: int) -> tuple[list[Verdict], float]:
    begun = time.monotonic()
    verdicts = [judge_body(reply.body, reply.content_type, pixels) for _, reply in batch]
    return verdicts, time.monotonic() - begun
