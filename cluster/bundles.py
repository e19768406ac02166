"""Tiny tasks travel together: several in one task of Dask's, so that the scheduler is not what takes the time.

Which tasks are tiny is learnt while they run. One that takes as long as a block usually does travels alone, as if this
were not there. A bundle ends when it has taken long enough, and what it has not begun comes back; so a task among
tiny ones that is not tiny holds up no other but those that were done before it. If a worker dies at a bundle, each of
its tasks has lost a start, as any of them may be to blame, and travels alone from then on.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol

from cluster.work import Outcome, Task, find
from schemas.errors import SkymillError, WorkerError

WORK = "cluster.bundles:perform_all"
BUNDLE_S = 0.25
"""How long [s] a bundle is to take, and after which it begins no other task."""
TINY_S = 0.1
"""Tasks that come back faster than one in this time [s], each thread by itself, are worth a bundle."""
MOST = 100
"""Tasks of a bundle."""
SEEN = 8
"""Outcomes of single tasks by which their pace is told."""

logger = logging.getLogger(__name__)


class Supply(Protocol):
    """Tasks that are made when they are asked for, several at a time."""

    def take(self, most: int) -> list[Task]:
        """Return the next tasks, at most so many; none if there is none left now."""


@dataclass(frozen=True)
class Done:
    """What became of one task of a bundle."""

    value: Any = None
    error: SkymillError | None = None


def perform_all(tasks: Sequence[Task]) -> tuple[list[Done], float]:
    """Do tasks one after the other for `BUNDLE_S`; return what became of those begun, and the seconds it took."""
    begun, done = time.monotonic(), list[Done]()
    for task in tasks:
        if done and time.monotonic() - begun > BUNDLE_S:
            break
        try:
            done.append(Done(find(task.work)(**task.arguments)))
        except SkymillError as error:
            done.append(Done(error=error))
        except Exception as error:
            logger.warning("task %s failed", task.key, exc_info=True)
            words = f"{type(error).__name__}: {error}"
            done.append(Done(error=WorkerError(words, "see the workers' logs in the run folder")))
    return done, time.monotonic() - begun


class Bundler:
    """Makes bundles of the tasks of one call of `DaskSession.run`, and opens them again.

    Parameters
    ----------
    tasks : iterable of Task, or Supply
        Consumed only as far as it is asked for.
    """

    def __init__(self, tasks: Iterable[Task] | Supply) -> None:
        self._take = _taker(tasks)
        self._alone: deque[Task] = deque()
        self._back: deque[Task] = deque()
        self._lost: dict[str, int] = {}
        self._number = 0
        self._size = 1
        self._ended: deque[float] = deque(maxlen=SEEN)

    def next(self) -> Task | None:
        """Return the next task, which may be a bundle of some; None if there is none now."""
        if self._alone:
            return self._alone.popleft()
        tasks = [self._back.popleft() for _ in range(min(self._size, len(self._back)))]
        if len(tasks) < self._size:
            tasks += self._take(self._size - len(tasks))
        if not tasks:
            return None
        together = [task for task in tasks if task.starts > 1]
        if len(together) < 2:
            self._alone.extend(tasks)
            return self._alone.popleft()
        self._alone.extend(task for task in tasks if task.starts < 2)
        self._number += 1
        first = together[0]
        key = f"{first.key}-and-{len(together) - 1}-{self._number}"
        return Task(key, WORK, {"tasks": together}, starts=1, stage=first.stage)

    def stage(self) -> str | None:
        """Return the stage of the next task; None if there is none."""
        if (task := self.next()) is None:
            return None
        self._alone.appendleft(task)
        return task.stage

    def open(self, outcome: Outcome, threads: int) -> list[Outcome]:
        """Return what became of the tasks of an outcome; what was not begun will be handed out again."""
        task = outcome.task
        if not isinstance(task, Task) or task.work != WORK:
            self._learn(time.monotonic(), threads)
            return [replace(outcome, starts=outcome.starts + self._lost.pop(task.key, 0))]
        tasks: list[Task] = task.arguments["tasks"]
        if outcome.error is not None:
            return self._dead(tasks)
        done, taken_s = outcome.value
        self._back.extendleft(reversed(tasks[len(done) :]))
        wanted = int(BUNDLE_S / max(taken_s / len(done), 1e-6))
        self._size = max(1, min(MOST, wanted, 2 * self._size))
        self._ended.clear()
        return [self._outcome(one, each) for one, each in zip(tasks, done, strict=False)]

    def _outcome(self, task: Task, done: Done) -> Outcome:
        error = done.error
        if error is not None:
            logger.warning("task %s failed: %s", task.key, error.message)
        if isinstance(error, WorkerError):
            error = WorkerError(f"{task.key}: {error.message}", error.remedy)
        return Outcome(task, value=done.value, error=error)

    def _dead(self, tasks: Sequence[Task]) -> list[Outcome]:
        """Take a start off each task of a bundle whose worker died."""
        self._size = 1
        self._ended.clear()
        for task in tasks:
            self._lost[task.key] = self._lost.get(task.key, 0) + 1
            self._alone.append(replace(task, starts=task.starts - 1))
        return []

    def _learn(self, now: float, threads: int) -> None:
        """Note that a single task ended; begin to bundle when they come fast."""
        self._ended.append(now)
        if len(self._ended) == SEEN and (now - self._ended[0]) * threads < TINY_S * (SEEN - 1):
            self._size = 2


def _taker(tasks: Iterable[Task] | Supply) -> Callable[[int], list[Task]]:
    if isinstance(tasks, Iterable):
        source: Iterator[Task] = iter(tasks)
        return lambda most: list(islice(source, most))
    return tasks.take
