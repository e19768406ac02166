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
        ({"loss.label_width": -0.1}, "loss.label_width: expected 0 or more"),
        ({"loss.crps_share": -0.5}, "loss.crps_share: expected 0 or more"),
        ({"network.measures": []}, "network.measures: expected some of rings, apertures"),
        ({"network.measures": ["rings", "rings"]}, "each once"),
        ({"network.measures": [["rings"]]}, "each once, found [['rings']]"),
        ({"network.clip": -1.0}, "network.clip: expected 0 or more"),
        ({"training.keep": "first"}, "no training.keep 'first'"),
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
        ({"augment.zoom": [1.2, 0.8]}, "augment.zoom: expected two ascending numbers above 0"),
        ({"augment.zoom": [0.0, 1.0]}, "augment.zoom: expected two ascending numbers above 0"),
        ({"augment.zoom": [1.0]}, "augment.zoom: expected two ascending numbers above 0"),
        ({"augment.rotation_deg": 181.0}, "augment.rotation_deg: expected 0 to 180"),
        ({"augment.shift": 0.5}, "augment.shift: expected 0 or more and less than 0.5"),
    ],
)
def test_a_number_or_word_that_makes_no_sense_is_refused_with_what_to_set(overrides, words):
    with pytest.raises(ModelError, match=words.replace("[", r"\[")) as caught:
        check_kinds(load_preset("light", overrides))
    (key,) = overrides
    assert key in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "overrides", "words"),
    [
        ("menko", {"network.measures": ["apertures"]}, "network.measures is for network.kind 'radial' only"),
        (
            "light",
            {"loss.crps_share": 0.5, "loss.kind": "crps"},
            "loss.crps_share is for head.kind 'bins' and",
        ),
    ],
)
def test_a_key_that_the_rest_of_the_preset_has_no_use_for_is_refused(name, overrides, words):
    with pytest.raises(ModelError, match=words):
        check_kinds(load_preset(name, overrides))


@pytest.mark.parametrize(
    ("name", "overrides", "words"),
    [
        ("light", {"augment.flips": True}, "augment.* is for networks of chains .* 'radial'"),
        ("light", {"augment.zoom": [0.9, 1.1]}, "augment.* 'radial'"),
        ("photometry", {"augment.shift": 0.1}, "augment.* takes none"),
        ("csst-mlp", {"augment.rotation_deg": 5.0}, "augment.* takes none"),
        ("csst-mlp", {"input.symmetries": True}, "input.symmetries is for images"),
        ("photometry", {"input.average_symmetries": True}, "input.average_symmetries is for images"),
        ("light", {"network.frozen": ["dense"]}, "network.frozen is for network.kind 'chains' only"),
        ("light", {"network.bayesian": True}, "network.bayesian is for network.kind 'chains' only"),
        ("csst-mlp", {"network.divergence": 0.02}, "network.divergence is for networks whose weights have"),
    ],
)
def test_what_the_network_would_pass_over_in_silence_is_refused(name, overrides, words):
    with pytest.raises(ModelError, match=words):
        check_kinds(load_preset(name, overrides))


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (
            {"kind": "conv", "kernel": 3, "filters": -1},
            "filters: expected a whole number, 1 or more, found -1",
        ),
        ({"kind": "conv", "kernel": "3", "filters": 8}, "kernel: expected a whole number"),
        ({"kind": "conv", "kernel": [3, 3, 3], "filters": 8}, "or a list of two"),
        (
            {"kind": "conv", "kernel": 3, "filters": 8, "activation": "foo"},
            "activation: expected one of linear",
        ),
        (
            {"kind": "conv", "kernel": 3, "filters": 8, "padding": "first"},
            "padding: expected one of same, valid,",
        ),
        ({"kind": "conv", "kernel": 3, "filters": 8, "norm": 1}, "norm: expected true or false"),
        ({"kind": "conv", "kernel": 3, "filters": 8, "faithful": 3}, "faithful: expected a table, found 3"),
        ({"kind": "conv", "kernel": 3, "filters": 8, "faithful": {"filters": 0}}, "filters: expected"),
        ({"kind": "dense", "units": 2.5}, "units: expected"),
        ({"kind": "dense", "units": 2, "repeat": 0}, "repeat: expected"),
        ({"kind": "pool", "size": 2, "how": "min"}, "how: expected one of max, average, found 'min'"),
        ({"kind": "inception"}, "has no part"),
        ({"kind": "inception", "three": 8}, "three: expected a list of two whole numbers"),
        ({"kind": "dropout", "rate": 1.0}, "rate: expected 0 or more and less than 1"),
        ({"kind": "append", "features": [-1]}, "features: expected a list of places"),
    ],
)
def test_values_that_a_layer_cannot_have_are_refused(layer, words):
    branch = {"name": "cnn", "input": "image", "layers": [layer, {"kind": "flatten"}]}
    with pytest.raises(ModelError, match=words.replace("[", r"\[")):
        check_kinds(load_preset("menko", {"network.branches": [branch]}))


@pytest.mark.parametrize(
    ("branch", "words"),
    [
        ({"name": "cnn"}, "a table with name, input and layers"),
        ({"name": "image", "input": "image", "layers": []}, "'image' is taken"),
        ({"name": "cnn", "input": "mlp", "layers": []}, "no input 'mlp'"),
        (
            {"name": "cnn", "input": "image", "layers": [{"kind": "convolve"}]},
            "layer 1: there is no layer 'convolve'",
        ),
        (
            {"name": "cnn", "input": "image", "layers": [{"kind": "conv", "kernel": 3}]},
            r"\(conv\) lacks filters",
        ),
        (
            {"name": "cnn", "input": "image", "layers": [{"kind": "flatten", "size": 3}]},
            r"\(flatten\) has no size",
        ),
        ({"name": "cnn", "input": "vector", "layers": []}, "no vector"),
        ({"name": "cnn", "input": "image", "layers": [], "frozen": True}, "has no frozen"),
        ({"name": "cnn", "input": [], "layers": []}, "input: expected a name"),
        ({"name": "cnn", "input": "image", "layers": "conv"}, "layers: expected a list of layers"),
        ({"name": "cnn", "input": "image", "layers": [], "bands": [2, 1]}, "bands: expected two ascending"),
        ({"name": "cnn", "input": "vector", "layers": [], "bands": [0, 1]}, "whose input is 'image'"),
    ],
)
def test_branches_that_are_not_well_said_are_refused(branch, words):
    with pytest.raises(ModelError, match=words):
        check_kinds(load_preset("menko", {"network.branches": [branch]}))


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
