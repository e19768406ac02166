"""The mill: what a run has at hand, and the one loop that all stages turn in."""

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from psycopg2.extensions import cursor as Cursor

from cluster.desk import Manners
from cluster.work import GroupTask, Outcome, Task, find
from pipeline.ledger import Ledger
from pipeline.sandbox.options import Faults, SandboxOptions
from pipeline.sandbox.process import SandboxProcess, start
from pipeline.stores.staging import Staging, clean, place
from pipeline.view import View
from schemas.config import RunFile
from schemas.digests import digest_of
from schemas.errors import Busy, SkymillError, SourceDown, StoreError, WorkerError
from schemas.records import Receipt, Unit

if TYPE_CHECKING:
    from cluster.session import DaskSession

Arguments = Callable[[Unit, Staging], dict[str, object]]
"""From a unit and its place in the staging area to the keywords of the stage's work function."""


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


class Mill:
    """A run's means: run file, folder, ledger, and, once they are needed, a server and workers.

    A finished run needs neither server nor workers to find that nothing is left to do.
    """

    def __init__(self, run_file: RunFile, *, dsn: str, ledger: Ledger, view: View) -> None:
        self.run_file = run_file
        self.dsn = dsn
        self.ledger = ledger
        self.view = view
        self.folder = run_file.folder
        self.worked = 0
        self._done: dict[str, int] = {}
        self._resources = contextlib.ExitStack()
        self._session: DaskSession | None = None
        self._sandbox: SandboxProcess | None = None

    @property
    def source_url(self) -> str:
        """URL of the survey server; starts the sandbox if the run file asks for it."""
        if self.run_file.source.url != "sandbox":
            return self.run_file.source.url
        if self._sandbox is None:
            section = self.run_file.sandbox
            options = SandboxOptions(
                sky=section.sky,
                faults=Faults(transient=section.transient, outside=section.outside, seed=self.run_file.seed),
                rate_limit_per_s=section.rate_limit_per_s,
                connection_limit=section.connection_limit,
                latency_s=section.latency_s,
                row_cap=self.run_file.source.row_cap,
            )
            self._sandbox = start(options, self.folder / "logs" / "sandbox.log")
            self._resources.callback(self._sandbox.stop)
        return self._sandbox.url

    def manners(self) -> Manners:
        """Return what all workers together may ask of the server."""
        return Manners.of(self.run_file.politeness, self.source_url, shared=True)

    @property
    def session(self) -> "DaskSession":
        """The workers; they, and Dask with them, are loaded when the first task needs one."""
        if self._session is None:
            session: DaskSession = find("cluster.session:DaskSession")(
                self.run_file.cluster, scratch=self.run_file.scratch_folder, say=self.view.say
            )
            self._session = self._resources.enter_context(session)
            session.client.register_plugin(find("cluster.workers:WorkerLog")(str(self.folder / "logs")))
            find("cluster.politeness:install")(session.client)
        return self._session

    def drive(self, units: Sequence[Unit], work: str, arguments: Arguments) -> dict[str, Receipt]:
        """Bring a stage's units to their end, each by a task, and return their receipts by key.

        Units the ledger holds a receipt for, made from the same inputs, are not done again.

        Raises
        ------
        SkymillError
            If a unit fails for good; what other units made is kept.
        """
        return self._bring(units, _Hopper(self, work, arguments))

    def drive_groups(
        self, units: Sequence[Unit], work: str, arguments: Arguments, *, watch: GroupWatch
    ) -> dict[str, Receipt]:
        """Bring a stage's units to their end, each by a group of workers, and return their receipts by key.

        All workers of the session take part; several units are worked on side by side. `work` is called on each
        member of a unit's group, see `cluster.groups.GroupTask`.

        Raises
        ------
        SkymillError
            If a unit fails for good, and `watch` does not excuse it; what other units made is kept.
        """
        return self._bring(units, _GroupHopper(self, work, arguments, watch))

    def note(self, stage: str, text: str) -> None:
        """Show how far the units of a stage are that are under way."""
        self.view.advance(stage, done=self._done[stage], note=text)

    def _bring(self, units: Sequence[Unit], hopper: "_Hopper") -> dict[str, Receipt]:
        if not units:
            return {}
        stage = units[0].stage
        self.ledger.drop_missing(stage, [unit.key for unit in units])
        todo = deque(self.ledger.todo(units))
        self._done[stage] = len(units) - len(todo)
        self.view.stage(stage, total=len(units), done=self._done[stage])
        if todo:
            self._turn(stage, todo, hopper, len(units))
            self.worked += len(units)
        planned = {unit.key for unit in units}
        return {key: receipt for key, (_, receipt) in self.ledger.receipts(stage).items() if key in planned}

    def _turn(self, stage: str, todo: deque[Unit], hopper: "_Hopper", total: int) -> None:
        broken: list[SkymillError] = []
        while todo:
            # an interruption in the loop's body must end what is out before the session closes
            with contextlib.closing(hopper.outcomes(todo)) as outcomes:
                for outcome in outcomes:
                    unit = hopper.take(outcome)
                    error = outcome.error
                    receipt = hopper.excuse(unit, error) if error else outcome.value
                    if receipt is not None:
                        self._accept(unit, outcome.task.attempt, receipt)
                        self._done[stage] = total - len(todo) - hopper.open - len(broken)
                        self.view.advance(stage, done=self._done[stage])
                    elif error and hopper.again(unit, outcome, error):
                        todo.append(unit)
                    elif error:
                        broken.append(error)
        if broken:
            first = broken[0]
            raise type(first)(
                f"{stage}: {len(broken)} of {total} units failed, first: {first.message}", first.remedy
            )

    def _accept(self, unit: Unit, attempt: int, receipt: Receipt) -> None:
        root = self.run_file.staging_folder(unit.stage)
        for product in receipt.products:
            if not Path(product.staged).is_relative_to(root):
                raise StoreError(
                    f"{unit.stage} {unit.key}: {product.staged} is not in this run's staging area {root}",
                    "give each run a name, output and cube.path of its own, then run the same command again",
                )
        try:
            self.keep(unit, attempt, receipt)
        finally:
            for product in receipt.products[:1]:
                clean(root.joinpath(*Path(product.staged).relative_to(root).parts[:2]))

    def keep(
        self,
        unit: Unit,
        attempt: int,
        receipt: Receipt,
        also: Callable[[Cursor], None] | None = None,
    ) -> None:
        """Have the ledger accept a receipt, place its products, and do what is `also` to be done with it.

        Raises
        ------
        Busy
            If another driver has begun the unit anew.
        """
        if not self.ledger.accept(unit, attempt, receipt, place=lambda: place(receipt), also=also):
            raise Busy(
                f"{unit.stage} {unit.key}: another driver has taken this run; this result is not kept",
                "leave it to that driver, or end it and run the same command again",
            )

    def clean(self) -> None:
        """Remove what attempts that came to nothing have left in the staging area."""
        for stage in ("fetch", ""):
            clean(self.run_file.staging_folder(stage))

    def do(self, unit: Unit, work: str, /, **arguments: object) -> Receipt:
        """Do a unit in this process, if the ledger has no receipt for it yet.

        `work` is the name of a function of this mill and of `arguments`, which is loaded only now.
        """
        if not self.ledger.todo([unit]):
            return self.ledger.receipts(unit.stage)[unit.key][1]
        attempt = self.ledger.begin(unit)
        try:
            receipt: Receipt = find(work)(self, **arguments)
        except SkymillError as error:
            self.ledger.fail(unit, attempt, str(error), final=True)
            raise
        self.keep(unit, attempt, receipt)
        self.worked += 1
        return receipt

    def __enter__(self) -> "Mill":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._resources.close()


