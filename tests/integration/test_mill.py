"""The loop that all stages turn in, with a real ledger and a real worker."""

import dataclasses
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.hoppers import GroupHopper
from pipeline.ledger import Ledger
from pipeline.mill import Mill
from pipeline.stores.staging import Staging
from pipeline.training import _Watch, train
from pipeline.view import open_view
from schemas.config import RunFile
from schemas.errors import Busy, ModelError, SkymillError, StoreError, WorkerError
from schemas.records import Product, Receipt, Unit

UNIT = Unit("infer", "spectro/00000", "i1")
RECEIPT = Receipt(rows=1, bytes=0, seconds=0.0, digest="d1")


def overtaken(mill: Mill) -> Receipt:
    """Work for `Mill.do`, during which a second driver takes the unit."""
    mill.ledger.begin(UNIT)
    return RECEIPT


@pytest.fixture
def mill(database_dsn: str, tmp_path: Path):
    run_file = RunFile.model_validate(
        {
            "schema": 1,
            "name": "demo",
            "output": str(tmp_path),
            "samples": {"spectro": {"sql": "SELECT specobjid, ra, dec FROM SpecObj", "key": "specobjid"}},
            "training": {"sample": "spectro"},
            "cluster": {"workers": 1, "memory_gib": 1.0, "attempts": 3},
        }
    )
    with Ledger.open(database_dsn) as ledger:
        ledger.open_run("demo", {"name": "demo"}, provenance={}, seed=1)
        with Mill(run_file, dsn=database_dsn, ledger=ledger, view=open_view(quiet=True)) as mill:
            yield mill


def a_receipt(*products: Product) -> dict[str, object]:
    return vars(dataclasses.replace(RECEIPT, products=products))


def test_a_receipt_from_the_staging_area_of_another_run_is_refused(mill: Mill, tmp_path: Path):
    strange = tmp_path / "other" / "staging" / "infer" / "x" / "part.parquet"
    strange.parent.mkdir(parents=True)
    strange.write_bytes(b"1234")
    product = Product(str(strange), str(tmp_path / "final.parquet"), 4, "")
    with pytest.raises(StoreError, match="not in this run's staging area"):
        mill.drive([UNIT], "schemas.records:Receipt", lambda unit, staging: a_receipt(product))
    assert strange.exists() and not (tmp_path / "final.parquet").exists()
    assert mill.ledger.receipts("infer") == {}


def test_a_result_that_another_driver_has_overtaken_stops_this_one(mill: Mill):
    def arguments(unit: Unit, staging: Staging) -> dict[str, object]:
        mill.ledger.begin(unit)  # as a second driver would
        return a_receipt()

    with pytest.raises(Busy, match="another driver has taken this run"):
        mill.drive([UNIT], "schemas.records:Receipt", arguments)


def test_a_result_of_the_driver_itself_that_was_overtaken_is_not_returned(mill: Mill):
    with pytest.raises(Busy, match="another driver has taken this run"):
        mill.do(UNIT, f"{__name__}:overtaken")


def test_deaths_and_failures_of_a_unit_count_together(mill: Mill, tmp_path: Path):
    marks = tmp_path / "pids"
    command = f"echo $PPID >> {marks}; [ $(wc -l < {marks}) -gt 1 ] && exit 3; kill -9 $PPID; sleep 5"
    with pytest.raises(WorkerError, match="1 of 1 units failed"):
        mill.drive([UNIT], "subprocess:check_call", lambda unit, staging: {"args": command, "shell": True})
    assert len(marks.read_text().split()) == 3  # one death, two failures
    (_, _, attempt, _) = mill.ledger.errors()[0]
    assert attempt == 2


GROUP_WORK = """
from schemas.errors import ModelError
from schemas.records import Receipt

def learn(number, place, tell, stopped):
    tell({"event": "step", "number": number})
    if place.rank:
        return None
    if number == 1:
        raise ModelError("the loss is not finite", "lower it")
    return Receipt(rows=number, bytes=0, seconds=0.0, digest=f"d{number}", facts={"at": place.generation})
"""


