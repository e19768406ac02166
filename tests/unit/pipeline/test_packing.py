"""Consecutive groups packed into partitions."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipeline.stages.pull import _first, _pack

GROUPS = st.dictionaries(st.integers(0, 10**5), st.integers(1, 5000), max_size=60).map(
    lambda d: sorted(d.items())
)


@given(groups=GROUPS, most=st.integers(1, 10_000))
def test_packing_covers_every_group_once_and_in_order(groups, most):
    slices = _pack(groups, most)
    inside = [[(v, n) for v, n in groups if low <= v <= high] for low, high, _ in slices]
    assert [group for found in inside for group in found] == groups
    assert [rows for _, _, rows in slices] == [sum(n for _, n in found) for found in inside]


@given(groups=GROUPS, most=st.integers(1, 10_000))
def test_only_a_single_group_may_be_larger_than_a_partition(groups, most):
    for low, high, rows in _pack(groups, most):
        assert rows <= most or low == high


@given(groups=GROUPS, most=st.integers(1, 10_000))
def test_two_neighbours_never_fit_into_one(groups, most):
    slices, counts = _pack(groups, most), dict(groups)
    for before, after in pairwise(slices):
        assert before[2] + counts[after[0]] > most


@given(groups=GROUPS, most=st.integers(1, 10_000), limit=st.integers(1, 10**5))
def test_a_limit_keeps_as_few_partitions_as_hold_it(groups, most, limit):
    slices = _pack(groups, most)
    kept = _first(slices, limit)
    assert kept == slices[: len(kept)]
    assert kept == slices or sum(rows for _, _, rows in kept) >= limit
    assert sum(rows for _, _, rows in kept[:-1]) < limit
