"""Which trials there are, which is the best, and which column weighs the rows."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.training import _Watch, best_trial, trials_of, weight_column
from schemas.config import RunFile
from schemas.errors import Diverged, ModelError, PlanError, SkymillError, WorkerError
from schemas.records import Receipt, Unit

DATA = {
    "schema": 1,
    "name": "a",
    "samples": {"spectro": {"sql": "SELECT specobjid, ra, dec, z FROM SpecObj"}},
}


def run_file(**changes: object) -> RunFile:
    return RunFile.model_validate({**DATA, **changes})


def tried(loss: float | None, error: str = "") -> Receipt:
    return Receipt(1, 0, 0.0, "d", facts={"val_loss": loss, "trial": {}, "error": error})


def test_the_lowest_validation_loss_is_best_and_the_first_of_those_that_share_it():
    trials = {
        "trial/000": tried(0.3),
        "trial/002": tried(0.1),
        "trial/001": tried(0.1),
        "trial/003": tried(None),
    }
    assert best_trial(trials) == "trial/001"
    assert best_trial({"trial/000": tried(math.nan), "trial/001": tried(9.0)}) == "trial/001"


def test_a_search_in_which_every_trial_failed_names_the_first_reason():
    with pytest.raises(ModelError, match=r"none of 2 trials .* the loss is not finite") as caught:
        best_trial({"trial/000": tried(None, "the loss is not finite"), "trial/001": tried(None)})
    assert "search.fields" in caught.value.remedy


def test_trials_are_a_function_of_the_seed_and_there_are_none_without_a_search():
    fields = {"optimizer.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "training.batch": [32, 64]}
    search = {"trials": 4, "fields": fields}
    found = trials_of(run_file(search=search))
    assert len(found) == 4 and found == trials_of(run_file(search=search))
    assert found != trials_of(run_file(search=search, seed=3))
    assert trials_of(run_file()) == []
    coin = trials_of(run_file(search={"trials": 50, "fields": {"training.batch": [32, 64]}}))
    assert sorted(trial["training.batch"] for trial in coin) == [32, 64], "each is tried once"


def test_the_weight_column_is_spelt_as_the_cube_has_it():
    rows = Receipt(1, 0, 0.0, "r", facts={"features": ["feature_zErr", "feature_Weight"]})
    assert weight_column(run_file(training={"weight_column": "weight"}), rows) == "Weight"
    assert weight_column(run_file(), rows) == ""
    with pytest.raises(PlanError, match=r"'w' is no column of numbers .*zErr, Weight"):
        weight_column(run_file(training={"weight_column": "w"}), rows)


@pytest.mark.parametrize("kind", [ModelError, WorkerError])
def test_a_trial_is_excused_for_its_own_values_and_not_for_the_machine_s_faults(kind: type[SkymillError]):
    unit = Unit("search", "trial/000", "i")
    trial = {"optimizer.learning_rate": 1e9}
    watch = _Watch(SimpleNamespace(), Path(), given={unit.key: trial})  # type: ignore[arg-type]
    receipt = watch.excuse(unit, Diverged("the loss became nan", "lower it"))
    assert receipt is not None and receipt.facts == {
        "trial": trial,
        "val_loss": None,
        "error": "the loss became nan",
    }
    assert watch.excuse(unit, kind("the trainer met MemoryError", "more memory")) is None
    assert _Watch(SimpleNamespace(), Path()).excuse(unit, Diverged("x")) is None  # type: ignore[arg-type]
