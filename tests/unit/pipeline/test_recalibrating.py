"""What a run may ask of its calibration part is told before anything is asked of a server."""

import pytest

from pipeline.checks import check, check_labelled
from pipeline.recalibrating import kind_for, learnt
from schemas.config import RunFile
from schemas.errors import ModelError, PlanError
from schemas.records import Receipt

DATA = {
    "schema": 1,
    "name": "a",
    "samples": {"spectro": {"sql": "SELECT specobjid, ra, dec, z FROM SpecObj"}},
    "recalibration": {"kind": "auto"},
    "split": {"calibration": 0.1},
}


def run_file(**changes: object) -> RunFile:
    return RunFile.model_validate({**DATA, **changes})


def limited(objects: int) -> dict[str, object]:
    return {"spectro": {"sql": "SELECT specobjid, ra, dec, z FROM SpecObj", "limit": objects}}


def rows(**splits: int) -> dict[str, Receipt]:
    return {"spectro": Receipt(9, 0, 0.0, "r", facts={"splits": splits, "labelled": 9, "features": []})}


SCALAR = {"preset": "menko"}


@pytest.mark.parametrize(
    ("changes", "error", "words", "remedy"),
    [
        ({"split": {}}, PlanError, "split.calibration is 0", "split.calibration to 0.1"),
        (
            {"model": SCALAR, "images": {"pixels": 128}},
            ModelError,
            "head 'scalar' says neither a PDF nor an error",
            "bins, gaussian",
        ),
        (
            {"recalibration": {"kind": "alpha"}},
            ModelError,
            "'alpha', which does not suit head 'bins'",
            '"pit"',
        ),
        (
            {"samples": limited(1000)},
            PlanError,
            "at least 200 rows, and the calibration part of at most 1,000",
            "",
        ),
    ],
)
def test_a_recalibration_that_cannot_be_is_refused_when_a_run_is_planned(changes, error, words, remedy):
    with pytest.raises(error) as caught:
        check(run_file(**changes))
    assert words in caught.value.message and remedy in caught.value.remedy


def test_too_small_a_calibration_part_is_told_before_the_fetch():
    check(run_file())
    enough = {"train": 5000, "validation": 300, "test": 300}
    check_labelled(run_file(), rows(**enough, calibration=200))
    with pytest.raises(
        PlanError, match=r"at least 200 rows, and the calibration part of 5,799 labelled ones is 199"
    ):
        check_labelled(run_file(), rows(**enough, calibration=199))
    check_labelled(run_file(recalibration={"kind": "auto", "rows": 150}), rows(**enough, calibration=199))
    check_labelled(run_file(recalibration={"kind": "none"}), rows(**enough))


def test_the_parts_of_a_split_leave_a_test_part():
    with pytest.raises(ValueError, match=r"train \+ validation \+ calibration < 1"):
        run_file(split={"train": 0.7, "validation": 0.15, "calibration": 0.15})


def test_auto_is_a_factor_of_gaussian_errors_and_a_map_of_the_pit_of_bins():
    assert kind_for(run_file(), {"kind": "gaussian"}) == "alpha"
    assert kind_for(run_file(), {"kind": "bins"}) == "pit"
    assert kind_for(run_file(recalibration={"kind": "alpha"}), {"kind": "gaussian"}) == "alpha"


def test_what_was_not_justified_is_not_applied():
    fitted = {"kind": "alpha", "alpha": 1.2}
    made = {
        applied: {"calibration": Receipt(9, 0, 0.0, "c", facts={"applied": applied, "fitted": fitted})}
        for applied in (True, False)
    }
    assert learnt(made[True]) == fitted
    assert learnt(made[False]) is None and learnt({}) is None
