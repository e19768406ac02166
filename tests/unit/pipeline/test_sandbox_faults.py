from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sandbox.faults import FaultPlan, object_identity
from pipeline.sandbox.options import TRANSIENT_KINDS, Faults

POSITIONS = [(i * 0.0357, i * 0.0171 - 30) for i in range(4000)]


def test_without_faults_nothing_goes_wrong() -> None:
    plan = FaultPlan(Faults())
    assert not any(plan.of_cutout(*at, "g") or plan.is_outside(*at) for at in POSITIONS)


def test_the_share_of_faults_is_the_one_asked_for_and_all_eight_kinds_happen() -> None:
    plan = FaultPlan(Faults(transient=0.1, seed=7))
    kinds = Counter(plan.of_cutout(*at, "g") for at in POSITIONS)
    hit = sum(count for kind, count in kinds.items() if kind)
    assert 320 < hit < 480
    assert set(kinds) - {None} == set(TRANSIENT_KINDS)


def test_a_transient_fault_ends_after_one_or_two_attempts() -> None:
    plan = FaultPlan(Faults(transient=1.0, seed=3))
    lengths = Counter()
    for at in POSITIONS[:300]:
        outcomes = [plan.of_cutout(*at, "g") for _ in range(4)]
        bad = [kind for kind in outcomes if kind]
        assert outcomes == bad + [None] * (4 - len(bad))
        assert len(set(bad)) == 1
        lengths[len(bad)] += 1
    assert set(lengths) == {1, 2}


def test_a_position_outside_stays_outside() -> None:
    plan = FaultPlan(Faults(outside=0.02, seed=5))
    first = [plan.is_outside(*at) for at in POSITIONS]
    assert first == [plan.is_outside(*at) for at in POSITIONS]
    assert 40 < sum(first) < 125


def test_the_same_seed_gives_the_same_faults_and_another_seed_others() -> None:
    def fates(seed: int) -> list[str | None]:
        plan = FaultPlan(Faults(transient=0.3, seed=seed))
        return [plan.of_cutout(*at, "g") for at in POSITIONS[:200]]

    assert fates(1) == fates(1) != fates(2)


def test_queries_meet_only_kinds_that_a_query_can_meet() -> None:
    plan = FaultPlan(Faults(sql_transient=1.0))
    kinds = {plan.of_sql(f"SELECT {i}") for i in range(200)}
    assert kinds == {"error_500", "unavailable_503", "reset", "html_200"}


@given(st.integers(0, 35_999_999), st.integers(-9_000_000, 9_000_000), st.sampled_from([-3e-6, 0.0, 3e-6]))
def test_a_position_has_one_identity_however_it_is_spelled(ra: int, dec: int, jitter: float) -> None:
    exact = object_identity(ra / 1e5, dec / 1e5)
    assert object_identity(ra / 1e5 + jitter, dec / 1e5 + jitter) == exact
    assert object_identity(ra / 1e5 - 360.0, dec / 1e5) == exact


@pytest.mark.parametrize(
    "wrong",
    [{"transient": 1.2}, {"outside": -0.1}, {"kinds": ("gremlin",)}, {"kinds": ()}, {"outside_as": "500"}],
)
def test_a_share_or_kind_that_is_none_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError):
        Faults(**wrong)
