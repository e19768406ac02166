import functools

import keras
import numpy as np
import pytest
from small_networks import menko_branches

from model import engines
from model.batches import Batch
from model.geometry import Geometry
from model.heads import summarise
from model.losses import make_loss
from model.networks import build_network
from model.presets import load_preset
from schemas.records import Place


def _toy(**dense):
    """One weight, one bias, mean squared error: a network whose gradient is known."""
    images = keras.Input((2, 2, 1), dtype="uint8", name="image")
    draws = keras.Input((), dtype="int32", name="draw")
    x = keras.layers.GlobalAveragePooling2D()(keras.ops.cast(images, "float32"))
    dense = keras.layers.Dense(1, **{"kernel_initializer": "zeros", **dense})
    return keras.Model([images, draws], keras.ops.expand_dims(dense(x), 1))


def _step(network, optimizer=None, accumulate=1):
    return engines.training_step(
        network,
        optimizer or keras.optimizers.SGD(1.0),
        make_loss({"kind": "squared"}, {"kind": "scalar"}),
        engines.join(Place()),
        accumulate=accumulate,
    )


def _batch(values, labels, *, size=None, weights=None):
    count = len(values)
    pixels = np.array(values, np.uint8).reshape(count, 1, 1, 1)
    return Batch(
        index=0,
        size=count if size is None else size,
        rows=np.arange(count),
        content=(np.broadcast_to(pixels, (count, 2, 2, 1)).copy(), np.empty((count, 0), np.float32)),
        labels=np.array(labels, np.float32),
        weights=np.ones(count, np.float32) if weights is None else np.array(weights, np.float32),
        draws=np.zeros(count, np.int32),
    )


def _weights(network):
    return np.concatenate([weight.ravel() for weight in network.get_weights()])


def test_the_loss_is_the_sum_over_the_rows_divided_by_the_global_batch():
    network = _toy()
    loss, bad = _step(network)(_batch([1, 2], [1, 3], size=4))
    assert loss == pytest.approx((1 + 9) / 4)
    assert bad.tolist() == [False, False]
    assert _weights(network) == pytest.approx([2 * (1 * 1 + 2 * 3) / 4, 2 * (1 + 3) / 4])


def test_the_gradients_of_two_shares_add_up_to_that_of_the_whole_batch_and_none_may_be_empty():
    values, labels = np.array([1, 2, 5]), np.array([1.0, 3.0, -2.0])
    moved = []
    for rows in ([0, 1, 2], [0], [1, 2], []):
        network = _toy()
        _step(network)(_batch(values[rows], labels[rows], size=3))
        moved.append(_weights(network))
    assert moved[0] == pytest.approx(moved[1] + moved[2], rel=1e-5)
    assert (moved[3] == 0).all()


def test_a_row_counts_as_much_as_its_weight_says():
    moved = []
    for batch in (_batch([1, 2], [1, 3], size=4, weights=[3, 0]), _batch([1, 1, 1], [1, 1, 1], size=4)):
        network = _toy()
        loss, _ = _step(network)(batch)
        moved.append([loss, *_weights(network)])
    assert moved[0] == pytest.approx(moved[1])


@functools.cache
def _learnt_in(pieces):
    random = np.random.default_rng(0)
    values, labels = random.integers(0, 9, 6), random.uniform(0, 1, 6)
    network = _toy(kernel_regularizer=keras.regularizers.L2(0.1), kernel_initializer="ones")
    step = _step(network, keras.optimizers.SGD(0.01), pieces)
    losses = [step(_batch(values, labels))[0] for _ in range(3)]
    return [*losses, *_weights(network)]


@pytest.mark.parametrize("accumulate", [2, 4, 7])
def test_a_batch_in_pieces_is_learnt_as_the_whole_one_is(accumulate):
    assert _learnt_in(1) == pytest.approx(_learnt_in(accumulate), rel=1e-5)


def test_penalties_on_weights_are_learnt_from_but_not_reported():
    network = _toy(kernel_initializer="ones", kernel_regularizer=keras.regularizers.L2(0.25))
    loss, _ = _step(network)(_batch([2], [2]))
    assert loss == 0
    assert _weights(network)[0] == pytest.approx(1 - 2 * 0.25)


def test_a_scaled_loss_moves_the_weights_as_far_as_one_that_is_not():
    moved = []
    for wrap in (lambda one: one, keras.optimizers.LossScaleOptimizer):
        network = _toy()
        _step(network, wrap(keras.optimizers.SGD(0.01)))(_batch([1, 2], [1, 3]))
        moved.append(_weights(network))
    assert np.abs(moved[0]).max() > 0
    assert moved[0] == pytest.approx(moved[1], rel=1e-6)


def test_rows_whose_loss_is_not_finite_are_pointed_at():
    loss, bad = _step(_toy(), accumulate=2)(_batch([1, 2, 3], [1, 1e30, np.nan]))
    assert not np.isfinite(loss)
    assert bad.tolist() == [False, True, True]


def test_a_group_of_one_gives_back_what_it_is_given():
    group = engines.join(Place())
    for array in (np.array([-0.0, np.nan, 1.5], "f4"), np.arange(3, dtype="u1"), np.zeros((0, 2))):
        for found in (group.sum(array), group.broadcast(array)):
            assert found.dtype == array.dtype and found.shape == array.shape
            assert found.tobytes() == array.tobytes()


@pytest.mark.parametrize("name", ["light", "menko"])
def test_frozen_inference_equals_the_network_in_inference_mode(name):
    small = {
        "light": {"network.members": 1, "network.hidden": [16], "network.rings": 6},
        "menko": menko_branches(pointwise=True),
    }
    preset = load_preset(name, small[name])
    network = build_network(preset, Geometry((32, 32), ("i", "r", "g"), 0.4), seed=1)
    random = np.random.default_rng(0)
    network.set_weights([w + random.uniform(0, 0.01, w.shape).astype(w.dtype) for w in network.get_weights()])
    images = random.integers(0, [[[[60]]], [[[250]]], [[[120]]], [[[180]]]], (4, 32, 32, 3)).astype(np.uint8)
    draws = np.zeros(4, np.int32)
    expected = np.asarray(summarise(network([images, draws], training=False), preset["head"]))
    frozen = engines.inference(network, preset["head"], 4)({"image": images, "draw": draws})
    assert np.ptp(expected, axis=0).max() > 1e-4
    assert np.abs(frozen - expected).max() < 1e-5


def test_frozen_inference_of_a_monte_carlo_network_depends_on_the_draws():
    preset = load_preset("light", {"network.members": 1, "network.hidden": [16], "network.rings": 6})
    network = build_network(preset, Geometry((32, 32), ("i", "r", "g"), 0.4), seed=1, monte_carlo=True)
    images = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3)).astype(np.uint8)
    answer = engines.inference(network, preset["head"], 4)
    one, again, other = (answer({"image": images, "draw": np.full(4, draw, np.int32)}) for draw in (1, 1, 2))
    assert np.array_equal(one, again)
    assert np.abs(one - other).max() > 1e-4
