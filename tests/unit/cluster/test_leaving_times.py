"""When jobs leave, what the end of an attempt means, and how many jobs are lacking."""

import signal
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.jobs.asking import scratch_of
from cluster.jobs.attempt import Ended
from cluster.jobs.departure import Departure, Life, stagger
from cluster.jobs.times import VARIABLE, Times
from cluster.jobs.topup import UNHEARD_S, is_held, lacks
from cluster.jobs.verdicts import MOST_QUICK, Patience, verdict
from cluster.sites.batch import Standing, State
from cluster.submission import Asked
from schemas.site import Site


@given(st.integers(1, 200))
def test_workers_of_an_array_leave_at_times_spread_over_what_there_is(count: int):
    times = sorted(stagger(index, 100.0) for index in range(count))
    assert times[0] >= 0.0 and times[-1] < 100.0
    assert max((b - a for a, b in pairwise(times)), default=0.0) < 300.0 / count


def test_a_job_leaves_by_its_own_clock_before_its_walltime_and_has_what_is_left_until_then():
    departure = Departure(1000.0, warn_s=120.0, early_s=100.0)
    assert not departure.why
    assert departure.leave_s == pytest.approx(departure.until_s - 205.0)
    assert Life(departure).seconds == pytest.approx(780.0, abs=1.0)
    assert Life(departure, 15.0).seconds == pytest.approx(15.0, abs=1.0)
    assert "walltime" in Departure(0.0, warn_s=120.0).why


def test_a_signal_that_a_kill_follows_leaves_less_time_than_the_one_that_announces_the_walltime():
    departure = Departure(1000.0, warn_s=120.0, term_s=8.0)
    departure.hear(signal.SIGUSR1)
    assert departure.why == "SIGUSR1 came" and departure.left_s == pytest.approx(105.0, abs=1.0)
    departure.hear(signal.SIGTERM)
    assert departure.why == "SIGUSR1 came" and departure.left_s == pytest.approx(8.0, abs=1.0)
    departure.hear(signal.SIGUSR1)
    assert departure.left_s < 8.0


@pytest.mark.parametrize(
    ("ended", "state"),
    [
        (Ended(0), "done"),
        (Ended(0, lost=True), "done"),
        (Ended(2, "faults"), "failed"),
        (Ended(8, "  error: a task failed"), "failed"),
        (Ended(8, "error: the Dask scheduler (a.json) is gone: ..."), ""),
        (Ended(1, "CommClosedError", lost=True), ""),
        (Ended(75), ""),
        (Ended(9), ""),
        (Ended(130), ""),
        (Ended(143), ""),
        (Ended(-signal.SIGSEGV), ""),
    ],
)
def test_what_the_end_of_an_attempt_means(ended: Ended, state: str):
    end = verdict(ended)
    assert (end.state if end else "") == state
    if state == "failed":
        assert (end.exit_code, end.words) == (ended.code, ended.words)


def test_a_server_that_is_down_is_waited_for_and_a_command_that_always_dies_is_given_up():
    patience = Patience(1.0)
    waits = []
    for _ in range(12):
        assert patience.end(Ended(75)) is None
        waits.append(patience.wait_s)
    assert waits[:4] == [1.0, 2.0, 4.0, 8.0] and waits[-1] == 60.0
    ends = [patience.end(Ended(-9, "Killed", seconds=3.0)) for _ in range(MOST_QUICK)]
    assert ends[:-1] == [None] * (MOST_QUICK - 1)
    assert ends[-1].words == "its command was killed by SIGKILL 10 times in a row\nKilled"
    assert patience.end(Ended(-9, seconds=3600.0)) is None and patience.wait_s == 1.0


def test_jobs_that_are_gone_are_lacking_and_those_that_nobody_can_judge_are_not():
    jobs = [Asked("old", "cpu", 3, 0.0), Asked("new", "cpu", 1, 500.0), Asked("lost", "gpu", 2, 0.0)]
    states = (State.RUNNING, State.ENDED, State.UNKNOWN)
    standings = {"old": tuple(map(Standing, states)), "lost": (Standing(State.HELD),)}
    assert lacks({"cpu": 4, "gpu": 1, "io": 2}, jobs, standings, 510.0) == {"cpu": 1, "gpu": 1, "io": 2}
    assert lacks({"cpu": 4, "gpu": 1, "io": 2}, jobs, standings, 501.0 + UNHEARD_S)["cpu"] == 2


@pytest.mark.parametrize(
    ("states", "held"),
    [
        ((State.HELD, State.HELD), True),
        ((State.HELD, State.ENDED), True),
        ((State.HELD, State.RUNNING), False),
        ((State.HELD, State.UNKNOWN), False),
        ((State.ENDED,), False),
        ((), False),
    ],
)
def test_a_job_of_which_nothing_but_held_elements_is_left_is_cancelled_before_it_is_replaced(
    states: tuple[State, ...], held: bool
):
    assert is_held(tuple(map(Standing, states))) is held


@pytest.mark.parametrize(
    ("scratch", "taken"),
    [
        ("", "/fallback"),
        ("$HERE/a", "/here/a"),
        ("~/a", "/home/a"),
        ("$NOT_SET/a", "/fallback"),
        ("$EMPTY", "/fallback"),
        ("~no.such.user/a", "/fallback"),
    ],
)
def test_scratch_that_a_node_does_not_know_is_no_folder_of_that_name(
    monkeypatch: pytest.MonkeyPatch, scratch: str, taken: str
):
    monkeypatch.delenv("NOT_SET", raising=False)
    for key, value in {"HERE": "/here", "HOME": "/home", "EMPTY": ""}.items():
        monkeypatch.setenv(key, value)
    site = Site(name="lab", kind="slurm", scratch=scratch)
    assert scratch_of(site, Path("/fallback")) == Path(taken)


def test_tests_may_shorten_the_times():
    assert Times.of({VARIABLE: '{"renew_s": 0.5}'}) == Times(renew_s=0.5)
    assert Times.of({}) == Times()
