"""The loop that downloads a block's rows: bounded, polite, patient."""

import asyncio
import heapq
import random
import time
from collections import Counter, deque
from collections.abc import Sequence
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
HOPELESS_OUTCOMES = 5
"""So many answers at least must have failed then: one damaged file may be that of hundreds of galaxies."""


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
    rows: Sequence[int]
    """A row, or those of a field, for which the same answers are."""
    tries: Counter[tuple[int, Status | None]] = field(default_factory=Counter)
    """How often each of its requests came to nothing; what must be said twice is counted by itself."""
    refusals: int = 0
    bodies: dict[int, Body] = field(default_factory=dict)
    """Answers that came already, by the number of their request."""
    seen: Counter[bytes] = field(default_factory=Counter)
    """How often each picture of nothing came, by its digest."""

    def part(self, rows: Sequence[int]) -> "_Job":
        """Return a job of some of its rows, with what was learnt so far."""
        return _Job(rows, Counter(self.tries), self.refusals, dict(self.bodies), Counter(self.seen))


def together(rows: BlockRows, asked: Sequence[int], source: ImageSource) -> list[list[int]]:
    """Return the rows `asked`, those of one field in one list, in the order of their first ones."""
    found: dict[int | tuple[int, ...], list[int]] = {}
    for row in asked:
        found.setdefault(source.field_of(place_of(rows, row)) or row, []).append(row)
    return list(found.values())


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
        self._outcomes = 0
        self._useful = 0
        self._changed = asyncio.Event()
        self._waiting: list[tuple[_Job, list[Body]]] = []
        self._arrived = asyncio.Event()
        self._room = asyncio.Semaphore(self._asking.backlog)
        # Jitter only: it must differ between workers, and nothing that is stored depends on it.
        self._random = random.Random()
        self.tally = Tally()

    async def run(self, asked: Sequence[Sequence[int]]) -> Tally:
        """Ask for the rows `asked`, put together as by `together`, until each has its outcome.

        Raises
        ------
        SourceDown
            See `Visit.ticket`; also if the server answers row after row with errors only.
        """
        self._fresh.extend(map(_Job, asked))
        self._open = sum(map(len, asked))
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
        if not self._fresh or (not self._fresh[0].bodies and len(self._later) >= self._asking.most_put_back):
            return None
        return self._fresh.popleft()

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
        addresses = self._source.addresses(place_of(self._rows, job.rows[0]))
        number = next(k for k in range(len(addresses)) if k not in job.bodies)
        begun = time.monotonic()
        reply = await download(session, addresses[number], max_bytes=self._asking.max_bytes)
        self.tally.network_s += time.monotonic() - begun
        self.tally.requests += 1
        self.tally.bytes += len(reply.body)
        if reply.answer is Answer.GOOD:
            self._visit.good(ticket)
        elif await self._visit.bad(ticket, reply.answer, reply.retry_after_s):
            # The source is down, which says nothing about these galaxies.
            self._put_back(job, self._asking.backoff_s)
            return
        if reply.fault is not None:
            self._weigh(job, [Verdict(reply.fault, reply.detail, request=number)] * len(job.rows))
        elif (verdict := judge_status(reply.http_status, reply.body)) is not None:
            self._weigh(job, [replace(verdict, request=number)] * len(job.rows))
        else:
            await self._take(job, number, reply, wanted=len(addresses))

    async def _probe(self, session: aiohttp.ClientSession, ticket: Grant) -> None:
        if await is_alive(session, self._source.url, max_bytes=self._asking.max_bytes):
            await self._visit.alive(ticket)
        else:
            await self._visit.bad(ticket, Answer.UNREACHABLE)

    async def _take(self, job: _Job, number: int, reply: Reply, *, wanted: int) -> None:
        """Keep a body; when all of a job have come, judge them together."""
        job.bodies[number] = Body(reply.body, reply.content_type)
        if len(job.bodies) < wanted:
            self._fresh.appendleft(job)  # what is begun is ended first: few bodies wait for others
            self._changed.set()
            return
        bodies = [job.bodies[k] for k in range(wanted)]
        if self._source.is_quick:
            begun = time.monotonic()
            verdicts = self._judge(job, bodies)
            self.tally.decode_s += time.monotonic() - begun
            self._heed(job, verdicts)
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
                batch_verdicts, seconds = await asyncio.to_thread(self._judge_batch, batch)
                self.tally.decode_s += seconds
                for (job, _), verdicts in zip(batch, batch_verdicts, strict=True):
                    self._room.release()
                    self._heed(job, verdicts)

    def _judge_batch(self, batch: list[tuple[_Job, list[Body]]]) -> tuple[list[list[Verdict]], float]:
        begun = time.monotonic()
        verdicts = [self._judge(job, bodies) for job, bodies in batch]
        return verdicts, time.monotonic() - begun

    def _judge(self, job: _Job, bodies: list[Body]) -> list[Verdict]:
        return self._source.judge_all([place_of(self._rows, row) for row in job.rows], bodies)

    def _heed(self, job: _Job, verdicts: Sequence[Verdict]) -> None:
        """Weigh what the bodies are worth for each row, and forget those that are to be asked for again.

        Rows that have the same against the same answer stay together: it is asked for again once.
        """
        apart: dict[tuple[int | None, Status, Status | None], dict[int, Verdict]] = {}
        for row, verdict in zip(job.rows, verdicts, strict=True):
            apart.setdefault((verdict.request, verdict.status, verdict.if_same), {})[row] = verdict
        for (request, *_), found in apart.items():
            part = job if len(apart) == 1 else job.part(list(found))
            if request is None:
                part.bodies.clear()
            else:
                del part.bodies[request]
            self._weigh(part, list(found.values()))

    def _weigh(self, job: _Job, verdicts: Sequence[Verdict]) -> None:
        """Settle rows of which the same is to be said, but for the words; or ask again later."""
        verdict = verdicts[0]
        status = verdict.status
        if status is Status.OK:
            self._settle(job, verdicts)
            return
        self.tally.faults[status.reason] += 1
        if verdict.if_same is not None:
            job.seen[verdict.digest] += 1
            if job.seen[verdict.digest] >= SAME_PICTURES:
                words = f"{verdict.detail}, {SAME_PICTURES} times the same"
                self._settle(job, [Verdict(verdict.if_same, words)] * len(job.rows))
                return
        if status is Status.THROTTLED:
            # The desk pauses everybody; a refusal says little about these galaxies.
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
            self._settle(job, verdicts)

    def _put_back(self, job: _Job, delay_s: float) -> None:
        heapq.heappush(self._later, (time.monotonic() + delay_s, job.rows[0], job))
        self._changed.set()

    def _settle(self, job: _Job, verdicts: Sequence[Verdict]) -> None:
        for row, verdict in zip(job.rows, verdicts, strict=True):
            settle(self._rows, row, verdict, self.tally.details)
        last = verdicts[-1]
        self._open -= len(job.rows)
        self._settled += len(job.rows)
        self._outcomes += 1
        self._useful += not last.status.retryable
        hopeless = self._settled >= HOPELESS_ROWS and self._outcomes >= HOPELESS_OUTCOMES
        if self._strict and not self._useful and hopeless:
            raise SourceDown(
                f"{self._source.url} answered {self._settled} cutouts with errors and none well; "
                f"the last: {last.detail or last.status.reason}",
                "see whether the server is in order, then run the same command again",
            )
        if not self._open:
            self._changed.set()
            self._arrived.set()
