import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.deviations import MAX_PAIRS, clipped, hodges_lehmann, nmad

VALUES = st.lists(st.floats(-1, 1).map(lambda x: round(x, 6)), min_size=1, max_size=30).map(np.array)


def test_the_nmad_of_a_normal_distribution_is_its_deviation():
    delta = np.random.default_rng(0).normal(0.3, 0.02, 100_000)
    assert nmad(delta, np.ones_like(delta)) == pytest.approx(0.02, rel=0.01)


def test_where_the_median_is_taken_off_makes_a_difference():
    difference, one_plus_z = np.array([0.1, 0.2, 0.4]), np.array([1.0, 2.0, 4.0])
    assert nmad(difference, one_plus_z, constant=1) == 0  # all Δ are 0.1
    assert nmad(difference, one_plus_z, constant=1, centring="none") == pytest.approx(0.1)
    assert nmad(difference, one_plus_z, constant=1, centring="raw median") == pytest.approx(0.05)


def test_clipping_goes_on_until_nothing_more_is_left_out():
    random = np.random.default_rng(1)
    values = np.concatenate([random.normal(0, 0.01, 5000), np.full(50, 0.2), np.full(30, 2.0)])
    sigma, kept = clipped(values, 3.0)
    assert sigma == pytest.approx(0.01, rel=0.05)
    assert not kept[5000:].any()
    assert (np.abs(values[kept]) <= 3 * sigma).all()
    once = values[np.abs(values) <= 3 * values.std()]
    assert sigma < 0.7 * once.std()


def test_clipping_ends_where_all_values_are_the_same():
    assert clipped(np.full(5, 0.1), 3.0)[0] == pytest.approx(0)
    assert clipped(np.zeros(5), 3.0)[1].all()


def test_hodges_lehmann_is_the_median_of_the_means_of_pairs():
    values = np.array([0.0, 1.0, 5.0])
    pairs = [(a + b) / 2 for i, a in enumerate(values) for b in values[i:]]
    assert hodges_lehmann(values) == np.median(pairs)


@settings(max_examples=40)
@given(VALUES, st.floats(-1, 1))
def test_hodges_lehmann_moves_with_its_values_and_stays_among_them(values, shift):
    found = hodges_lehmann(values)
    assert values.min() <= found <= values.max()
    assert hodges_lehmann(values + shift) == pytest.approx(found + shift, abs=1e-9)
    assert hodges_lehmann(-values) == pytest.approx(-found, abs=1e-12)


def test_hodges_lehmann_of_many_is_robust_seeded_and_near_the_middle():
    values = np.random.default_rng(2).normal(0.01, 0.05, 4000)
    assert len(values) ** 2 / 2 > MAX_PAIRS
    values[:200] = 5.0
    found = hodges_lehmann(values)
    assert found == hodges_lehmann(values)
    assert found == pytest.approx(0.01, abs=0.006)
    assert values.mean() > 0.2
