import math

import numpy as np
import pytest

from model.search import trial_overrides
from schemas.errors import ModelError

RATE = "optimizer.learning_rate"
FIELDS = {
    RATE: {"low": 1e-4, "high": 1e-2, "log": True},
    "network.dropout": {"low": 0.0, "high": 0.5},
    "head.bins": {"low": 90, "high": 93, "integer": True},
    "loss.kind": ["crps", "cross_entropy"],
}


def _random(trials, seed=1, fields=FIELDS, **rest):
    return trial_overrides(fields, kind="random", trials=trials, seed=seed, **rest)


def test_a_grid_is_every_combination_the_last_field_changing_fastest():
    found = trial_overrides({RATE: [1.0, 2.0], "head.bins": [3, 4, 5]}, kind="grid", trials=6, seed=1)
    assert [tuple(trial.values()) for trial in found] == [
        (1.0, 3),
        (1.0, 4),
        (1.0, 5),
        (2.0, 3),
        (2.0, 4),
        (2.0, 5),
    ]


def test_a_grid_larger_than_the_trials_says_how_large():
    with pytest.raises(ModelError, match=r"the grid has 6 points, search\.trials allows 5") as caught:
        trial_overrides({RATE: [1.0, 2.0], "head.bins": [3, 4, 5]}, kind="grid", trials=5, seed=1)
    assert "search.trials to 6" in caught.value.remedy


def test_a_random_trial_hangs_on_its_number_and_the_seed_alone():
    assert _random(20)[:7] == _random(7)
    assert _random(7, seed=2) != _random(7)
    alone = _random(7, fields={RATE: FIELDS[RATE]})
    assert [trial[RATE] for trial in alone] == [trial[RATE] for trial in _random(7)]
    assert _random(7, fields=dict(reversed(FIELDS.items()))) == _random(7)


def test_values_are_drawn_evenly_from_their_range():
    found = _random(400)
    rates = np.log10([trial[RATE] for trial in found])
    assert rates.min() >= -4 and rates.max() < -2 and rates.mean() == pytest.approx(-3, abs=0.15)
    dropouts = np.array([trial["network.dropout"] for trial in found])
    assert dropouts.min() >= 0 and dropouts.max() < 0.5 and dropouts.mean() == pytest.approx(0.25, abs=0.04)
    bins = [trial["head.bins"] for trial in found]
    assert set(bins) == {90, 91, 92, 93} and all(type(value) is int for value in bins)
    assert min(bins.count(value) for value in set(bins)) > 60
    assert 150 < [trial["loss.kind"] for trial in found].count("crps") < 250
    assert abs(np.corrcoef(rates, dropouts)[0, 1]) < 0.2


def test_whole_numbers_on_a_logarithmic_scale_reach_both_ends():
    found = _random(300, fields={"training.batch": {"low": 8, "high": 16, "log": True, "integer": True}})
    values = {trial["training.batch"] for trial in found}
    assert values == set(range(8, 17))


def test_fields_may_be_nested_as_overrides_are():
    nested = {"head": {"bins": FIELDS["head.bins"]}, "loss": {"kind": FIELDS["loss.kind"]}}
    dotted = {key: FIELDS[key] for key in ("head.bins", "loss.kind")}
    assert _random(5, fields=nested) == _random(5, fields=dotted)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "search.fields is empty"),
        ({RATE: []}, "the list is empty"),
        ({RATE: 1e-3}, "expected a list or a table, found 0.001"),
        ({RATE: {"low": 1e-3}}, "a range has low and high"),
        ({RATE: {"low": 1e-3, "high": 1e-2, "step": 2}}, "found low, high, step"),
        ({RATE: {"low": 1e-2, "high": 1e-2}}, "low below high, found 0.01 and 0.01"),
        ({RATE: {"low": "a", "high": 1.0}}, "expected two numbers"),
        ({RATE: {"low": 0.0, "high": math.inf}}, "expected two numbers"),
        ({RATE: {"low": 0.0, "high": 1.0, "log": True}}, "begins above 0, found low = 0.0"),
        ({"head.bins": {"low": 1.5, "high": 9, "integer": True}}, "whole ends, found 1.5 and 9"),
    ],
)
def test_a_field_that_cannot_be_searched_is_told_with_its_name(fields, words):
    with pytest.raises(ModelError, match=words) as caught:
        _random(3, fields=fields)
    assert caught.value.remedy
    assert not fields or next(iter(fields)) in caught.value.message


def test_a_range_in_a_grid_an_unknown_kind_and_no_trials_are_refused():
    for kind, trials, words in (
        ("grid", 3, "a grid needs a list"),
        ("bayes", 3, "no search.kind 'bayes'"),
        ("random", 0, "expected 1 or more, found 0"),
    ):
        with pytest.raises(ModelError, match=words):
            trial_overrides({RATE: FIELDS[RATE]}, kind=kind, trials=trials, seed=1)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"optimizer.rate": [1e-3]}, "no key 'optimizer.rate'"),
        ({"head.bins": {"low": 90, "high": 180}}, "head.bins: expected int"),
        ({"network.dropout": [0.5, 1.5]}, "network.dropout: expected 0 or more"),
    ],
)
def test_every_trial_is_checked_against_the_preset(fields, words):
    assert _random(3, preset="light", overrides={"head": {"bins": 40}})
    with pytest.raises(ModelError, match=words):
        _random(9, fields=fields, preset="light")
