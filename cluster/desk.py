"""The desk of one survey server: who may ask next, and when.

Pure logic with an injected clock; no waiting, no network. One desk serves all workers of a run, so the
limits are those of the whole run. Start times are handed out evenly spaced, a shade slower than allowed,
so that a server that counts over a sliding window sees no burst. A refusal (429, 503) pauses everybody; if
it came at a rate that was never answered before, or refusals become frequent, the rate is lowered for
good. A server that can not be reached opens the circuit: everybody waits, growing longer, and one probe at a
time is let through.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from schemas.config import Politeness as PolitenessSection

SLACK_S = 0.1
"""How far [s] a request may reach the server off its slot without a window of the server overflowing."""
LATE_S = 0.05
"""A slot used later than this [s] is given up: half of `SLACK_S`, the rest is the network's."""
GRANT_S = 0.02
"""Slots are handed out in groups that last no longer than this [s]."""
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
FAILURES_TO_OPEN = 5
PROBE_S = 60.0
"""A probe that is not reported within this time [s] is given to somebody else."""
REFUSALS_TO_LOWER = 8
REFUSAL_MEMORY = 50
LOWER_BY = 0.7


class Lane(StrEnum):
    """The two kinds of requests, each with its own rate; they share the connections."""

    QUERIES = "queries"
    CUTOUTS = "cutouts"


class Answer(StrEnum):
    """How a request went, as far as politeness cares.

    ``GOOD`` is any answer of a living server (a 404 is good); ``REFUSED`` is 429 or 503; ``UNREACHABLE`` is
    no answer at all, or a gateway's word that there is none (502, 504).
    """

    GOOD = "good"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True)
class Manners:
    """What a whole run may ask of one source; ``shared`` says that the desk sits in the Dask scheduler."""

    source: str
    requests_per_second: float = 20.0
    queries_per_minute: float = 60.0
    connections: int = 8
    give_up_after_s: float = 900.0
    shared: bool = False

    @classmethod
    def of(cls, section: PolitenessSection, source: str, *, shared: bool) -> "Manners":
        """Take the manners from a run file's section."""
        return cls(
            source,
            section.requests_per_second,
            section.queries_per_minute,
            section.connections,
            section.give_up_after_s,
            shared,
        )

    def stricter(self, other: "Manners") -> "Manners":
        """Return the manners that keep the limits of both, with the patience of the more patient."""
        return replace(
            self,
            requests_per_second=min(self.requests_per_second, other.requests_per_second),
            queries_per_minute=min(self.queries_per_minute, other.queries_per_minute),
            connections=min(self.connections, other.connections),
            give_up_after_s=max(self.give_up_after_s, other.give_up_after_s),
        )


@dataclass(frozen=True)
class Grant:
    """Leave to start ``count`` requests, the first at ``start_s`` (desk's clock), then every ``interval_s``.

    ``count`` 0 means: ask again at ``start_s``. ``window`` is the number of starts in the lane's window up to
    here, ``epoch`` the number of pauses so far, ``cap`` how many connections the asker should now use.
    """

    lane: str
    start_s: float
    count: int
    interval_s: float
    epoch: int
    window: int = 0
    probe: bool = False
    cap: int = 1
    down: str = ""

    def is_late(self, by_s: float) -> bool:
        """Say whether `by_s` [s] after its time its slots belong to others.

        They never do where nothing is spaced, nor those of a probe, which nobody else is given.
        """
        return by_s > LATE_S and self.interval_s > 0 and not self.probe


