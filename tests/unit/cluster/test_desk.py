import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.desk import FAILURES_TO_OPEN, Answer, Desk, Lane, Manners


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def a_desk(**limits) -> tuple[Desk, Clock]:
    clock = Clock()
    return Desk(Manners("http://sky", **limits), clock), clock


def take(desk: Desk, clock: Clock, lane: Lane = Lane.CUTOUTS):
    """Wait for the next start as a caller would."""
    while True:
        grant = desk.reserve(lane, 1)
        clock.now = max(clock.now, grant.start_s)
        if grant.down or desk.is_current(grant):
            return grant


def rate(desk: Desk) -> float:
    """Return the requests a second that the desk now gives."""
    return 1.1 / desk.reserve(Lane.CUTOUTS, 1).interval_s


def break_down(desk, clock):
    for _ in range(FAILURES_TO_OPEN):
        desk.report(take(desk, clock), Answer.UNREACHABLE)


@given(rate=st.floats(1.0, 500.0), wanted=st.lists(st.integers(1, 64), min_size=1, max_size=200))
def test_no_window_of_one_second_ever_has_more_starts_than_allowed(rate, wanted):
    desk, clock = a_desk(requests_per_second=rate)
    starts = []
    for count in wanted:
        grant = desk.reserve(Lane.CUTOUTS, count)
        clock.now = max(clock.now, grant.start_s)
        starts += [grant.start_s + k * grant.interval_s for k in range(grant.count)]
    for k, start in enumerate(starts):
        assert sum(start <= other < start + 1.0 for other in starts[k : k + 600]) <= math.ceil(rate)


def test_queries_have_a_rate_of_their_own():
    desk, clock = a_desk(requests_per_second=100.0, queries_per_minute=60.0)
    times = [take(desk, clock, Lane.QUERIES).start_s for _ in range(3)]
    assert times[1] - times[0] == pytest.approx(60.1 / 60)
    assert take(desk, clock).start_s == clock.now


def test_an_unlimited_lane_grants_all_that_is_wanted_at_once():
    desk, clock = a_desk(requests_per_second=math.inf)
    grant = desk.reserve(Lane.CUTOUTS, 64)
    assert (grant.count, grant.start_s, grant.interval_s) == (64, clock.now, 0.0)


def test_a_slot_that_was_slept_through_is_given_up():
    desk, clock = a_desk(requests_per_second=10.0)
    grant = desk.reserve(Lane.CUTOUTS, 1)
    clock.now += 0.2
    assert not desk.is_current(grant)


def test_a_pause_takes_back_the_slots_that_were_booked():
    desk, clock = a_desk()
    first, second = desk.reserve(Lane.CUTOUTS, 1), desk.reserve(Lane.CUTOUTS, 1)
    desk.report(first, Answer.REFUSED, retry_after_s=5.0)
    assert not desk.is_current(second)
    assert desk.reserve(Lane.CUTOUTS, 1).start_s == clock.now + 5.0


def test_a_refusal_without_retry_after_pauses_longer_each_time():
    desk, clock = a_desk()
    waits = []
    for _ in range(4):
        grant = take(desk, clock)
        desk.report(grant, Answer.REFUSED)
        waits.append(desk.reserve(Lane.CUTOUTS, 1).start_s - clock.now)
    assert waits == pytest.approx([1.0, 2.0, 4.0, 8.0])


def test_a_rate_that_is_refused_beyond_what_was_answered_is_lowered_for_good():
    desk, clock = a_desk(requests_per_second=100.0)
    for _ in range(300):
        grant = take(desk, clock)
        allowed = grant.window <= 40
        desk.report(grant, Answer.GOOD if allowed else Answer.REFUSED, 0.0 if allowed else 1.0)
    lowered = rate(desk)
    assert 20.0 < lowered < 41.0
    for _ in range(300):
        desk.report(take(desk, clock), Answer.GOOD)
    assert rate(desk) == pytest.approx(lowered)


def test_rare_refusals_of_a_rate_that_is_answered_do_not_lower_it():
    desk, clock = a_desk(requests_per_second=40.0)
    for k in range(2000):
        desk.report(
            take(desk, clock), Answer.REFUSED if k % 80 == 79 else Answer.GOOD, 1.0 if k % 80 == 79 else 0.0
        )
    assert rate(desk) == pytest.approx(40.0)


def test_frequent_refusals_lower_connections_too():
    desk, clock = a_desk(requests_per_second=40.0, connections=8)
    for k in range(200):
        desk.report(take(desk, clock), Answer.REFUSED if k > 50 and k % 4 == 0 else Answer.GOOD)
    assert desk.connections < 8
    assert rate(desk) < 40.0


def test_refusals_of_requests_sent_before_the_rate_was_lowered_do_not_lower_it_again():
    desk, clock = a_desk(requests_per_second=math.inf, connections=8)
    desk, clock = a_desk(requests_per_second=100.0)
    grants = []
    for k in range(60):
        grant = take(desk, clock)
        if k < 40:
            desk.report(grant, Answer.GOOD)
        else:
            grants.append(grant)
    for grant in grants:
        desk.report(grant, Answer.REFUSED, 1.0)
    assert rate(desk) >= 70.0


def test_after_failures_in_a_row_one_probe_at_a_time_is_let_through():
    desk, clock = a_desk()
    break_down(desk, clock)
    probe = take(desk, clock)
    assert probe.probe
    assert desk.reserve(Lane.CUTOUTS, 1).count == 0
    desk.report(probe, Answer.GOOD)
    assert not take(desk, clock).probe