class Listener:
    """A stage's side of its groups: it hears, and excuses what it is told to."""

    growable = False

    def __init__(self, *, excused: bool) -> None:
        self.heard: list[tuple[str, int]] = []
        self._excused = excused

    def first_generation(self, unit: Unit) -> int:
        return 7

    def regroup(self, unit: Unit, generation: int) -> None:
        raise AssertionError("nobody joins")

    def hear(self, unit: Unit, event: Mapping[str, Any]) -> None:
        if event["event"] == "step":
            self.heard.append((unit.key, event["number"]))

    def excuse(self, unit: Unit, error: SkymillError) -> Receipt | None:
        return RECEIPT if self._excused and "not finite" in error.message else None


def drive_three(mill: Mill, listener: Listener) -> dict[str, Receipt]:
    units = [Unit("search", f"trial/{number:03d}", f"i{number}", {"number": number}) for number in range(3)]

    def arguments(unit: Unit, staging: Staging) -> dict[str, object]:
        return {"number": unit.arguments["number"]}

    return mill.drive_groups(units, "group_work:learn", arguments, watch=listener)


def test_units_of_groups_are_kept_excused_or_failed_each_by_itself(
    mill: Mill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "group_work.py").write_text(GROUP_WORK)
    monkeypatch.syspath_prepend(tmp_path)  # spawned workers have the same
    with pytest.raises(ModelError, match="search: 1 of 3 units failed, first: the loss is not finite"):
        drive_three(mill, Listener(excused=False))
    assert sorted(mill.ledger.receipts("search")) == ["trial/000", "trial/002"]
    assert [error[:2] for error in mill.ledger.errors()] == [("search", "trial/001")]
    again = Listener(excused=True)
    kept = drive_three(mill, again)
    assert [kept[key].digest for key in sorted(kept)] == ["d0", "d1", "d2"]
    assert kept["trial/002"].facts == {"at": 7}
    assert set(again.heard) == {("trial/001", 1)}, "what was done is not done again"


def test_two_runs_of_one_name_have_groups_of_their_own_on_one_scheduler(mill: Mill, tmp_path: Path):
    other = mill.run_file.model_copy(update={"output": str(tmp_path / "other")})
    unit = Unit("train", "model", "i1")
    mill.ledger.todo([unit])

    def key(run_file: RunFile) -> str:
        same = Mill(run_file, dsn=mill.dsn, ledger=mill.ledger, view=mill.view)
        hopper = GroupHopper(same, "group_work:learn", lambda unit, staging: {}, Listener(excused=False))
        (task,) = hopper._group_tasks(deque([unit]))
        return task.key

    assert key(mill.run_file) == key(mill.run_file) != key(other)


@pytest.mark.parametrize(
    ("backend", "given", "growable"),
    [("tensorflow", None, True), ("tensorflow", {"trial/000": {}}, False), ("jax", None, False)],
)
def test_only_what_gains_by_more_workers_is_begun_anew_for_them(
    mill: Mill, tmp_path: Path, backend: str, given: dict[str, dict[str, Any]] | None, growable: bool
):
    model = mill.run_file.model.model_copy(update={"backend": backend})
    mill.run_file = mill.run_file.model_copy(update={"model": model})
    unit = Unit("train", "model", "i1", {"weights": "w"})
    mill.ledger.todo([unit])
    hopper = GroupHopper(mill, "a:b", lambda unit, staging: {}, _Watch(mill, tmp_path, given=given))
    (task,) = hopper._group_tasks(deque([unit]))
    assert (task.growable, task.deadline_s) == (growable, mill.run_file.training.deadline_s)


def test_a_search_of_which_no_trial_came_to_an_end_is_tried_again(mill: Mill):
    unit = Unit("search", "trial/000", "i1")
    facts = {"trial": {}, "val_loss": None, "error": "the loss became nan"}
    mill.ledger.todo([unit])
    mill.ledger.accept(unit, mill.ledger.begin(unit), dataclasses.replace(RECEIPT, facts=facts))
    tried = {key: receipt for key, (_, receipt) in mill.ledger.receipts("search").items()}
    with pytest.raises(ModelError, match="none of 1 trials"):
        train(mill, RECEIPT, {}, tried, {})
    assert mill.ledger.todo([unit]) == [unit]
