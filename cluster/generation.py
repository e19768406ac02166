"""One generation of a group: its members' tasks, what becomes of them, and their end."""

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from distributed import Future

from cluster.errands import Errand, Errands
from cluster.members import Membership, be_member, end_members
from cluster.roster import Limits, Roster
from cluster.work import GroupTask, Outcome
from schemas.errors import Diverged, PeerLost, SkymillError, WorkerError
from schemas.records import Place

PRIORITY = 1000
"""Members go before all other tasks of a worker: the whole group waits for them."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hub:
    """What all groups of one call share; ``answers`` is the context in which the scheduler is asked."""

    errands: Errands
    roster: Roster
    limits: Limits
    nonce: str
    on_event: Callable[[GroupTask, Mapping[str, Any]], None]
    answers: Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Verdict:
    """Why a generation ends, and what then: an outcome, or a new generation.

    ``failed`` says that it counts as an attempt, ``lost`` that a replacement is worth waiting for; ``blamed`` are
    the workers whose members failed, ``unbegun`` those whose members never began. ``fatal`` is an error of one
    member that is the outcome if another worker meets it too.
    """

    why: str
    outcome: Outcome | None = None
    failed: bool = True
    lost: bool = False
    remedy: str = ""
    blamed: tuple[str, ...] = ()
    unbegun: tuple[str, ...] = ()
    fatal: SkymillError | None = None


@dataclass
class Member:
    """A member as the driver sees it."""

    worker: str
    place: Place
    future: Future
    error: BaseException | None = None
    heard_s: float | None = None

    @property
    def ended(self) -> bool:
        """Whether its task has ended, in one way or another."""
        return bool(self.future.done())

    @property
    def finished(self) -> bool:
        """Whether its task has ended well."""
        return bool(self.future.status == "finished")

    def look(self) -> None:
        """Note an error with which its task has ended."""
        if not self.ended or self.finished or self.error is not None:
            return
        if self.future.status == "error":
            self.error = self.future.exception()
        else:
            self.error = CancelledError(f"its task is {self.future.status}")


class Generation:
    """The members' tasks, from their submission to the last one's end.

    Parameters
    ----------
    task : GroupTask
        What they do together.
    number : int
        Which generation of the task it is.
    seats : mapping
        The members' workers by rank, with the address of each member.
    devices : mapping
        The GPU of each worker.
    """

    def __init__(
        self,
        task: GroupTask,
        number: int,
        *,
        seats: Mapping[str, str],
        devices: Mapping[str, str | None],
        hub: Hub,
    ) -> None:
        self.number = number
        self._task = task
        self._hub = hub
        self._begun_s = time.monotonic()
        self._errands: dict[str, Errand] = {}
        self._fetched: Errand | None = None
        self._words_s: float | None = None
        everybody = tuple(seats.values())
        with hub.answers():
            self.members = [
                self._submit(worker, Place(rank, everybody, number, devices[worker]))
                for rank, worker in enumerate(seats)
            ]

    def _submit(self, worker: str, place: Place) -> Member:
        client = self._hub.errands.client
        membership = Membership(self._task.key, self._hub.nonce, client.id, place)
        future = client.submit(
            be_member,
            self._task.work,
            self._task.arguments,
            membership,
            key=membership.name,
            workers=[worker],
            allow_other_workers=False,
            pure=False,
            retries=0,
            priority=PRIORITY,
        )
        future.add_done_callback(self._hub.errands.wake)
        return Member(worker, place, future)

    def hear(self, rank: int) -> None:
        """Note that a member has said something."""
        self.members[rank].heard_s = time.monotonic()

    @property
    def begun(self) -> bool:
        """Whether a member is known to have begun."""
        return any(member.heard_s is not None for member in self.members)

    def age_s(self, now: float) -> float:
        """Return how long [s] it is under way."""
        return now - self._begun_s

    @property
    def hurt(self) -> bool:
        """Whether a member has ended with an error."""
        return any(member.ended and not member.finished for member in self.members)

    @property
    def calm(self) -> bool:
        """Whether all are at work."""
        return self._fetched is None and not self.hurt

    def judge(self, now: float) -> Verdict | None:
        """Return how the generation ends; None while it goes on."""
        for member in self.members:
            member.look()
        if self._fetched is None and self.members[0].finished:
            self._fetched = self._hub.errands.fetch(self.members[0].future)
        if self._fetched is not None:
            return self._conclude(self._fetched)
        errors = [member for member in self.members if member.error is not None]
        roster = self._hub.roster
        lost = {m.worker: why for m in self.members if not m.finished and (why := roster.lost(m.worker))}
        if errors and self._words_s is None:
            self._words_s = now
            roster.alarm(member.worker for member in self.members)
        if not errors and not lost:
            return self._silence(now)
        verdict = judge(self._task, errors, lost, len(self.members))
        late = self._words_s is not None and now - self._words_s >= self._hub.limits.words_s
        if verdict.lost and all(map(roster.leaves, lost)):
            verdict = replace(verdict, failed=False)
        if lost or late or verdict.outcome is not None or all(member.ended for member in self.members):
            return verdict
        return None

    def _silence(self, now: float) -> Verdict | None:
        """Return how the generation ends because of members that never began, or say nothing any more."""
        limits = self._hub.limits
        open_ = [member for member in self.members if not member.ended]
        unbegun = tuple(member.worker for member in open_ if member.heard_s is None)
        if unbegun and self.age_s(now) > limits.begin_s:
            why = f"no member began within {limits.begin_s:g} s on {', '.join(unbegun)}"
            return Verdict(why, failed=False, unbegun=unbegun)
        most_s = max(limits.mute_s, 2 * self._task.deadline_s)
        mute = [m for m in open_ if m.heard_s is not None and now - m.heard_s > most_s]
        if not mute:
            return None
        why = f"member {mute[0].place.rank} on {mute[0].worker}: nothing was heard of it for {most_s:g} s"
        return Verdict(why, blamed=blamed(mute, len(self.members)))

    def _conclude(self, fetched: Errand) -> Verdict | None:
        """Rank 0 has ended well: fetch its value, and give the others a while to end too."""
        roster, last_s = self._hub.roster, self._hub.limits.last_s
        if not fetched.done:
            if fetched.age_s > last_s or roster.lost(self.members[0].worker):
                return Verdict("the result was lost with its worker", lost=True)
            return None
        value = fetched.answer
        if isinstance(value, BaseException):
            return Verdict(f"the result was lost: {value}", lost=True)
        if fetched.age_s < last_s and any(not m.ended and not roster.lost(m.worker) for m in self.members):
            return None
        if getattr(value, "regroup", False):
            return Verdict("it begins anew with all that are there", failed=False)
        return Verdict(
            "", Outcome(self._task, value=value, starts=self.number - self._task.first_generation + 1)
        )

    def dismiss(self, why: str) -> None:
        """Tell the members that are still at work to end."""
        seconds = time.monotonic() - self._begun_s
        logger.info("%s: generation %d ends after %.1f s: %s", self._task.key, self.number, seconds, why)
        left = [member for member in self.members if not member.ended]
        for member in left:
            if not self._hub.roster.lost(member.worker):
                self._errands[member.worker] = self._hub.errands.ask(
                    member.worker,
                    end_members,
                    key=self._task.key,
                    nonce=self._hub.nonce,
                    generation=self.number,
                    within_s=self._hub.limits.end_s,
                )
        if left:
            with self._hub.answers():
                self._hub.errands.client.cancel([member.future for member in left], force=True)

    @property
    def dismissed(self) -> bool:
        """Whether all that were told to end have answered, or are lost."""
        return all(errand.done or self._hub.roster.lost(w) for w, errand in self._errands.items())

    def close(self) -> None:
        """Let go of the members' tasks, and have workers restarted that did not answer, or not end theirs."""
        for member in self.members:
            with contextlib.suppress(Exception):
                member.future.release()
            errand = self._errands.get(member.worker)
            why = self._hub.roster.lost(member.worker)
            if errand is not None and not why and not (errand.done and errand.answer is True):
                why = f"worker {member.worker} did not end its member"
            if why and member.worker in self._hub.roster:
                logger.warning("%s: %s; it is restarted, if it has a nanny", self._task.key, why)
                self._hub.roster.bar(member.worker)
                self._hub.errands.restart(member.worker, self._hub.limits.last_s)