def test_a_failed_probe_doubles_the_wait():
    desk, clock = a_desk()
    break_down(desk, clock)
    waits = []
    for _ in range(4):
        before = clock.now
        probe = take(desk, clock)
        waits.append(clock.now - before)
        desk.report(probe, Answer.UNREACHABLE)
    assert waits == pytest.approx([1.0, 2.0, 4.0, 8.0])


def test_a_failure_among_answers_does_not_open_the_circuit():
    desk, clock = a_desk()
    for k in range(100):
        down = desk.report(
            take(desk, clock), Answer.GOOD if k % FAILURES_TO_OPEN == 0 else Answer.UNREACHABLE
        )
        assert not down


def test_late_good_news_of_before_the_breakdown_does_not_close_the_circuit():
    desk, clock = a_desk()
    old = take(desk, clock)
    break_down(desk, clock)
    desk.good(Lane.CUTOUTS, 3, window=old.window, epoch=old.epoch)
    assert take(desk, clock).probe


def test_a_source_is_given_up_after_the_time_allowed():
    desk, clock = a_desk(give_up_after_s=100.0)
    begun = clock.now
    break_down(desk, clock)
    while not (grant := take(desk, clock)).down:
        desk.report(grant, Answer.UNREACHABLE)
    assert 100.0 <= clock.now - begun < 130.0


def test_a_source_that_was_given_up_gets_another_chance_from_the_next_run():
    desk, clock = a_desk(give_up_after_s=100.0)
    assert desk.permits("first run", "w", wanted=1)
    break_down(desk, clock)
    while not (grant := take(desk, clock)).down:
        desk.report(grant, Answer.UNREACHABLE)
    assert desk.permits("same run", "w", wanted=1)
    assert take(desk, clock).down
    desk.release("first run")
    desk.release("same run")
    clock.now += 86_400.0
    begun = clock.now
    assert desk.permits("next run", "w", wanted=1)
    probe = take(desk, clock)
    assert probe.probe and probe.start_s == begun
    desk.report(probe, Answer.UNREACHABLE)
    while not (grant := take(desk, clock)).down:
        desk.report(grant, Answer.UNREACHABLE)
    assert 100.0 <= clock.now - begun < 130.0


def test_a_source_that_lives_again_serves_the_run_after_the_one_that_gave_it_up():
    desk, clock = a_desk(give_up_after_s=10.0)
    break_down(desk, clock)
    while not (grant := take(desk, clock)).down:
        desk.report(grant, Answer.UNREACHABLE)
    assert desk.permits("next run", "w", wanted=1)
    probe = take(desk, clock)
    assert probe.probe
    desk.report(probe, Answer.GOOD)
    assert take(desk, clock).count and not take(desk, clock).probe


def test_two_drivers_with_different_manners_get_the_stricter_of_both_while_both_are_there():
    desk, clock = a_desk(requests_per_second=100.0, connections=4)
    strict, lax = Manners("http://sky", 20.0, 60.0, 2), Manners("http://sky", 100.0, 60.0, 4)
    desk.permits("strict", "a", wanted=1)
    desk.permits("lax", "b", wanted=1)
    begun = clock.now
    for k in range(200):
        desk.adopt(lax if k % 2 else strict)
        take(desk, clock)
    assert clock.now - begun == pytest.approx(199 * 1.1 / 20.0)
    assert desk.connections == 2
    desk.release("strict")
    desk.release("lax")
    desk.adopt(lax)
    assert rate(desk) == pytest.approx(100.0)


def test_stricter_manners_do_not_raise_a_rate_that_was_lowered():
    desk, clock = a_desk(requests_per_second=100.0)
    for _ in range(300):
        grant = take(desk, clock)
        desk.report(grant, Answer.GOOD if grant.window <= 40 else Answer.REFUSED)
    lowered = rate(desk)
    desk.permits("one", "a", wanted=1)
    desk.adopt(Manners("http://sky", requests_per_second=90.0))
    assert rate(desk) == pytest.approx(lowered)


def test_new_manners_do_not_forget_when_the_last_request_was_started():
    desk, clock = a_desk(requests_per_second=10.0)
    last = take(desk, clock)
    desk.adopt(Manners("http://sky", requests_per_second=5.0))
    assert desk.reserve(Lane.CUTOUTS, 1).start_s == pytest.approx(last.start_s + 0.11)


def test_a_source_that_asks_for_a_day_of_rest_is_given_up_at_once():
    desk, clock = a_desk(give_up_after_s=900.0)
    desk.report(take(desk, clock), Answer.REFUSED, retry_after_s=86_400.0)
    assert "86400 s" in desk.reserve(Lane.CUTOUTS, 1).down


def test_a_probe_that_is_never_reported_goes_to_somebody_else():
    desk, clock = a_desk()
    break_down(desk, clock)
    assert take(desk, clock).probe
    clock.now += 61.0
    assert take(desk, clock).probe


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 9), st.booleans()), max_size=60),
    st.integers(1, 10),
)
def test_no_more_connections_are_lent_than_allowed(steps, limit):
    desk, _ = a_desk(connections=limit)
    held: dict[str, int] = {}
    for holder, wanted, leaves in steps:
        if leaves:
            desk.release(holder)
            held.pop(holder, None)
        elif holder not in held and (count := desk.permits(holder, "w", wanted=wanted, sharers=2)):
            held[holder] = count
        assert sum(held.values()) <= limit


def test_connections_of_a_lost_worker_are_free_again():
    desk, _ = a_desk(connections=2)
    assert desk.permits("task", "tcp://a", wanted=2) == 2
    assert desk.permits("other", "tcp://b", wanted=2) == 0
    desk.drop_worker("tcp://a")
    assert desk.permits("other", "tcp://b", wanted=2) == 2
