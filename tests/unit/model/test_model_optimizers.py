import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from model.optimizers import learning_rate, make_optimizer
from model.presets import load_preset
from schemas.errors import ModelError


def _settings(**changed):
    return {**load_preset("light")["optimizer"], **changed}


def _moved(gradient, steps=1, **changed):
    """Return how far plain gradient descent moves weights from zero."""
    variable = keras.Variable(np.zeros(len(gradient), "f4"))
    optimizer = make_optimizer(_settings(kind="sgd", learning_rate=1.0, **changed))
    for _ in range(steps):
        optimizer.apply([keras.ops.convert_to_tensor(np.array(gradient, "f4"))], [variable])
    return -np.asarray(variable.value)


def test_a_gradient_longer_than_the_norm_is_shortened_to_it_and_a_shorter_one_is_left():
    assert _moved([3.0, 4.0], clip_norm=1.0) == pytest.approx([0.6, 0.8])
    assert _moved([0.3, 0.4], clip_norm=1.0) == pytest.approx([0.3, 0.4])
    assert _moved([3.0, 4.0], clip_norm=0.0) == pytest.approx([3.0, 4.0])


def test_momentum_adds_what_was_moved_before():
    assert _moved([1.0], steps=2, momentum=0.5) == pytest.approx([1 + 1.5])
    assert _moved([1.0], steps=2, momentum=0.0) == pytest.approx([2])


def test_a_warm_up_rises_to_the_schedule_and_then_leaves_it_alone():
    cold, warm = _settings(), _settings(warmup=1.5)
    rates = [[learning_rate(s, at, 100, steps_per_epoch=10) for at in range(100)] for s in (cold, warm)]
    assert rates[1][0] == pytest.approx(rates[0][0] / 15)
    assert rates[1][7] == pytest.approx(rates[0][7] * 8 / 15)
    assert rates[1][14:] == rates[0][14:]


def test_without_options_the_rates_are_those_of_the_presets_as_published():
    menko = load_preset("menko")["optimizer"]
    assert {learning_rate(menko, at, 50, steps_per_epoch=5) for at in range(50)} == {5e-5}
    light = load_preset("light")["optimizer"]
    found = [learning_rate(light, at, 90, steps_per_epoch=3) for at in range(90)]
    assert found == [round(2e-3 * 0.5 * (1 + math.cos(math.pi * at / 90)), 12) for at in range(90)]


def test_a_plateau_lowers_the_rate_as_keras_s_callback_does_down_to_the_lowest():
    spin = load_preset("spin")["optimizer"]
    losses = [1.0, 0.5, 0.49995, *[0.6] * 4, 0.4, *[0.5] * 5, np.nan, *[0.39995] * 15]
    network = SimpleNamespace(optimizer=SimpleNamespace(learning_rate=spin["learning_rate"]))
    callback = keras.callbacks.ReduceLROnPlateau(factor=0.2, patience=5, min_lr=1e-5)
    callback.set_model(network)
    callback.on_train_begin()
    for epoch in range(len(losses)):
        found = learning_rate(spin, epoch, 35, steps_per_epoch=1, losses=losses[:epoch])
        assert found == pytest.approx(float(network.optimizer.learning_rate), rel=1e-6), epoch
        callback.on_epoch_end(epoch, {"val_loss": losses[epoch]})
    assert found == 1e-5


def test_half_precision_scales_the_loss_and_bfloat16_does_not():
    half, brain = (make_optimizer(_settings(), precision=f"mixed_{kind}") for kind in ("float16", "bfloat16"))
    half.build([keras.Variable(np.zeros(2, "f4"))])
    assert float(half.scale_loss(1.0)) > 1000
    assert float(brain.scale_loss(1.0)) == 1


@pytest.mark.parametrize("key", ["kind", "schedule"])
def test_an_unknown_word_names_those_there_are(key):
    with pytest.raises(ModelError, match=f"no optimizer.{key} 'x'") as caught:
        make_optimizer(_settings(**{key: "x"}))
    assert {"kind": "adam, adamw, sgd", "schedule": "constant, cosine, step, exponential, plateau"}[key] in (
        caught.value.remedy
    )
