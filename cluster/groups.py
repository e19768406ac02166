"""Run tasks that a group of workers does together, several groups side by side on workers of their own.

A group is begun anew, a generation further, when a member is lost or more workers are there: from the last
durable step, with whoever answers. See ``docs/decisions/0011-a-group-of-trainers.md``.
"""

import contextlib
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from cluster.errands import Errands
from cluster.generation import Hub
from cluster.group import Group
from cluster.roster import Limits, Roster, spread
from cluster.session import DaskSession
from cluster.tells import heard
from cluster.watch import NO_ROOM
from cluster.work import GroupTask, Outcome

__all__ = ["GroupTask", "Limits", "run_groups"]

STAGE = "train"
"""What the workers of groups are for, where workers are for some stages only."""
TICK_S = 0.2
LOOK_S = 0.5
"""How often [s] the scheduler is asked who is there."""
BALANCE_S = 1.0


def run_groups(
    session: DaskSession,
    tasks: Iterable[GroupTask],
    *,
    regroup: Callable[[GroupTask, int], None],
    on_event: Callable[[GroupTask, Mapping[str, Any]], None],
    limits: Limits | None = None,
) -> Iterator[Outcome]:
    """Run each task on a group of workers, yielding each outcome as it comes.

    Tasks go side by side, as many as there are workers, on disjoint shares of all workers. A task's outcome is
    the value of its member of rank 0, or the first error that another generation would meet again; errors of
    workers, `WorkerError` and `PeerLost` begin a new generation. When this is left early, all members are ended.

    Parameters
    ----------
    session : DaskSession
        Whose workers.
    tasks : iterable of GroupTask
        Taken as workers are there for them.
    regroup : callable
        Asks the group of a task, in a generation, to end at its next boundary; its members then return a value
        whose attribute ``regroup`` is true, and the next generation has more of them, or fewer.
    on_event : callable
        Takes what a member tells, with its ``rank`` and ``generation``, and the event ``generation`` (with
        ``members``, and ``why`` the one before ended) when one begins.
    limits : Limits, optional
        How long what may last.

    Raises
    ------
    WorkerError
        If the scheduler is gone, there is no worker for too long, or workers do not have the same versions.
    """
    limits = limits or Limits()
    errands = Errands(session.client)
    hub = Hub(
        errands, Roster(errands, limits), limits, secrets.token_hex(8), on_event, session.scheduler_answers
    )
    groups = _Groups(session, iter(tasks), hub, regroup)
    try:
        while groups.left():
            yield from groups.turn()
    finally:
        groups.leave()