@dataclass
class _Lane:
    limit: float
    """Requests allowed a window."""
    window_s: float
    next_s: float = -math.inf
    proven: int = 0
    suspect: int = 0
    lowered_epoch: int = -1
    starts: deque[float] = field(default_factory=deque)
    answers: deque[bool] = field(default_factory=lambda: deque(maxlen=REFUSAL_MEMORY))

    @property
    def interval_s(self) -> float:
        return 0.0 if math.isinf(self.limit) else (self.window_s + SLACK_S) / self.limit

    def book(self, start_s: float, count: int) -> int:
        self.next_s = start_s + count * self.interval_s
        if math.isinf(self.limit):
            return 0
        while self.starts and self.starts[0] <= start_s - self.window_s:
            self.starts.popleft()
        self.starts.extend(start_s + k * self.interval_s for k in range(count))
        return len(self.starts)

    def forget_after(self, now: float) -> None:
        while self.starts and self.starts[-1] > now:
            self.starts.pop()

    def refused(self, window: int) -> bool:
        """Note a refusal, and say whether it proves the rate too high.

        It does when it comes beyond all that was ever answered, and for the second time at the same height: the
        first may be one of the refusals that servers strew about.
        """
        self.answers.append(False)
        if window <= self.proven:
            return False
        again = abs(window - self.suspect) <= 1 + 0.15 * self.suspect
        self.suspect = window
        if again:
            self.limit = max(LOWER_BY * self.limit, min(self.limit, 0.9 * self.proven))
        return again

    def lower(self) -> None:
        self.limit *= LOWER_BY
        self.answers.clear()


