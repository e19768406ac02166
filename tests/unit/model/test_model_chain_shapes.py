import math

import pytest

from model.chain_shapes import weights_of
from model.geometry import Geometry
from model.intake import check_contract, intake_of
from model.presets import load_preset
from schemas.errors import ModelError

RGB = Geometry((32, 32), ("i", "r", "g"), 0.4)
CSST = Geometry((32, 32), tuple(load_preset("csst-hybrid")["input"]["bands"]), 0.075, "float32", "count")


def _parameters(name, shape, overrides=None):
    preset = load_preset(name, overrides)
    weights = weights_of(preset, shape, intake_of(preset).features)
    return sum(math.prod(shape) for shapes in weights.values() for shape in shapes)


AS_PUBLISHED = {name: {"network.faithful": True} for name in ("emri", "emri-1d")}


@pytest.mark.parametrize(
    ("name", "shape", "published"),
    [
        ("menko", (128, 128, 3), 3_346_657),
        ("csst-mlp", (32, 32, 7), 9_881),
        ("csst-cnn", (32, 32, 7), 38_449),
        ("csst-hybrid", (32, 32, 7), 89_129),
        ("spin", (80, 80, 3), 5_994_145),
        ("spin-baseline", (80, 80, 3), 3_160_161),
        ("emri", (262_144, 2), 5_593_954),
        ("emri-1d", (262_144, 2), 2_803_618),
        ("elg", (64, 64, 10), 19_967_274),
    ],
)
def test_the_words_of_a_preset_make_its_published_number_of_parameters(name, shape, published):
    assert _parameters(name, shape, AS_PUBLISHED.get(name)) == published


def test_three_convolutions_are_shared_where_the_defects_of_elg_are_kept():
    shared = 3 * 96 + 9 * 96 * (348 + 96 + 96)
    assert (
        _parameters("elg", (64, 64, 10)) - _parameters("elg", (64, 64, 10), {"network.faithful": True})
        == shared
    )


def _branches(*layers, **more):
    return {"network.branches": [{"name": "cnn", "input": "image", "layers": list(layers), **more}]}


CONV, FLAT = {"kind": "conv", "kernel": 3, "filters": 8}, {"kind": "flatten"}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (_branches(CONV), "ends with 32x32 of 8 channels"),
        (_branches(FLAT, CONV), r"layer 2 \(conv\) needs images or signals, found 3072 features"),
        (_branches({"kind": "pool", "size": 64}, FLAT), r"layer 1 \(pool\) makes 0x0"),
        (_branches({**CONV, "kernel": 40, "padding": "valid"}, FLAT), r"layer 1 \(conv\) makes"),
        (_branches({**CONV, "name": "a"}, {**CONV, "name": "a"}, FLAT), "the layer 'a' is there already"),
        (_branches({"kind": "bands_as_rows"}, FLAT), r"needs signals \(sample, band\)"),
        (_branches(FLAT, bands=[1, 9]), "bands: expected two ascending numbers from 0 to 3"),
        (
            _branches(FLAT) | {"network.frozen": ["cnn_conv_1"]},
            "network.frozen: there is no layer 'cnn_conv_1'",
        ),
        (
            _branches({**CONV, "variational": True, "padding": "valid"}, FLAT),
            "a variational convolution is one of images",
        ),
    ],
)
def test_layers_that_cannot_follow_each_other_are_told_by_the_plan(overrides, words):
    with pytest.raises(ModelError, match=words):
        check_contract(load_preset("menko", overrides), RGB)


def test_a_layer_of_that_name_may_be_frozen_by_wildcards_too():
    frozen = {"network.frozen": ["cnn_conv_*"]}
    check_contract(load_preset("menko", _branches(CONV, CONV, FLAT) | frozen), RGB)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([{"kind": "append", "features": [19]}], "append.* needs a list of features"),
        ([FLAT, {"kind": "append", "features": [20]}], "places in the vector, 0 to 19, found 20"),
    ],
)
def test_what_is_appended_is_of_the_vector_and_comes_after_a_list_of_features(layers, words):
    branches = [{"name": "cnn", "input": "image", "layers": [*layers, FLAT]}]
    with pytest.raises(ModelError, match=words):
        check_contract(load_preset("csst-hybrid", {"network.branches": branches}), CSST)


def test_branches_of_other_sides_are_not_put_next_to_each_other():
    branches = [
        {"name": "one", "input": "image", "layers": [CONV]},
        {"name": "two", "input": "image", "layers": [{**CONV, "stride": 2}]},
        {"name": "both", "input": ["one", "two"], "layers": [FLAT]},
    ]
    with pytest.raises(ModelError, match="32x32 of 8 channels and 16x16 of 8 channels"):
        check_contract(load_preset("menko", {"network.branches": branches}), RGB)


@pytest.mark.parametrize("override", [{"input.symmetries": True}, {"augment.flips": True}])
def test_signals_have_no_views_of_the_square(override):
    signals = Geometry((262_144,), ("I", "II"), 0.0, "float32", "sigma")
    with pytest.raises(ModelError, match="signals of 262144 samples"):
        check_contract(load_preset("emri", override), signals)
    check_contract(load_preset("emri"), signals)
