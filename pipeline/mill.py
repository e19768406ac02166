"""The mill: what a run has at hand, and the one loop that all stages turn in."""

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from psycopg2.extensions import cursor as Cursor

from cluster.desk import Manners
from cluster.work import Outcome, find
from pipeline.hoppers import Arguments, GroupHopper, GroupWatch, Hopper
from pipeline.ledger import Ledger
from pipeline.lost import LOST, lost_blocks, most_lost
from pipeline.sandbox.options import Faults, SandboxOptions
from pipeline.sandbox.process import SandboxProcess, start
from pipeline.sources.choice import source_of
from pipeline.stores.staging import clean, place
from pipeline.view import View
from schemas.config import RunFile
from schemas.errors import Busy, SkymillError, StoreError
from schemas.imaging import MOSAIC
from schemas.records import Receipt, Unit

if TYPE_CHECKING:
    from cluster.session import DaskSession

logger = logging.getLogger(__name__)


class Mill:
    """A run's means: run file, folder, ledger, and, once they are needed, a server and workers.

    A finished run needs neither server nor workers to find that nothing is left to do.
    """

    workers = "cluster.session:DaskSession"
    """What the workers are, by name: Dask is loaded when the first task needs one."""

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
        """URL of the survey server; starts the sandbox if the run file asks for it. One's own fields need none."""
        if self.run_file.images.source == MOSAIC:
            return ""
        if self.run_file.source.url != "sandbox":
            return self.run_file.source.url
        if self._sandbox is None:
            section = self.run_file.sandbox
            options = SandboxOptions(
                sky=section.sky,
                host=section.host,
                faults=Faults(transient=section.transient, outside=section.outside, seed=self.run_file.seed),
                rate_limit_per_s=section.rate_limit_per_s,
                connection_limit=section.connection_limit,
                latency_s=section.latency_s,
                row_cap=self.run_file.source.row_cap,
                csst_galaxies=section.csst_galaxies,
                stamps=Path(section.stamps) if section.stamps else None,
            )
            self._sandbox = start(options, self.folder / "logs" / "sandbox.log")
            self._resources.callback(self._sandbox.stop)
        return self._sandbox.url

    def manners(self) -> Manners:
        """Return what all workers together may ask of the server of the images."""
        server = source_of(self.run_file, self.source_url).url
        return Manners.of(self.run_file.politeness, server, shared=True)

    @property
    def session(self) -> "DaskSession":
        """The workers; they, and Dask with them, are loaded when the first task needs one."""
        if self._session is None:
            session: DaskSession = find(self.workers)(
                self.run_file.cluster,
                scratch=self.run_file.scratch_folder,
                logs=self.folder / "logs",
                say=self.view.say,
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
        return self._bring(units, Hopper(self, work, arguments))

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
        return self._bring(units, GroupHopper(self, work, arguments, watch))

    def note(self, stage: str, text: str) -> None:
        """Show how far the units of a stage are that are under way."""
        self.view.advance(stage, done=self._done[stage], note=text)

    def _bring(self, units: Sequence[Unit], hopper: Hopper) -> dict[str, Receipt]:
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

    def _turn(self, stage: str, todo: deque[Unit], hopper: Hopper, total: int) -> None:
        broken: list[tuple[Unit, SkymillError]] = []
        lost: list[tuple[Unit, SkymillError]] = []
        while todo:
            # an interruption in the loop's body must end what is out before the session closes
            with contextlib.closing(hopper.outcomes(todo)) as rounds:
                for outcomes in rounds:
                    failed = self._take(hopper, outcomes)
                    waiting = len(todo) + hopper.open + len(failed) + len(broken) + len(lost)
                    if len(failed) < len(outcomes):
                        self._done[stage] = total - waiting
                        self.view.advance(stage, done=self._done[stage])
                    for unit, outcome, error in failed:
                        if hopper.again(unit, outcome, error):
                            todo.append(unit)
                        else:
                            (lost if outcome.killed and stage in LOST else broken).append((unit, error))
        if lost and not broken:
            before = sum(block.stage == stage for block in lost_blocks(self.ledger))
            if len(lost) + before > most_lost(total):
                broken = lost
        if broken:
            first = broken[0][1]
            raise type(first)(
                f"{stage}: {len(broken)} of {total} units failed, first: {first.message}", first.remedy
            )
        for unit, error in lost:
            self._lose(unit, error, hopper)

    def _lose(self, unit: Unit, error: SkymillError, hopper: Hopper) -> None:
        """Give a block up: the driver writes the receipt that says of its galaxies that they are lost."""
        why = error.message.removeprefix(f"{unit.stage}-{unit.key}: ")
        attempt, arguments = hopper.begin(unit)
        receipt: Receipt = find(LOST[unit.stage])(unit, why=why, **arguments)
        self._accept(unit, attempt, receipt)
        self._done[unit.stage] += 1
        self.view.advance(unit.stage, done=self._done[unit.stage])
        text = (
            f"{unit.stage} {unit.key} is given up: {why}; its galaxies are listed as failed, and `skymill retry` "
            "asks for them again"
        )
        logger.warning(text)
        self.view.say(text)

    def _take(self, hopper: Hopper, outcomes: Sequence[Outcome]) -> list[tuple[Unit, Outcome, SkymillError]]:
        """Accept the receipts of some outcomes, and return those that have none."""
        results, failed = [], []
        for outcome in outcomes:
            unit, error = hopper.take(outcome), outcome.error
            receipt = hopper.excuse(unit, error) if error else outcome.value
            if receipt is not None:
                results.append((unit, outcome.task.attempt, receipt))
            elif error:
                failed.append((unit, outcome, error))
        if len(results) < 2 or not self._accept_together(results):
            for result in results:
                self._accept(*result)
        return failed

    def _accept_together(self, results: Sequence[tuple[Unit, int, Receipt]]) -> bool:
        """Accept receipts in one transaction; False if that cannot be: each is to be accepted by itself then."""
        try:
            for unit, _, receipt in results:
                self._check_staged(unit, receipt)
            taken = self.ledger.accept_many(results, place=place)
        except StoreError:
            return False
        for unit, _, receipt in results:
            self._clean_up(unit, receipt)
        for (unit, _, _), is_taken in zip(results, taken, strict=True):
            if not is_taken:
                raise _overtaken(unit)
        return True

    def _accept(self, unit: Unit, attempt: int, receipt: Receipt) -> None:
        self._check_staged(unit, receipt)
        try:
            self.keep(unit, attempt, receipt)
        finally:
            self._clean_up(unit, receipt)

    def _check_staged(self, unit: Unit, receipt: Receipt) -> None:
        root = self.run_file.staging_folder(unit.stage)
        for product in receipt.products:
            if not Path(product.staged).is_relative_to(root):
                raise StoreError(
                    f"{unit.stage} {unit.key}: {product.staged} is not in this run's staging area {root}",
                    "give each run a name, output and cube.path of its own, then run the same command again",
                )

    def _clean_up(self, unit: Unit, receipt: Receipt) -> None:
        root = self.run_file.staging_folder(unit.stage)
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
            raise _overtaken(unit)

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


def _overtaken(unit: Unit) -> Busy:
    return Busy(
        f"{unit.stage} {unit.key}: another driver has taken this run; this result is not kept",
        "leave it to that driver, or end it and run the same command again",
    )
