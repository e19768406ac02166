import pytest

from model.kinds import check_kinds
from model.presets import load_preset, preset_names
from schemas.errors import ModelError


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_that_is_shipped_passes(name):
    check_kinds(load_preset(name))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"optimizer.kind": "lion"}, "no optimizer.kind 'lion'"),
        ({"optimizer.schedule": "steps"}, "no optimizer.schedule 'steps'"),
        ({"training.precision": "float16"}, "no training.precision 'float16'"),
        ({"training.balance": "label"}, "no training.balance 'label'"),
        ({"training.accumulate": 0}, "training.accumulate: expected 1 or more, found 0"),
        ({"training.accumulate": 65}, "a batch of 64 cannot be cut into 65 pieces"),
        ({"training.epochs": 0}, "training.epochs: expected 1 or more"),
        ({"training.balance_bins": 0}, "training.balance_bins: expected 1 or more"),
        ({"network.dropout": 1.0}, "network.dropout: expected 0 or more and less than 1"),
        ({"network.hidden": [96, 0]}, "network.hidden: expected a list of whole numbers"),
        ({"network.hidden": ["96"]}, "network.hidden: expected a list of whole numbers"),
        ({"head.bins": 1}, "head.bins: expected 2 or more"),
        ({"head.z_min": 0.5}, "head.z_min is 0.5, head.z_max 0.4"),
        ({"loss.label_width": 0.0}, "loss.label_width: expected more than 0"),
        ({"optimizer.learning_rate": -1e-3}, "optimizer.learning_rate: expected more than 0"),
        (
            {"optimizer.learning_rate": float("nan")},
            "optimizer.learning_rate: expected more than 0, found nan",
        ),
        ({"optimizer.clip_norm": -1.0}, "optimizer.clip_norm: expected 0 or more"),
        ({"optimizer.clip_norm": float("inf")}, "optimizer.clip_norm: expected 0 or more, found inf"),
        ({"optimizer.warmup": -0.1}, "optimizer.warmup: expected 0 or more"),
        ({"optimizer.momentum": 1.0}, "optimizer.momentum: expected 0 or more and less than 1"),
        ({"optimizer.decay": 0.0}, "optimizer.decay: expected more than 0, at most 1"),
        ({"optimizer.milestones": [0.75, 0.5]}, "optimizer.milestones: expected ascending numbers"),
        ({"optimizer.milestones": [0.5, 1.0]}, "between 0 and 1, found"),
        ({"optimizer.milestones": ["half"]}, "between 0 and 1, found"),
    ],
)
def test_a_number_or_word_that_makes_no_sense_is_refused_with_what_to_set(overrides, words):
    with pytest.raises(ModelError, match=words.replace("[", r"\[")) as caught:
        check_kinds(load_preset("light", overrides))
    (key,) = overrides
    assert key in caught.value.remedy


@pytest.mark.parametrize("stages", [[], [[]], [[[3]]], [[[3, 0]]], [[3, 8]], ["x"]])
def test_stages_that_are_not_pairs_of_kernel_and_filters_are_refused(stages):
    with pytest.raises(ModelError, match=r"stages of \[kernel, filters\]"):
        check_kinds(load_preset("menko", {"network.stages": stages}))


@pytest.mark.parametrize(
    "overrides",
    [
        {"optimizer.kind": "sgd", "optimizer.momentum": 0.0, "optimizer.clip_norm": 1.0},
        {"optimizer.schedule": "step", "optimizer.milestones": [0.3, 0.6, 0.9]},
        {"optimizer.schedule": "exponential", "optimizer.decay": 1, "optimizer.warmup": 1},
        {"training.precision": "mixed_bfloat16", "training.accumulate": 4, "training.balance": "labels"},
    ],
)
@pytest.mark.parametrize("name", preset_names())
def test_every_preset_takes_the_options_of_a_practitioner(name, overrides):
    check_kinds(load_preset(name, overrides))
