"""Hoppers feed a stage's units to workers: one by one, or to groups that work on each together."""

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from cluster.work import GroupTask, Outcome, Task, find
from pipeline.stores.staging import Staging
from schemas.digests import digest_of
from schemas.errors import SkymillError, SourceDown, StoreError, WorkerError
from schemas.records import Receipt, Unit

if TYPE_CHECKING:
    from pipeline.mill import Mill

Arguments = Callable[[Unit, Staging], dict[str, object]]
"""From a unit and its place in the staging area to the keywords of the stage's work function."""


WORKERS_OF = dict.fromkeys(("calibrate", "scene", "classify", "sources"), "infer")
"""Stages whose tasks go to the workers of another stage, where workers are for some stages only."""


class GroupWatch(Protocol):
    """What a stage has to say to the groups that work on its units, and hears of them."""

    @property
    def growable(self) -> bool:
        """Whether a group is worth beginning anew when more workers are there."""

    def first_generation(self, unit: Unit) -> int:
        """Return a number that no generation of a unit's group has had, nor a later one."""

    def regroup(self, unit: Unit, generation: int) -> None:
        """Ask a unit's group to end at its next boundary, so that it may begin anew with more members."""

    def hear(self, unit: Unit, event: Mapping[str, Any]) -> None:
        """Take what a member of a unit's group says."""

    def excuse(self, unit: Unit, error: SkymillError) -> Receipt | None:
        """Return the receipt that a unit is to have although it failed; None where a failure is one."""


class Hopper:
    """Feeds units to workers, knows which are out, and how often those that failed were started."""

    def __init__(self, mill: "Mill", work: str, arguments: Arguments) -> None:
        self._mill = mill
        self._work = work
        self._arguments = arguments
        self._out: dict[str, Unit] = {}
        self._starts: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """Number of units that are out."""
        return len(self._out)

    def outcomes(self, todo: deque[Unit]) -> Generator[list[Outcome]]:
        """Yield what becomes of the units, as it comes; `todo` is consumed as fast as workers take it."""
        return self._mill.session.run_together(_Supply(self, todo))

    def take(self, outcome: Outcome) -> Unit:
        """Return the unit an outcome belongs to."""
        return self._out.pop(outcome.task.key)

    def excuse(self, unit: Unit, error: SkymillError) -> Receipt | None:
        """Excuse no failure."""
        return None

    def again(self, unit: Unit, outcome: Outcome, error: SkymillError) -> bool:
        """Record a failure, and say whether the unit is worth another try.

        What a worker's death or a bug broke is tried again, until it was started ``cluster.attempts`` times in
        all; an error that names its remedy is not.
        """
        self._starts[unit.key] += outcome.starts
        left = self._mill.run_file.cluster.attempts - self._starts[unit.key]
        retry = isinstance(error, WorkerError) and left > 0
        self._fail(unit, outcome, error, final=not retry)
        return retry

    def tasks(self, units: list[Unit]) -> list[Task]:
        """Begin units in the ledger, all together, and return their tasks."""
        attempts = self._mill.ledger.begin_many(units)
        return [self._task(unit, attempt) for unit, attempt in zip(units, attempts, strict=True)]

    def _task(self, unit: Unit, attempt: int) -> Task:
        starts = self._mill.run_file.cluster.attempts - self._starts[unit.key]
        key = f"{unit.stage}-{unit.key}"
        self._out[key] = unit
        worked_on_by = WORKERS_OF.get(unit.stage, unit.stage)
        return Task(key, self._work, self._arguments_of(unit, attempt), attempt, starts, worked_on_by)

    def begin(self, unit: Unit) -> tuple[int, dict[str, Any]]:
        """Begin a unit in the ledger; return its attempt and the arguments of its work."""
        attempt = self._mill.ledger.begin(unit)
        return attempt, self._arguments_of(unit, attempt)

    def _arguments_of(self, unit: Unit, attempt: int) -> dict[str, Any]:
        root = self._mill.run_file.staging_folder(unit.stage)
        return self._arguments(unit, Staging(str(root), unit.stage, unit.key, attempt))

    def _fail(self, unit: Unit, outcome: Outcome, error: SkymillError, *, final: bool) -> None:
        self._mill.ledger.fail(unit, outcome.task.attempt, str(error), final=final)
        if isinstance(error, SourceDown | StoreError):  # every other unit would meet the same
            raise error


class _Supply:
    """The tasks of units that wait; each unit begins when its task is taken."""

    def __init__(self, hopper: Hopper, todo: deque[Unit]) -> None:
        self._hopper = hopper
        self._todo = todo

    def take(self, most: int) -> list[Task]:
        """Begin the next units, at most so many, and return their tasks."""
        units = [self._todo.popleft() for _ in range(min(most, len(self._todo)))]
        return self._hopper.tasks(units) if units else []


class GroupHopper(Hopper):
    """Feeds units to groups of workers, which look themselves after members that are lost."""

    def __init__(self, mill: "Mill", work: str, arguments: Arguments, watch: GroupWatch) -> None:
        super().__init__(mill, work, arguments)
        self._watch = watch

    def outcomes(self, todo: deque[Unit]) -> Generator[list[Outcome]]:
        """Yield what becomes of the units, as it comes; a unit begins when a group takes it."""
        outcomes: Generator[Outcome] = find("cluster.groups:run_groups")(
            self._mill.session,
            self._group_tasks(todo),
            regroup=self._regroup,
            on_event=self._hear,
        )
        with contextlib.closing(outcomes):
            for outcome in outcomes:
                yield [outcome]

    def excuse(self, unit: Unit, error: SkymillError) -> Receipt | None:
        """Excuse what the stage excuses."""
        return self._watch.excuse(unit, error)

    def again(self, unit: Unit, outcome: Outcome, error: SkymillError) -> bool:
        """Record a failure, which is final: the generations of the group were all its tries."""
        self._fail(unit, outcome, error, final=True)
        return False

    def _regroup(self, task: GroupTask, generation: int) -> None:
        if unit := self._out.get(task.key):
            self._watch.regroup(unit, generation)

    def _hear(self, task: GroupTask, event: Mapping[str, Any]) -> None:
        if unit := self._out.get(task.key):  # a last word may come after the outcome
            self._watch.hear(unit, event)

    def _group_tasks(self, todo: deque[Unit]) -> Iterator[GroupTask]:
        run_file = self._mill.run_file
        # the scheduler may be shared with a run of the same name
        home = digest_of({"folder": run_file.folder})[:8]
        while todo:
            unit = todo.popleft()
            attempt, arguments = self.begin(unit)
            key = f"{run_file.name}-{home}-{unit.stage}-{unit.key}"
            self._out[key] = unit
            yield GroupTask(
                key,
                self._work,
                arguments,
                attempt,
                attempts=run_file.cluster.attempts,
                first_generation=self._watch.first_generation(unit),
                growable=self._watch.growable,
                deadline_s=run_file.training.deadline_s,
            )
