"""Who is there to be a member of a group: what each worker offers, and whether it answers."""

import logging
import time
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from cluster.errands import Errand, Errands
from cluster.members import Seat, look, ping
from cluster.rooms import check_rooms
from schemas.errors import SkymillError, WorkerError

MOST_BARRED_S = 600.0
"""No worker is left out for longer [s]."""
PING_AGAIN_S = 2.0
"""After a ping that failed, rather than was not answered."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """How long [s] what may last, when groups of workers work together.

    ``grace_s`` is waited for a replacement of a lost worker; ``words_s`` for what the others say when a member
    ended because of a peer; ``ping_every_s`` lies between two pings of a worker, which is silent when it has not
    answered after ``silent_s``, or after ``alarmed_s`` when something has gone wrong; ``end_s`` is given to a
    member to end; ``seat_s`` to a worker to take its seat; ``last_s`` to the others when the first has its
    result, and to that result to arrive; ``busy_s`` is waited until a worker that had no thread free is asked
    again, ``bar_s`` until one where a member failed is, each twice as long the next time. ``begin_s`` is given to a
    member to begin; ``mute_s`` is the longest it may say nothing. A group is asked to begin anew with more workers
    when its generation is older than ``grow_after_s``, and none has joined within ``settle_s``.
    """

    grace_s: float = 10.0
    words_s: float = 2.0
    ping_every_s: float = 10.0
    silent_s: float = 10.0
    alarmed_s: float = 4.0
    end_s: float = 10.0
    seat_s: float = 15.0
    last_s: float = 30.0
    busy_s: float = 5.0
    bar_s: float = 30.0
    begin_s: float = 20.0
    mute_s: float = 900.0
    grow_after_s: float = 10.0
    settle_s: float = 5.0


@dataclass
class _Worker:
    look: Errand
    seat: Seat | None = None
    ping: Errand | None = None
    asked_s: float = 0.0
    silent_s: float = 0.0
    answered_s: float = 0.0
    bars: int = 0
    blames: int = 0
    barred_until_s: float = 0.0
    told: bool = False

    @property
    def answers(self) -> bool:
        """Whether no ping is open."""
        return self.ping is None or (self.ping.done and self.ping.answer is True)


class Roster:
    """The workers of a session, as far as they can be members.

    Parameters
    ----------
    errands : Errands
        How they are asked.
    limits : Limits
        When one counts as silent.
    """

    def __init__(self, errands: Errands, limits: Limits) -> None:
        self._errands = errands
        self._limits = limits
        self._workers: dict[str, _Worker] = {}
        self._joined_s = float("-inf")
        self._versions: dict[str, str] | None = None
        self._here = check_rooms()
        self._leaving: frozenset[str] = frozenset()

    def update(self, present: Iterable[str], now: float, leaving: Set[str] = frozenset()) -> None:
        """Note who is there now, and who of them is about to leave; look after what is asked of them.

        Raises
        ------
        WorkerError
            If a worker has another skymill than the driver.
        """
        self._leaving |= leaving
        for address in self._workers.keys() - set(present):
            del self._workers[address]
        for address in present:
            worker = self._workers.get(address)
            if worker is None:
                self._joined_s = now
                worker = self._workers[address] = _Worker(self._errands.ask(address, look), answered_s=now)
            self._look(address, worker, now)
            self._ping(address, worker, now)

    def _look(self, address: str, worker: _Worker, now: float) -> None:
        if worker.seat is not None or not worker.look.done:
            return
        found = worker.look.answer
        if _failed(worker.look):
            if worker.look.age_s > self._limits.busy_s:
                worker.look = self._errands.ask(address, look)
        elif isinstance(found, Seat):
            if found.rooms != self._here:
                raise WorkerError(
                    f"worker {address} has skymill {found.rooms}, the driver {self._here}",
                    "install the same version on both",
                )
            worker.seat, worker.answered_s = found, now
        elif isinstance(found, SkymillError):
            raise WorkerError(f"worker {address}: {found.message}", found.remedy)
        else:
            raise WorkerError(
                f"worker {address} cannot be a member of a group: {type(found).__name__}: {found}",
                "install the same version of skymill there",
            )

    def _ping(self, address: str, worker: _Worker, now: float) -> None:
        if worker.ping is None:
            if now - worker.answered_s > self._limits.ping_every_s:
                self._ask(address, worker, self._limits.silent_s)
        elif worker.answers:
            worker.ping, worker.answered_s = None, now
        elif worker.ping.done and worker.ping.age_s > PING_AGAIN_S:
            worker.ping = self._errands.ask(address, ping)

    def _ask(self, address: str, worker: _Worker, silent_s: float) -> None:
        if worker.ping is None:
            worker.ping, worker.asked_s = self._errands.ask(address, ping), time.monotonic()
            worker.silent_s = silent_s
        worker.silent_s = min(worker.silent_s, silent_s)

    def alarm(self, addresses: Iterable[str]) -> None:
        """Ask workers at once whether they are still there: something went wrong."""
        for address in addresses:
            if address in self._workers:
                self._ask(address, self._workers[address], self._limits.alarmed_s)

    def lost(self, address: str) -> str:
        """Say why a worker counts as lost; nothing if it does not."""
        worker = self._workers.get(address)
        if worker is None:
            return f"worker {address} is gone"
        if not worker.answers and time.monotonic() - worker.asked_s > worker.silent_s:
            return f"worker {address} does not answer"
        return ""

    def leaves(self, address: str) -> bool:
        """Say whether a worker has said that it leaves, or had before it was gone: nobody is to blame for that."""
        return address in self._leaving

    def bar(self, address: str) -> None:
        """Leave a worker out for a while, twice as long each time: it had no room."""
        if worker := self._workers.get(address):
            worker.barred_until_s = time.monotonic() + doubled(self._limits.busy_s, worker.bars)
            worker.bars += 1

    def blame(self, address: str) -> None:
        """Leave a worker out for a longer while, twice as long each time: a member failed there."""
        if worker := self._workers.get(address):
            worker.barred_until_s = time.monotonic() + doubled(self._limits.bar_s, worker.blames)
            worker.blames += 1

    def __contains__(self, address: str) -> bool:
        return address in self._workers

    @property
    def settled(self) -> bool:
        """Whether all that were asked what they offer have said so, or do not answer."""
        waiting = [worker.look for worker in self._workers.values() if worker.seat is None]
        return all(look.age_s > self._limits.alarmed_s or _failed(look) for look in waiting)

    def quiet(self, now: float) -> bool:
        """Say whether no worker has joined just now, and `settled`: then no more are to be expected at once."""
        return self.settled and now - self._joined_s >= self._limits.settle_s

    @property
    def answering(self) -> int:
        """Number of workers that are there and not silent."""
        return sum(not self.lost(address) for address in self._workers)

    def usable(self, held: Mapping[str, str | None], now: float) -> dict[str, str | None]:
        """Return the workers that can be members, and the GPU of each, sorted by address.

        Parameters
        ----------
        held : mapping
            Workers that are members now, and their GPUs: these are usable, and keep them.
        now : float
            The time, as of `update`.
        """
        seats = {
            address: worker.seat
            for address, worker in sorted(self._workers.items())
            if worker.seat is not None
            and (address in held or (now >= worker.barred_until_s and not self.lost(address)))
            and (address in held or not self.leaves(address))
        }
        if not held and not any(seat.versions == self._versions for seat in seats.values()):
            self._versions = None
        return allot({address: seat for address, seat in seats.items() if self._fits(address, seat)}, held)

    def _fits(self, address: str, seat: Seat) -> bool:
        if self._versions is None or seat.versions == self._versions:
            return True
        worker = self._workers[address]
        if not worker.told:
            worker.told = True
            logger.warning("worker %s is left out: %s", address, difference(seat.versions, self._versions))
        return False

    def fix_versions(self, addresses: Iterable[str]) -> None:
        """Have all members, from now on, have the packages that these workers have.

        Raises
        ------
        WorkerError
            If they do not have the same.
        """
        if self._versions is not None:
            return
        seats = {address: seat for address in addresses if (seat := self._workers[address].seat) is not None}
        first, *others = seats
        for address in others:
            if seats[address].versions != seats[first].versions:
                raise WorkerError(
                    f"worker {address} has {difference(seats[address].versions, seats[first].versions)} "
                    f"of worker {first}",
                    "install the same versions on all workers: they train one network together",
                )
        self._versions = seats[first].versions


def doubled(first_s: float, times: int) -> float:
    """Return how long [s] a worker is left out that was so `times` before.

    Examples
    --------
    >>> [doubled(30.0, times) for times in (0, 1, 2, 5)]
    [30.0, 60.0, 120.0, 600.0]
    """
    return float(min(MOST_BARRED_S, first_s * 2.0 ** min(times, 32)))


def _failed(errand: Errand) -> bool:
    return errand.done and isinstance(errand.answer, OSError | TimeoutError)


def difference(one: Mapping[str, str], other: Mapping[str, str]) -> str:
    """Say in which packages two workers differ.

    Examples
    --------
    >>> difference({"keras": "3.7", "numpy": "2.4"}, {"keras": "3.15", "numpy": "2.4"})
    'keras 3.7 against keras 3.15'
    """
    names = [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]

    def listed(versions: Mapping[str, str]) -> str:
        return ", ".join(f"{name} {versions[name]}" if name in versions else f"no {name}" for name in names)

    return f"{listed(one)} against {listed(other)}"


def allot(seats: Mapping[str, Seat], held: Mapping[str, str | None]) -> dict[str, str | None]:
    """Give each worker a GPU of its host; leave out those for whom there is none.

    A host without GPUs offers all its workers, unless others have GPUs: a group cannot have both.

    Parameters
    ----------
    seats : mapping
        What each worker offers.
    held : mapping
        GPUs that are in use by these workers, who keep them.

    Examples
    --------
    >>> allot({"a": Seat("n1", ("0",)), "b": Seat("n1", ("0",)), "c": Seat("n2", ("0",))}, {})
    {'a': '0', 'c': '0'}
    >>> allot({"a": Seat("n1"), "b": Seat("n1")}, {})
    {'a': None, 'b': None}
    """
    if not any(seat.devices for seat in seats.values()):
        return dict.fromkeys(seats)
    taken = {(seats[address].host, held[address]) for address in seats if address in held}
    given: dict[str, str | None] = {}
    for address, seat in seats.items():
        free = [device for device in seat.devices if (seat.host, device) not in taken]
        if address in held:
            given[address] = held[address]
        elif free:
            given[address] = free[0]
            taken.add((seat.host, free[0]))
    return given


def spread(workers: int, groups: int) -> list[int]:
    """Share workers out among groups, as evenly as can be.

    Examples
    --------
    >>> spread(5, 2), spread(1, 2)
    ([3, 2], [1, 0])
    """
    return [workers // groups + (rank < workers % groups) for rank in range(groups)]
