"""Bundles of tiny tasks: when they are made, what comes back, and what a death costs."""

import itertools
import time
from collections.abc import Iterator

import pytest

from cluster import bundles
from cluster.bundles import MOST, SEEN, WORK, Bundler, Done, perform_all
from cluster.work import Outcome, Task
from schemas.errors import ModelError, WorkerError


def tiny(starts: int = 3) -> Iterator[Task]:
    return (
        Task(f"t-{number}", "builtins:dict", {"number": number}, starts=starts)
        for number in itertools.count()
    )


def settled(bundler: Bundler, count: int = SEEN) -> None:
    """Have single tasks come back at once, so that their pace is seen to be fast."""
    for _ in range(count):
        task = bundler.next()
        assert task is not None and task.work != WORK
        bundler.open(Outcome(task, value=None), threads=1)


def performed(task: Task) -> Outcome:
    return Outcome(task, value=perform_all(**task.arguments))


def test_tasks_travel_alone_until_they_are_seen_to_be_tiny():
    bundler = Bundler(tiny())
    settled(bundler)
    sizes = []
    for _ in range(12):
        task = bundler.next()
        assert task is not None and task.work == WORK
        sizes.append(len(task.arguments["tasks"]))
        bundler.open(performed(task), threads=1)
    assert sizes[:4] == [2, 4, 8, 16]
    assert max(sizes) == MOST


def test_slow_tasks_never_share_a_bundle(monkeypatch: pytest.MonkeyPatch):
    clock = itertools.count(0, 0.3)
    monkeypatch.setattr(bundles.time, "monotonic", lambda: next(clock))
    bundler = Bundler(tiny())
    settled(bundler, 5 * SEEN)


def test_each_task_of_a_bundle_has_its_own_outcome():
    ways = ["builtins:dict", "model.presets:load_preset", "builtins:int"]
    tasks = [Task(f"t-{i}", way, {"x": 1} if i == 2 else {}, starts=3) for i, way in enumerate(ways)]
    tasks[1].arguments["name"] = "no such preset"
    done, _ = perform_all(tasks)
    assert done[0] == Done({})
    assert isinstance(done[1].error, ModelError)
    assert isinstance(done[2].error, WorkerError) and "TypeError" in done[2].error.message


def test_what_a_bundle_has_not_begun_is_handed_out_again_in_order():
    bundler = Bundler(tiny())
    settled(bundler)
    task = bundler.next()
    assert task is not None
    first, second = task.arguments["tasks"]
    assert [each.task for each in bundler.open(Outcome(task, value=([Done(1)], 0.3)), threads=1)] == [first]
    assert bundler.next() == second


def test_a_bundle_begins_no_other_task_once_it_has_taken_long_enough(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bundles, "BUNDLE_S", 0.01)
    nap = Task("nap", "subprocess:check_call", {"args": "sleep 0.1", "shell": True})
    begun = time.monotonic()
    done, _ = perform_all([nap] * 50)
    assert len(done) == 1 and time.monotonic() - begun < 4


def test_a_death_costs_each_task_of_the_bundle_a_start_and_they_travel_alone_then():
    bundler = Bundler(tiny())
    settled(bundler)
    task = bundler.next()
    assert task is not None
    both = task.arguments["tasks"]
    assert bundler.open(Outcome(task, error=WorkerError("died"), killed=True), threads=1) == []
    again = [bundler.next() for _ in both]
    assert [(one.key, one.starts) for one in again if one] == [(one.key, 2) for one in both]
    (outcome,) = bundler.open(Outcome(again[0], error=WorkerError("died"), starts=2), threads=1)
    assert outcome.starts == 3


def test_a_task_with_one_start_left_is_never_put_at_risk_by_others():
    bundler = Bundler(tiny(starts=1))
    settled(bundler, 5 * SEEN)


def test_no_more_tasks_are_taken_than_are_handed_out():
    class Supply:
        asked: list[int] = []  # noqa: RUF012

        def take(self, most: int) -> list[Task]:
            self.asked.append(most)
            return [next(source) for _ in range(most)]

    source = tiny()
    bundler = Bundler(Supply())
    settled(bundler)
    assert Supply.asked == [1] * SEEN
    bundler.next()
    assert Supply.asked[-1] == 2
