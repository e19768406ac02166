from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.patience import LONGEST_BACKOFF_S, backoff_s

DRAW = st.floats(0, 1, exclude_max=True)


@given(tries=st.integers(1, 1000), base_s=st.floats(0.001, 10), draw=DRAW)
def test_a_wait_is_never_longer_than_half_above_the_longest_nor_shorter_than_half_the_base(
    tries, base_s, draw
):
    assert 0.5 * base_s <= backoff_s(tries, base_s, draw) <= 1.5 * LONGEST_BACKOFF_S


@given(tries=st.integers(1, 50), base_s=st.floats(0.001, 10), draw=DRAW)
def test_with_the_same_draw_a_further_failure_never_waits_shorter(tries, base_s, draw):
    assert backoff_s(tries, base_s, draw) <= backoff_s(tries + 1, base_s, draw)


@given(tries=st.integers(1, 5), draw=DRAW, other=DRAW)
def test_draws_spread_the_wait_by_a_factor_of_three_at_most(tries, draw, other):
    assert backoff_s(tries, 1.0, draw) <= 3 * backoff_s(tries, 1.0, other)