class _Hopper:
    """Feeds units to workers, knows which are out, and how often those that failed were started."""

    def __init__(self, mill: Mill, work: str, arguments: Arguments) -> None:
        self._mill = mill
        self._work = work
        self._arguments = arguments
        self._out: dict[str, Unit] = {}
        self._starts: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """Number of units that are out."""
        return len(self._out)

    def outcomes(self, todo: deque[Unit]) -> Generator[Outcome]:
        """Yield what becomes of the units, as it comes; `todo` is consumed as fast as workers take it."""
        return self._mill.session.run(self._tasks(todo))

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

    def _tasks(self, todo: deque[Unit]) -> Iterator[Task]:
        while todo:
            unit = todo.popleft()
            attempt, arguments = self._begin(unit)
            starts = self._mill.run_file.cluster.attempts - self._starts[unit.key]
            key = f"{unit.stage}-{unit.key}"
            self._out[key] = unit
            yield Task(key, self._work, arguments, attempt, starts)

    def _begin(self, unit: Unit) -> tuple[int, dict[str, Any]]:
        attempt = self._mill.ledger.begin(unit)
        root = self._mill.run_file.staging_folder(unit.stage)
        return attempt, self._arguments(unit, Staging(str(root), unit.stage, unit.key, attempt))

    def _fail(self, unit: Unit, outcome: Outcome, error: SkymillError, *, final: bool) -> None:
        self._mill.ledger.fail(unit, outcome.task.attempt, str(error), final=final)
        if isinstance(error, SourceDown | StoreError):  # every other unit would meet the same
            raise error


class _GroupHopper(_Hopper):
    """Feeds units to groups of workers, which look themselves after members that are lost."""

    def __init__(self, mill: Mill, work: str, arguments: Arguments, watch: GroupWatch) -> None:
        super().__init__(mill, work, arguments)
        self._watch = watch

    def outcomes(self, todo: deque[Unit]) -> Generator[Outcome]:
        """Yield what becomes of the units, as it comes; a unit begins when a group takes it."""
        outcomes: Generator[Outcome] = find("cluster.groups:run_groups")(
            self._mill.session,
            self._group_tasks(todo),
            regroup=self._regroup,
            on_event=self._hear,
        )
        return outcomes

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
            attempt, arguments = self._begin(unit)
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
