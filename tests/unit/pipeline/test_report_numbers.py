from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.report.intervals import interval_edges, subsets_of
from pipeline.report.plots_redshift import Words
from pipeline.report.plots_run import best_epoch
from pipeline.report.sampling import Reservoir
from pipeline.report.summary import stage_rows
from schemas.ledger_rows import TimelinePoint

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def _point(end_s: float, seconds: float, *, worker: str = "a") -> TimelinePoint:
    return TimelinePoint(NOON + timedelta(seconds=end_s), 100, 0, seconds, worker)


@given(lengths=st.lists(st.integers(0, 40), max_size=8), capacity=st.integers(1, 60))
def test_a_reservoir_holds_no_more_than_it_may_and_no_row_twice(lengths: list[int], capacity: int) -> None:
    reservoir, start = Reservoir(capacity, seed=1), 0
    for length in lengths:
        reservoir.add(
            {"row": np.arange(start, start + length), "twice": 2 * np.arange(start, start + length)}
        )
        start += length
    rows = reservoir.columns.get("row", np.empty(0))
    assert reservoir.seen == start
    assert len(rows) == min(start, capacity) == len(set(rows.tolist()))
    assert rows.tolist() == sorted(rows.tolist())
    assert (reservoir.columns.get("twice", np.empty(0)) == 2 * rows).all()


def test_a_reservoir_is_the_same_for_the_same_seed_only() -> None:
    def draw(seed: int) -> list[int]:
        reservoir = Reservoir(10, seed=seed)
        for start in range(0, 1000, 100):
            reservoir.add({"row": np.arange(start, start + 100)})
        return reservoir.columns["row"].tolist()

    assert draw(1) == draw(1) != draw(2)


def test_every_row_of_a_stream_is_as_likely_to_be_kept() -> None:
    kept = np.zeros(200)
    for seed in range(400):
        reservoir = Reservoir(50, seed=seed)
        for start in range(0, 200, 40):
            reservoir.add({"row": np.arange(start, start + 40)})
        kept[reservoir.columns["row"]] += 1
    by_batch = kept.reshape(5, 40).mean(axis=1)
    np.testing.assert_allclose(by_batch, 100, rtol=0.05)


@given(st.lists(st.floats(0, 8), min_size=1, max_size=50))
@example([0.0, 0.7])
def test_intervals_hold_every_value_once(values: list[float]) -> None:
    array = np.array(values)
    edges = interval_edges(array)
    assert (np.diff(edges) > 0).all()
    assert edges[0] <= array.min() and array.max() < edges[-1]
    assert np.histogram(array, edges)[0].sum() == len(values)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("mass_solar", np.geomspace(1e5, 1e7, 500)),
        ("petroMag_r", np.r_[np.linspace(14, 21, 499), -9999.0]),
        ("class", np.repeat([0.0, 1.0, 2.0, np.nan], 125)),
        ("snr", np.r_[np.full(400, 20.0), np.linspace(30, 100, 100)]),
    ],
)
def test_every_object_is_in_one_subset_of_a_column_and_few_subsets_are_small(
    name: str, values: "np.ndarray[tuple[int], np.dtype[np.float64]]"
) -> None:
    found = subsets_of(name, values)
    assert (np.sum([one.inside for one in found], axis=0) == 1).all()
    assert len({one.name for one in found}) == len(found) <= 16
    assert sorted(int(one.inside.sum()) for one in found)[1] >= 25
    assert not any(one.interval for one in found)


@pytest.mark.parametrize("name", ["petroMag_r", "snr"])
@pytest.mark.parametrize("values", [[], [np.nan, np.nan], [17.0], [17.0, 17.0], [14.2, 16.1, 15.8, np.inf]])
def test_few_values_or_none_are_no_error(name: str, values: list[float]) -> None:
    found = subsets_of(name, np.array(values))
    assert sum(int(one.inside.sum()) for one in found) == len(values)


def test_time_of_a_stage_leaves_out_the_gap_of_a_stopped_run() -> None:
    (row,) = stage_rows({"fetch": [_point(10, 10), _point(12, 8, worker="b"), _point(5000, 8)]})
    assert row == ["fetch", "3", "300", "20.0\u202fs", "15", "2"]


def test_the_best_epoch_is_by_validation_loss_and_ignores_nan() -> None:
    history = [
        {"epoch": 1, "loss": 0.1, "val_loss": 0.5},
        {"epoch": 2, "loss": 0.2, "val_loss": 0.4},
        {"epoch": 3, "loss": 0.0, "val_loss": float("nan")},
    ]
    best = best_epoch(history)
    assert best is not None and best["epoch"] == 2
    assert best_epoch([{"epoch": 1, "loss": 0.1}]) is None


@pytest.mark.parametrize(("target", "true"), [("z", "z_{spec}"), ("velDisp", "velDisp_{true}")])
def test_axes_name_what_was_learnt(target: str, true: str) -> None:
    assert Words(target).true == true
