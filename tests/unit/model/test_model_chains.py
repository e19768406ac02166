import numpy as np
import pytest

from model.chain_shapes import weights_of
from model.geometry import Geometry
from model.intake import intake_of
from model.networks import build_network, input_names
from model.presets import load_preset
from model.transfer import freeze, take_over
from schemas.errors import ModelError

MENKO = Geometry((32, 32), ("i", "r", "g"), 0.3)
CSST = load_preset("csst-hybrid")
ELG = Geometry((64, 64), tuple(load_preset("elg")["input"]["bands"]), 0.262, "float32", "nanomaggy")
STAMPS = Geometry((32, 32), tuple(CSST["input"]["bands"]), 0.075, "float32", "count")


def _network(*layers, geometry=MENKO, **overrides):
    branches = {"network.branches": [{"name": "cnn", "input": "image", "layers": list(layers)}]}
    return build_network(load_preset("menko", branches | overrides), geometry, seed=1)


def _weights(network, *names):
    return {name: [np.copy(w) for w in network.get_layer(name).get_weights()] for name in names}


def _stamps(n, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(0, 10, (n, *STAMPS.whole)).astype("f4"), random.normal(0, 1, (n, 20)).astype("f4")


@pytest.mark.parametrize("name", ["csst-hybrid", "csst-hybrid-transfer-bayesian"])
def test_a_network_has_the_layers_and_weights_that_its_words_say(name):
    preset = load_preset(name)
    network = build_network(preset, STAMPS, seed=1)
    built = {layer.name: [tuple(w.shape) for w in layer.weights] for layer in network.layers if layer.weights}
    said = weights_of(preset, STAMPS.whole, intake_of(preset).features)
    assert {each: list(shapes) for each, shapes in said.items()} == built


def test_the_head_of_a_bayesian_network_has_a_posterior_too():
    network = build_network(load_preset("csst-mlp-bayesian"), STAMPS, seed=1)
    drawn = [layer.name for layer in network.layers if type(layer).__name__ == "Variational"]
    assert drawn == [*(f"mlp_dense_{number}" for number in range(1, 7)), "head_1"]


def test_the_divergence_of_the_posteriors_counts_as_much_as_the_preset_says():
    import keras

    whole, part = (
        build_network(load_preset("csst-mlp-bayesian", {"network.divergence": each}), STAMPS, seed=1, rows=50)
        for each in (1.0, 0.02)
    )
    assert float(keras.ops.sum(part.losses)) == pytest.approx(0.02 * float(keras.ops.sum(whole.losses)))


def test_the_slopes_of_prelu_are_one_a_channel():
    network = _network(
        {"kind": "conv", "kernel": 3, "filters": 4, "activation": "prelu"}, {"kind": "flatten"}
    )
    assert network.get_layer("cnn_conv_1_prelu").weights[0].shape == (1, 1, 4)


def test_the_penalty_of_all_weights_is_half_of_what_adam_s_decay_adds_to_the_gradient():
    import keras

    layers = [{"kind": "conv", "kernel": 3, "filters": 4}, {"kind": "flatten"}]
    kernels = _network(*layers, **{"network.l2": 0.5})
    branches = [{"name": "cnn", "input": "image", "layers": layers}]
    preset = load_preset("elg-image", {"network.branches": branches, "network.end": "cnn", "network.l2": 0.5})
    everything = build_network(preset, ELG, seed=1)
    for network in (kernels, everything):
        network.set_weights([np.ones(w.shape, "f4") for w in network.weights])
    assert float(keras.ops.sum(kernels.losses)) == 0.5 * 3 * 9 * 4
    assert float(keras.ops.sum(everything.losses)) == 0.5 * everything.count_params()


def test_an_inception_block_puts_its_four_parts_next_to_each_other_and_halves_the_image():
    block = {"kind": "inception", "one": 2, "three": [3, 4], "five": [5, 6], "pool": 7}
    network = _network({**block, "stride": 2}, {"kind": "flatten"})
    assert network.get_layer("head_1").weights[0].shape[0] == 16 * 16 * (2 + 4 + 6 + 7)
    parts = {
        "one": ["conv_1"],
        "three": ["conv_1", "conv_2"],
        "five": ["conv_1", "conv_2"],
        "pool": ["conv_1"],
    }
    wanted = {f"cnn_inception_1_{part}_{conv}" for part, convs in parts.items() for conv in convs}
    assert wanted == {layer.name for layer in network.layers if "inception" in layer.name}
    without = _network({key: value for key, value in block.items() if key != "five"}, {"kind": "flatten"})
    assert without.get_layer("head_1").weights[0].shape[0] == 32 * 32 * (2 + 4 + 7)


def test_a_pooling_that_begins_with_zeros_has_them_in_the_first_row_and_column_of_its_result():
    pool = {"kind": "pool", "how": "average", "size": 2, "stride": 1, "padding": "first"}
    network = _network(pool, {"kind": "flatten"})
    kernel = np.zeros((32 * 32 * 3, 1), "f4")
    kernel[:, 0] = np.arange(32 * 32 * 3) < 32 * 3  # the first row
    network.get_layer("head_1").set_weights([kernel, np.zeros(1, "f4")])
    images = np.full((1, 32, 32, 3), 200, np.uint8)
    assert float(network([images, np.zeros(1, "i4")])[0, 0, 0]) == 0
    kernel[:, 0] = np.arange(32 * 32 * 3) == 33 * 3
    network.get_layer("head_1").set_weights([kernel, np.zeros(1, "f4")])
    assert float(network([images, np.zeros(1, "i4")])[0, 0, 0]) == pytest.approx(200 / 255)


def test_a_layer_that_is_given_the_name_of_another_has_its_weights():
    conv = {"kind": "conv", "kernel": 3, "filters": 3, "faithful": {"name": "cnn_conv_1"}}
    first = {"kind": "conv", "kernel": 3, "filters": 3}
    ends = [{"kind": "global_average"}]
    faithful = _network(first, conv, *ends, **{"network.faithful": True})
    mended = _network(first, conv, *ends)
    assert mended.count_params() - faithful.count_params() == 3 * 3 * 3 * 3 + 3


def test_what_is_appended_of_the_vector_reaches_the_head():
    layers = [{"kind": "global_average"}, {"kind": "append", "features": [19]}]
    branches = [{"name": "cnn", "input": "image", "layers": layers}]
    network = build_network(load_preset("csst-hybrid", {"network.branches": branches}), STAMPS, seed=1)
    assert input_names(network) == ["image", "vector", "draw"]
    images, vectors = _stamps(2)
    other = vectors.copy()
    other[:, :19] += 1
    draws = np.zeros(2, "i4")
    one, same = (np.asarray(network([images, v, draws])) for v in (vectors, other))
    assert np.array_equal(one, same)
    other[:, 19] += 1
    assert np.abs(np.asarray(network([images, other, draws])) - one).min() > 1e-3


def test_a_network_takes_over_the_layers_it_shares_with_others_but_not_their_heads():
    cnn, mlp = (build_network(load_preset(name), STAMPS, seed=5) for name in ("csst-cnn", "csst-mlp"))
    hybrid = build_network(load_preset("csst-hybrid-transfer"), STAMPS, seed=1)
    before = _weights(hybrid, "fusion_dense_1", "head_1")
    bundle = type("Bundle", (), {"path": "donor", "preset": load_preset("csst-cnn")})()
    taken = take_over(hybrid, [(bundle, cnn), (bundle, mlp)])
    assert len(taken) == 19 * 2 + 1 + 11 and "head_1" not in taken
    for donor, name in ((cnn, "cnn_conv_1"), (cnn, "cnn_inception_3_five_conv_2_norm"), (mlp, "mlp_dense_6")):
        pairs = zip(hybrid.get_layer(name).get_weights(), donor.get_layer(name).get_weights(), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)
    for name, weights in before.items():
        assert all(
            np.array_equal(a, b) for a, b in zip(weights, hybrid.get_layer(name).get_weights(), strict=True)
        )


def test_a_donor_of_other_shapes_or_with_no_layer_in_common_is_refused():
    bundle = type("Bundle", (), {"path": "donor", "preset": load_preset("csst-mlp")})()
    hybrid, conv = build_network(CSST, STAMPS, seed=1), {"kind": "conv", "kernel": 1, "filters": 2}
    with pytest.raises(ModelError, match="has no layer of preset"):
        take_over(hybrid, [(bundle, _network({**conv, "name": "x"}, {"kind": "flatten"}))])
    five = Geometry((32, 32), STAMPS.bands[:5], 0.075, "float32", "count")
    loose = load_preset("csst-cnn", {"input.bands": []})
    with pytest.raises(ModelError, match="'cnn_conv_1' of donor has weights of shapes"):
        take_over(hybrid, [(bundle, build_network(loose, five, seed=1))])


def test_all_19_convolutions_and_three_dense_layers_of_the_transferred_hybrid_are_frozen():
    network = build_network(load_preset("csst-hybrid-transfer"), STAMPS, seed=1)
    frozen = {layer.name for layer in network.layers if layer.weights and not layer.trainable}
    convolutions = {layer.name for layer in network.layers if "_conv_" in layer.name}
    assert len(convolutions) == 38 and convolutions <= frozen
    assert frozen - convolutions == {
        "mlp_dense_1", "mlp_dense_2", "mlp_dense_2_norm", "mlp_dense_3", "mlp_dense_3_norm"
    }  # fmt: skip
    with pytest.raises(ModelError, match="no layer 'cnn_conv_9'"):
        freeze(network, ["cnn_conv_9"])


def test_a_frozen_normalisation_uses_its_moving_statistics_in_training_too():
    network = build_network(load_preset("csst-hybrid-transfer"), STAMPS, seed=1)
    before = _weights(network, "cnn_conv_1_norm", "fusion_dense_1_norm")
    images, vectors = _stamps(8)
    network([images, vectors, np.zeros(8, "i4")], training=True)
    after = _weights(network, *before)
    same = {name: all(map(np.array_equal, before[name], after[name])) for name in before}
    assert same == {"cnn_conv_1_norm": True, "fusion_dense_1_norm": False}
