import keras
import numpy as np
import pytest

from model import engines
from model.cubes import Geometry
from model.heads import summarise
from model.losses import make_loss
from model.networks import build_network
from model.presets import load_preset


def _toy():
    """One weight, one bias, mean squared error: a network whose gradient is known."""
    inputs = keras.Input((2, 2, 1), dtype="uint8")
    x = keras.layers.GlobalAveragePooling2D()(keras.ops.cast(inputs, "float32"))
    return keras.Model(inputs, keras.ops.expand_dims(keras.layers.Dense(1, kernel_initializer="zeros")(x), 1))


def _step(network, rate=1.0):
    return engines.training_step(
        network, keras.optimizers.SGD(rate), make_loss({"kind": "squared"}, {"kind": "scalar"})
    )


def _images(values):
    return np.broadcast_to(np.array(values, np.uint8)[:, None, None, None], (len(values), 2, 2, 1)).copy()


def test_the_loss_is_the_sum_over_the_images_divided_by_the_global_batch():
    network = _toy()
    loss = _step(network)(_images([1, 2]), np.array([1.0, 3.0], "f4"), 4.0)
    assert loss == pytest.approx((1 + 9) / 4)
    kernel, bias = (w.ravel()[0] for w in network.get_weights())
    assert kernel == pytest.approx(2 * (1 * 1 + 2 * 3) / 4)
    assert bias == pytest.approx(2 * (1 + 3) / 4)


def test_the_gradients_of_two_shares_add_up_to_that_of_the_whole_batch():
    labels = np.array([1.0, 3.0, -2.0], "f4")
    moved = []
    for rows in ([0, 1, 2], [0], [1, 2]):
        network = _toy()
        _step(network)(_images([1, 2, 5])[rows], labels[rows], 3.0)
        moved.append(np.concatenate([w.ravel() for w in network.get_weights()]))
    assert moved[0] == pytest.approx(moved[1] + moved[2], rel=1e-5)


def test_penalties_on_weights_are_learnt_from_but_not_reported():
    inputs = keras.Input((2, 2, 1), dtype="uint8")
    x = keras.layers.GlobalAveragePooling2D()(keras.ops.cast(inputs, "float32"))
    dense = keras.layers.Dense(1, kernel_initializer="ones", kernel_regularizer=keras.regularizers.L2(0.25))
    network = keras.Model(inputs, keras.ops.expand_dims(dense(x), 1))
    loss = _step(network)(_images([2]), np.array([2.0], "f4"), 1.0)
    assert loss == 0
    assert network.get_weights()[0].ravel()[0] == pytest.approx(1 - 2 * 0.25)


@pytest.mark.parametrize("name", ["light", "menko"])
def test_frozen_inference_equals_the_network_in_inference_mode(name):
    small = {
        "light": {"network.members": 1, "network.hidden": [16], "network.rings": 6},
        "menko": {"network.stages": [[[3, 8], [1, 8]], [[3, 8]]]},
    }
    preset = load_preset(name, small[name])
    network = build_network(preset, Geometry(32, ("i", "r", "g"), 0.4), seed=1)
    random = np.random.default_rng(0)
    network.set_weights([w + random.uniform(0, 0.01, w.shape).astype(w.dtype) for w in network.get_weights()])
    images = random.integers(0, [[[[60]]], [[[250]]], [[[120]]], [[[180]]]], (4, 32, 32, 3)).astype(np.uint8)
    expected = np.asarray(summarise(network(images, training=False), preset["head"]))
    frozen = engines.inference(network, preset["head"], 4)(images)
    assert np.ptp(expected, axis=0).max() > 1e-4
    assert np.abs(frozen - expected).max() < 1e-5
