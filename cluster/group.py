"""A task that a group of workers does together, from its first generation to its outcome: the driver's side."""

import logging
import time
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

from cluster.errands import Errand
from cluster.generation import Generation, Hub, Verdict
from cluster.members import BEGUN, take_seat
from cluster.work import GroupTask, Outcome
from schemas.errors import SkymillError, WorkerError

RETRY_S = 1.0
"""A group that none of its workers had room for waits so long [s]."""

logger = logging.getLogger(__name__)


class Stage(Enum):
    """What a group is at."""

    WAITING = auto()
    SEATING = auto()
    WORKING = auto()
    ENDING = auto()


class Group:
    """One task's group.

    It is told the time (`tick`) and what its members say (`hear`), and given workers (`seat`) when it is `ripe`.
    ``held`` are its workers and their GPUs; ``asked`` says that this generation was asked to end early.
    """

    def __init__(self, task: GroupTask, hub: Hub) -> None:
        self.task = task
        self.outcome: Outcome | None = None
        self.held: dict[str, str | None] = {}
        self.asked = False
        self.number = task.first_generation - 1
        self.generation: Generation | None = None
        self._stage = Stage.WAITING
        self._hub = hub
        self._seats: dict[str, Errand] = {}
        self._verdict = Verdict("", failed=False)
        self._failures = 0
        self._step = -1
        self._accused: set[str] = set()
        self._wanted = 0
        self._since_s = self._until_s = 0.0

    @property
    def calm(self) -> bool:
        """Whether it is at work, with no end in sight."""
        return self._stage is Stage.WORKING and self.generation is not None and self.generation.calm

    def growable(self, now: float) -> bool:
        """Say whether it may be asked to begin anew with more workers."""
        generation = self.generation
        if generation is None or not self.calm or not self.task.growable:
            return False
        return generation.age_s(now) >= self._hub.limits.grow_after_s

    @property
    def begun(self) -> bool:
        """Whether a member is at work."""
        return self.generation is not None and self.generation.begun

    @property
    def hurt(self) -> bool:
        """Whether a member has ended with an error, and nothing is decided yet."""
        return self._stage is Stage.WORKING and self.generation is not None and self.generation.hurt

    def ripe(self, free: int, now: float) -> bool:
        """Say whether it takes workers now: as many as before, or those there are once the grace is over."""
        return self._stage is Stage.WAITING and (free >= self._wanted or now >= self._until_s)

    def seat(self, workers: Mapping[str, str | None], now: float) -> None:
        """Have workers, with the GPU of each, take their seats for the next generation."""
        self._stage, self._since_s, self.held = Stage.SEATING, now, dict(workers)
        self._hub.roster.alarm(workers)
        within_s = self._hub.limits.end_s
        self._seats = {
            worker: self._hub.errands.ask(worker, take_seat, key=self.task.key, within_s=within_s)
            for worker in workers
        }

    def hear(self, event: dict[str, Any]) -> None:
        """Take what a member tells; what one of an earlier generation tells comes too late."""
        if event["generation"] != self.number:
            return
        if self.generation is not None:
            self.generation.hear(event["rank"])
        if event.get("event") == BEGUN:
            return
        if event.get("event") == "checkpoint" and event.get("step", -1) > self._step:
            self._step, self._failures = event["step"], 0
            self._accused.clear()
        self._hub.on_event(self.task, event)

    def tick(self, now: float) -> None:
        """Look at what happened since the last time."""
        if self._stage is Stage.SEATING:
            self._seating(now)
        elif self.generation is None:
            return
        elif self._stage is Stage.WORKING:
            verdict = self.generation.judge(now)
            if verdict is not None:
                self._verdict, self._stage, self._since_s = verdict, Stage.ENDING, now
                self.generation.dismiss(verdict.why or "it is done")
        elif self.generation.dismissed or now - self._since_s > self._hub.limits.end_s + 1.0:
            self.generation.close()
            self._settle(self._verdict, len(self.generation.members), now)

    def _seating(self, now: float) -> None:
        roster = self._hub.roster
        open_ = [worker for worker, seat in self._seats.items() if not seat.done and not roster.lost(worker)]
        if open_ and now - self._since_s < self._hub.limits.seat_s:
            return
        seats: dict[str, str] = {}
        for worker, errand in self._seats.items():
            answer = errand.answer if errand.done else None
            if isinstance(answer, SkymillError):
                self._leave()
                self.outcome = Outcome(self.task, error=answer)
                return
            if isinstance(answer, str) and not roster.lost(worker):
                seats[worker] = answer
            else:
                roster.bar(worker)
                logger.info("%s: worker %s has no room for a member: %s", self.task.key, worker, answer)
        if seats:
            self._begin(seats)
        else:
            self._wait(now + RETRY_S, wanted=len(self._seats) + 1)

    def _begin(self, seats: dict[str, str]) -> None:
        self.number += 1
        self.held = {worker: self.held[worker] for worker in seats}
        self.generation = Generation(self.task, self.number, seats=seats, devices=self.held, hub=self._hub)
        self._stage, self.asked = Stage.WORKING, False
        why, where = self._verdict.why, ", ".join(seats)
        logger.info("%s: generation %d begins on %s", self.task.key, self.number, where)
        event = {"event": "generation", "generation": self.number, "members": len(seats), "why": why}
        self._hub.on_event(self.task, {**event, "time": time.time()})

    def _settle(self, verdict: Verdict, size: int, now: float) -> None:
        self._leave()
        self._failures += verdict.failed
        error = self._final(verdict)
        if verdict.outcome is not None:
            self.outcome = verdict.outcome
        elif error is not None:
            starts = self.number - self.task.first_generation + 1
            self.outcome = Outcome(self.task, error=error, starts=starts)
        else:
            self._bar(verdict)
            self._wait(now + self._hub.limits.grace_s if verdict.lost else now, wanted=size)

    def _final(self, verdict: Verdict) -> SkymillError | None:
        """Return the error that ends the task after this generation, if one does."""
        if verdict.fatal is not None and self._accused - {*verdict.blamed}:
            return verdict.fatal  # another worker has met such a one too, since the last durable step
        if self._failures < self.task.attempts:
            return None
        return verdict.fatal or WorkerError(
            f"{self.task.key}: given up after {self._failures} generations without a new durable step; "
            f"the last one ended: {verdict.why}",
            verdict.remedy
            or "see the workers' logs in the run folder; what is durable stays, so run it again",
        )

    def _bar(self, verdict: Verdict) -> None:
        """Leave out, for a while, the workers that are to blame."""
        if verdict.fatal is not None:
            self._accused.update(verdict.blamed)
        for worker in verdict.blamed:
            self._hub.roster.blame(worker)
            logger.warning("%s: worker %s is left out for a while: %s", self.task.key, worker, verdict.why)
        for worker in verdict.unbegun:
            self._hub.roster.bar(worker)

    def _wait(self, until_s: float, *, wanted: int) -> None:
        self._leave()
        self._stage, self._until_s, self._wanted = Stage.WAITING, until_s, wanted

    def _leave(self) -> None:
        self.generation, self._seats, self.held = None, {}, {}