class Desk:
    """Hand out start times and connections of one source.

    Parameters
    ----------
    manners : Manners
        The limits.
    clock : callable
        Seconds, monotonic.
    """

    def __init__(self, manners: Manners, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._lock = threading.RLock()
        self._holders: dict[str, tuple[str, int]] = {}
        self._epoch = 0
        self._paused_until = -math.inf
        self._refusals = 0
        self._failures = 0
        self._opened_s: float | None = None
        self._wait_s = 0.0
        self._probe_until = -math.inf
        self.manners = manners
        self.connections = manners.connections
        self._lanes = {
            Lane.CUTOUTS: _Lane(manners.requests_per_second, 1.0),
            Lane.QUERIES: _Lane(manners.queries_per_minute, 60.0),
        }

    def adopt(self, manners: Manners) -> None:
        """Take new limits, as when a run is continued with another run file.

        While others visit, the stricter of theirs and the new ones hold. What was booked stays booked, and a
        limit that is not changed keeps what was learned of it.
        """
        with self._lock:
            if self._holders:
                manners = self.manners.stricter(manners)
                self.connections = min(self.connections, manners.connections)
            elif manners.connections != self.manners.connections:
                self.connections = manners.connections
            self._limit(Lane.CUTOUTS, self.manners.requests_per_second, manners.requests_per_second)
            self._limit(Lane.QUERIES, self.manners.queries_per_minute, manners.queries_per_minute)
            self.manners = manners

    def _limit(self, lane: Lane, old: float, new: float) -> None:
        booked = self._lanes[lane]
        if self._holders:
            booked.limit = min(booked.limit, new)
        elif new != old:
            booked.limit = new

    def permits(self, holder: str, worker: str, *, wanted: int, sharers: int = 1) -> int:
        """Lend connections to a task: at least one, or 0 if all are lent.

        The first visitor of a source that was given up waits for it anew.

        Parameters
        ----------
        holder : str
            Name of the task; it returns them all with `release`.
        worker : str
            Whose they are, for `drop_worker`.
        wanted : int
            Connections it can use.
        sharers : int
            Workers that share the source; nobody gets more than a fair share.
        """
        with self._lock:
            if not self._holders:
                self._hope()
            held = self._holders.pop(holder, ("", 0))[1]
            free = self.connections - sum(count for _, count in self._holders.values())
            count = max(held, min(wanted, free, math.ceil(self.connections / max(1, sharers))), 0)
            if count:
                self._holders[holder] = (worker, count)
            return count

    def release(self, holder: str) -> None:
        """Take a task's connections back."""
        with self._lock:
            self._holders.pop(holder, None)

    def drop_worker(self, worker: str) -> None:
        """Take back what a lost worker held."""
        with self._lock:
            self._holders = {key: value for key, value in self._holders.items() if value[0] != worker}

    def reserve(self, lane: str, wanted: int = 1) -> Grant:
        """Book the next start times of a lane; the caller waits, then checks `is_current`."""
        with self._lock:
            now, booked = self.clock(), self._lanes[Lane(lane)]
            if down := self._down(now):
                return Grant(lane, now, 0, 0.0, self._epoch, down=down)
            start = max(now, booked.next_s, self._paused_until)
            probe = self._opened_s is not None
            if probe and now < self._probe_until:
                return Grant(lane, min(self._probe_until, now + 0.25), 0, 0.0, self._epoch)
            if probe:
                self._probe_until = start + PROBE_S
                wanted = 1
            interval = booked.interval_s
            count = min(wanted, int(GRANT_S / interval) + 1) if interval else wanted
            window = booked.book(start, count)
            return Grant(lane, start, count, interval, self._epoch, window, probe, self._cap())

    def is_current(self, grant: Grant) -> bool:
        """Say whether a booked time still holds: no pause came between, and it is not past."""
        with self._lock:
            late = grant.is_late(self.clock() - grant.start_s)
            return grant.count > 0 and grant.epoch == self._epoch and not late

    def good(self, lane: str, count: int, *, window: int, epoch: int) -> None:
        """Note `count` answers of a living server; `window` and `epoch` are the highest of their grants.

        Answers to requests of before the last pause do not say that the server lives now.
        """
        if not count:
            return
        with self._lock:
            booked = self._lanes[Lane(lane)]
            booked.proven = max(booked.proven, window)
            booked.answers.extend([True] * min(count, REFUSAL_MEMORY))
            if epoch == self._epoch:
                self._failures = self._refusals = 0
                self._close()

    def report(self, grant: Grant, answer: Answer, retry_after_s: float = 0.0) -> bool:
        """Note how a request went; return whether the source is now paused because it is down.

        A request that failed while the source is down tells nothing about its object.
        """
        with self._lock:
            if answer is Answer.GOOD:
                self.good(grant.lane, 1, window=grant.window, epoch=grant.epoch)
            elif answer is Answer.REFUSED:
                self._refuse(grant, retry_after_s)
            else:
                self._fail(grant)
            return self._opened_s is not None

    def _refuse(self, grant: Grant, retry_after_s: float) -> None:
        lane, fresh = self._lanes[Lane(grant.lane)], grant.epoch == self._epoch
        self._close()
        self._failures = 0
        if grant.epoch > lane.lowered_epoch:
            lowered = lane.refused(grant.window)
            if not lowered and lane.answers.count(False) >= REFUSALS_TO_LOWER:
                lane.lower()
                self.connections = max(1, int(LOWER_BY * self.connections))
                lowered = True
            if lowered:
                lane.lowered_epoch = self._epoch
        self._refusals += fresh
        wait_s = retry_after_s or (min(LONGEST_WAIT_S, 2.0 ** (self._refusals - 1)) if fresh else 0.0)
        self._pause(wait_s)

    def _fail(self, grant: Grant) -> None:
        now = self.clock()
        self._failures += 1
        if self._opened_s is None:
            if self._failures < FAILURES_TO_OPEN:
                return
            self._opened_s, self._wait_s = now, FIRST_WAIT_S / 2
        elif not grant.probe:
            return
        self._wait_s = min(LONGEST_WAIT_S, 2 * self._wait_s)
        self._probe_until = -math.inf
        self._pause(min(self._wait_s, max(0.0, self._opened_s + self.manners.give_up_after_s - now)))

    def _close(self) -> None:
        if self._opened_s is not None:
            self._opened_s, self._probe_until, self._failures = None, -math.inf, 0
            self._epoch += 1

    def _hope(self) -> None:
        now = self.clock()
        if self._opened_s is not None and now - self._opened_s >= self.manners.give_up_after_s:
            self._opened_s, self._wait_s, self._probe_until = now, FIRST_WAIT_S / 2, -math.inf

    def _pause(self, wait_s: float) -> None:
        now = self.clock()
        self._paused_until = max(self._paused_until, now + wait_s)
        self._epoch += 1
        for lane in self._lanes.values():
            lane.forget_after(now)
            lane.next_s = min(lane.next_s, max(now + lane.interval_s, self._paused_until))

    def _cap(self) -> int:
        return max(1, math.ceil(self.connections / max(1, len(self._holders))))

    def _down(self, now: float) -> str:
        limit_s = self.manners.give_up_after_s
        if self._opened_s is not None and now - self._opened_s >= limit_s:
            return f"{self.manners.source} has not answered for {now - self._opened_s:.0f} s"
        if self._paused_until - now > limit_s:
            return f"{self.manners.source} asks to come back in {self._paused_until - now:.0f} s"
        return ""