class _Groups:
    """The groups of one call, and which workers each of them has."""

    def __init__(
        self,
        session: DaskSession,
        source: Iterator[GroupTask],
        hub: Hub,
        regroup: Callable[[GroupTask, int], None],
    ) -> None:
        self._session = session
        self._source = source
        self._hub = hub
        self._regroup = regroup
        self._groups: list[Group] = []
        self._exhausted = False
        self._room = session.watch_for(NO_ROOM)
        self._present: tuple[str, ...] = ()
        self._looked_s = self._balanced_s = float("-inf")

    def left(self) -> bool:
        """Say whether something is left to do."""
        if not self._groups:
            self._take(1)
        return bool(self._groups)

    def _take(self, room: int) -> None:
        while room > 0 and not self._exhausted:
            task = next(self._source, None)
            if task is None:
                self._exhausted = True
            else:
                self._groups.append(Group(task, self._hub))
                room -= 1

    def turn(self) -> Iterator[Outcome]:
        """Wait a moment, look at all that happened, and yield what is done."""
        self._hub.errands.wait(TICK_S)
        now = time.monotonic()
        self._look(now)
        self._listen()
        for group in self._groups:
            group.tick(now)
        done = [group for group in self._groups if group.outcome is not None]
        self._groups = [group for group in self._groups if group.outcome is None]
        self._deal(now)
        self._balance(now)
        for group in done:
            assert group.outcome is not None
            yield group.outcome

    def _look(self, now: float) -> None:
        hurry = any(group.hurt for group in self._groups)
        if hurry or now - self._looked_s >= LOOK_S:
            self._looked_s = now
            self._present = self._session.workers(STAGE)
        self._hub.roster.update(self._present, now, self._session.leaving)
        answering = self._hub.roster.answering
        self._session.watch(STAGE).see(answering)
        self._room.see(sum(group.begun for group in self._groups) if answering else 1)

    def _listen(self) -> None:
        groups = {group.task.key: group for group in self._groups}
        with self._session.scheduler_answers():
            events = heard(self._session.client)
        for event in events:
            nonce, key = event.pop("_member")
            if nonce == self._hub.nonce and key in groups:
                groups[key].hear(event)

    def _held(self) -> dict[str, str | None]:
        return {worker: device for group in self._groups for worker, device in group.held.items()}

    def _usable(self, now: float) -> dict[str, str | None]:
        return self._hub.roster.usable(self._held(), now)

    def _deal(self, now: float) -> None:
        """Take as many tasks as there are workers, and give free workers to the groups that wait for some."""
        if not self._hub.roster.settled:
            return
        usable, held = self._usable(now), self._held()
        self._take(len(usable) - len(self._groups))
        free = [worker for worker in usable if worker not in held]
        ripe = [group for group in self._groups if group.ripe(len(free), now)]
        if not free or not ripe:
            return
        self._hub.roster.fix_versions(usable)
        most = -(-len(usable) // len(self._groups))
        for group, share in zip(ripe, spread(len(free), len(ripe)), strict=True):
            taken, free = free[: min(share, most)], free[min(share, most) :]
            if taken:
                group.seat({worker: usable[worker] for worker in taken}, now)

    def _balance(self, now: float) -> None:
        """Ask groups to begin anew where that lets idle workers in, or gives one to a group without any."""
        if now - self._balanced_s < BALANCE_S:
            return
        self._balanced_s = now
        usable, held = self._usable(now), self._held()
        free = [worker for worker in usable if worker not in held]
        working = [group for group in self._groups if group.calm]
        if not working or any(group.asked for group in working):
            return
        if parting := [
            group for group in working if group.task.growable and self._session.leaving & {*group.held}
        ]:
            self._ask(parting)  # the others go on without the one that leaves, from where they are by then
            return
        grown = [group for group in working if group.growable(now)]
        if not free and any(group.ripe(0, now) for group in self._groups):
            largest = max(working, key=lambda group: len(group.held))
            self._ask([largest] if len(largest.held) > 1 else [])
        elif grown and len(working) == len(self._groups) and self._exhausted and self._hub.roster.quiet(now):
            idle = self._idle(free)
            even = (len(held) + len(idle)) // len(self._groups)
            few = [group for group in grown if len(group.held) < even]
            if idle:
                self._ask(few or [min(grown, key=lambda group: len(group.held))])

    def _idle(self, workers: list[str]) -> list[str]:
        """Return those of some workers that have nothing to do."""
        if not workers:
            return []
        with self._session.scheduler_answers():
            tasks: Mapping[str, Any] = self._session.client.processing(workers)
        return [worker for worker in workers if not tasks.get(worker)]

    def _ask(self, groups: list[Group]) -> None:
        for group in groups:
            group.asked = True
            self._regroup(group.task, group.number)

    def leave(self) -> None:
        """End all members, and wait a while for that; the scheduler may be gone, then they are lost anyway."""
        left = [group.generation for group in self._groups if group.generation is not None]
        if self._session.client.status != "running":
            return
        with contextlib.suppress(Exception):
            for generation in left:
                generation.dismiss("the driver leaves")
            deadline = time.monotonic() + self._hub.limits.end_s
            while not all(generation.dismissed for generation in left) and time.monotonic() < deadline:
                self._hub.errands.wait(TICK_S)
