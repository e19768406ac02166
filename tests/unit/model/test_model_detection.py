import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.detection import binomial_sigma, roc, threshold_at, true_alarms
from schemas.errors import ModelError

RANDOM = np.random.default_rng(5)
NOISE = RANDOM.standard_normal(20_000)
SIGNAL = RANDOM.standard_normal(2_000) + 2.0


def test_two_gaussians_have_the_area_and_the_true_alarms_of_their_closed_forms():
    curve = roc(NOISE, SIGNAL)
    assert curve.area == pytest.approx(0.9214, abs=0.005)  # Phi(2 / sqrt 2)
    one, five = true_alarms(NOISE, SIGNAL)
    # Phi(2 - 2.3263) and Phi(2 - 1.6449)
    assert one.true_alarm == pytest.approx(0.3721, abs=4 * one.true_alarm_sigma)
    assert five.true_alarm == pytest.approx(0.6387, abs=4 * five.true_alarm_sigma)
    assert (one.n_noise, one.n_signal) == (20_000, 2_000)
    assert one.false_alarm_found == pytest.approx(0.01, abs=1e-4)


def test_a_curve_begins_with_no_alarm_and_ends_with_all():
    curve = roc(NOISE[:50], SIGNAL[:70])
    assert (curve.false_alarm[0], curve.true_alarm[0]) == (0, 0)
    assert (curve.false_alarm[-1], curve.true_alarm[-1]) == (1, 1)
    assert (np.diff(curve.false_alarm) >= 0).all() and (np.diff(curve.true_alarm) >= 0).all()
    assert curve.true_alarm_sigma.max() == pytest.approx(0.5 / np.sqrt(70), rel=0.01)


def test_scores_that_do_not_tell_have_half_the_area_even_if_they_are_all_equal():
    assert roc(np.ones(10), np.ones(10)).area == 0.5
    assert roc(NOISE[:10_000], NOISE[10_000:]).area == pytest.approx(0.5, abs=0.02)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=200),
    st.floats(0.005, 0.6),
)
def test_a_threshold_never_alarms_more_than_asked_and_the_next_lower_score_would(scores, rate):
    noise = np.array(scores, float)
    threshold = threshold_at(noise, rate, least_noise=1)
    assert np.mean(noise > threshold) <= rate + 1e-9
    lower = noise[noise < threshold]
    if lower.size:
        assert np.mean(noise > lower.max()) > rate


def test_saturated_scores_do_not_count_as_alarms():
    noise = np.concatenate([np.zeros(9_000), np.ones(1_000)])
    (found,) = true_alarms(noise, np.ones(10), rates=(0.01,))
    assert found.true_alarm == 0 and found.false_alarm_found == 0


def test_too_few_noise_scores_are_refused_with_their_number():
    with pytest.raises(ModelError, match=r"at least 10000 noise-only scores.*found 500"):
        threshold_at(NOISE[:500], 0.01)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1])
def test_a_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(ModelError, match="between 0 and 1"):
        threshold_at(NOISE, rate)


@pytest.mark.parametrize("bad", [np.array([]), np.array([0.1, np.nan])])
def test_scores_that_are_empty_or_not_finite_are_refused(bad):
    with pytest.raises(ModelError, match="finite signal scores"):
        roc(NOISE, bad)
    with pytest.raises(ModelError, match="finite noise-only scores"):
        roc(bad, SIGNAL)


def test_the_band_is_binomial():
    assert binomial_sigma(0.5, 100) == pytest.approx(0.05)