def judge(task: GroupTask, errors: list[Member], lost: Mapping[str, str], size: int) -> Verdict:
    """Say what the errors of members and the loss of workers mean for their group.

    An error that another generation would meet again is the outcome when two members say so, or the sole one, or
    values are no longer finite, which are the same everywhere; of one member among several it is fatal only if
    another worker meets it too. Else the cause is, in this order: a lost worker, what a member says of itself,
    what it says of a peer.

    Parameters
    ----------
    task : GroupTask
        Theirs.
    errors : list of Member
        Those that have ended with an error.
    lost : mapping
        Why each lost worker counts as such; one at least, if there are no errors.
    size : int
        Number of all members.
    """
    causes = [member for member in errors if not isinstance(member.error, PeerLost)]
    finals = [
        (member, member.error)
        for member in causes
        if isinstance(member.error, SkymillError) and not isinstance(member.error, WorkerError)
    ]
    if finals:
        member, final = finals[0]
        if size == 1 or len(finals) > 1 or isinstance(final, Diverged):
            return Verdict(final.message, Outcome(task, error=final))
        why = f"member {member.place.rank} on {member.worker}: {final.message}"
        return Verdict(why, blamed=(member.worker,), fatal=final)
    if lost:
        return Verdict("; ".join(lost.values()), lost=True)
    member = (causes or errors)[0]
    where, error = f"member {member.place.rank} on {member.worker}", member.error
    if isinstance(error, SkymillError):
        return Verdict(f"{where}: {error.message}", remedy=error.remedy, blamed=blamed(causes, size))
    return Verdict(f"{where}: {type(error).__name__}: {error}", blamed=blamed(causes, size))


def blamed(causes: list[Member], size: int) -> tuple[str, ...]:
    """Return the workers of members that failed by themselves; none if all did: then it is not the workers."""
    return tuple(member.worker for member in causes) if len(causes) < size else ()
