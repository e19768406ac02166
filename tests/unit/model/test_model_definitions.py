import json

import numpy as np
import pytest

from model.definitions import check_suits, detection_metrics, errors_of, kind_of, measure_by
from model.detection import area_sigma
from model.metrics import DEFINITIONS, photoz_metrics
from schemas.errors import ModelError

LABEL = np.array([0.0] * 200 + [1.0] * 10)
SCORE = np.r_[np.arange(200) / 200, np.full(5, 0.9925), np.full(5, 0.5)]


def test_redshifts_are_measured_as_ever():
    true, pred = np.array([0.1, 0.2, 0.3]), np.array([0.11, 0.19, 0.4])
    for name in DEFINITIONS:
        assert measure_by(name, true, pred) == photoz_metrics(true, pred, definition=name).as_dict()


def test_a_detector_has_the_area_and_the_true_alarms_worked_out_by_hand():
    found = detection_metrics(LABEL, SCORE)
    # A score of 0.9925 is above 199 of the 200; one of 0.5 above 100, and equal to one.
    assert found["area"] == pytest.approx((5 * 199 / 200 + 5 * 100.5 / 200) / 10)
    assert (found["n"], found["n_noise"], found["n_signal"]) == (210, 200, 10)
    one, five = found["alarms"]
    assert (one["false_alarm"], one["true_alarm"]) == (0.01, 0.5)  # 0.985 is exceeded by two of the noise
    assert one["threshold"] == pytest.approx(0.985) and one["false_alarm_found"] == 0.01
    assert five["true_alarm_sigma"] == pytest.approx(np.sqrt(0.25 / 10))


def test_the_sigma_of_an_area_is_that_of_many_samples():
    random = np.random.default_rng(3)
    areas = []
    for _ in range(300):
        noise, signal = random.standard_normal(60), random.standard_normal(40) + 1
        areas.append((signal[:, None] > noise).mean())
    assert area_sigma(float(np.mean(areas)), 60, 40) == pytest.approx(np.std(areas), rel=0.15)


def test_a_rate_that_one_sample_exceeds_is_not_said_and_one_class_is_no_error():
    assert [alarm["false_alarm"] for alarm in detection_metrics(LABEL[-40:], SCORE[-40:])["alarms"]] == [0.05]
    nothing = detection_metrics(np.zeros(5), SCORE[:5])
    assert (nothing["area"], nothing["area_sigma"], nothing["alarms"]) == (None, None, [])


@pytest.mark.parametrize("name", [*DEFINITIONS, "regression", "detection"])
def test_a_result_carries_its_definition_and_number_and_is_plain(name):
    found = measure_by(name, LABEL, SCORE)
    assert (found["definition"], found["n"]) == (name, 210) and found["text"]
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("definition", "head", "column", "said", "words"),
    [
        ("skymill", "binary", "z", True, "head 'binary' answers with the probability of yes"),
        ("regression", "binary", "signal", True, "head 'binary'"),
        ("detection", "scalar", "signal", True, "head 'scalar' answers with another number"),
        ("skymill", "sigmoid", "lambda_r", False, "'lambda_r' is not called as a redshift"),
        ("skymill", "scalar", "lambda_r", True, ""),
        ("skymill", "bins", "Z_noqso", False, ""),
        ("skymill", "bins", "photoz", False, ""),
        ("regression", "bins", "z", True, ""),
        ("detection", "binary", "signal", True, ""),
    ],
)
def test_a_definition_that_does_not_suit_is_refused_with_the_one_that_does(
    definition, head, column, said, words
):
    if not words:
        check_suits(definition, {"kind": head}, column, said=said)
        return
    with pytest.raises(ModelError) as caught:
        check_suits(definition, {"kind": head}, column, said=said)
    assert words in caught.value.message
    assert ("detection" if head == "binary" else "regression") in caught.value.remedy


def test_errors_are_relative_to_one_plus_z_for_redshifts_only():
    true, pred = np.array([1.0]), np.array([1.5])
    assert (errors_of("dey2022", true, pred)[0], errors_of("regression", true, pred)[0]) == (0.25, 0.5)
    assert {kind_of(name) for name in DEFINITIONS} == {"redshift"}
