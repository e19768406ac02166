import math

import numpy as np
import pytest

from model.variational import Variational

ROWS = 1000


def _layer(inputs, width=2, *, kernel=0, mean=None, rho=-1.0, seed=5):
    layer = Variational(width, kernel=kernel, stride=1, share=1 / ROWS, seeds=(1, seed))
    layer([inputs, np.zeros(len(inputs), "i4")])
    means, rhos, bias = layer.get_weights()
    layer.set_weights(
        [means if mean is None else np.full_like(means, mean), np.full_like(rhos, rho), bias + 0.25]
    )
    return layer


def test_the_loss_is_the_divergence_from_a_standard_normal_by_the_row():
    layer = _layer(np.ones((1, 3), "f4"), mean=0.7, rho=0.3)
    layer([np.ones((1, 3), "f4"), np.zeros(1, "i4")])
    deviation = math.log1p(math.exp(0.3))
    by_hand = 6 * (0.5 * (deviation**2 + 0.7**2 - 1) - math.log(deviation)) / ROWS
    assert float(layer.losses[0]) == pytest.approx(by_hand, rel=1e-5)


def test_the_noise_of_an_output_is_that_of_weights_drawn_one_by_one():
    x = np.tile(np.array([[1.0, -2.0, 0.5]], "f4"), (20_000, 1))
    found = np.asarray(_layer(x, mean=0.5)([x, np.arange(20_000, dtype="i4") * 7919]))
    deviation = math.log1p(math.exp(-1.0)) * math.sqrt(1 + 4 + 0.25)
    assert found.mean(0) == pytest.approx([0.25 - 0.25] * 2, abs=5 * deviation / math.sqrt(20_000))
    assert found.std(0) == pytest.approx([deviation] * 2, rel=0.03)
    assert abs(np.corrcoef(found.T)[0, 1]) < 0.03


@pytest.mark.parametrize(("shape", "kernel"), [((6, 3), 0), ((6, 5, 5, 2), 3)])
def test_a_row_has_its_own_noise_whatever_is_beside_it(shape, kernel):
    x, draws = np.random.default_rng(0).normal(size=shape).astype("f4"), np.arange(6, dtype="i4") + 40
    layer = _layer(x, kernel=kernel)
    whole = np.asarray(layer([x, draws]))
    order = [4, 0, 3]
    assert np.asarray(layer([x[order], draws[order]])) == pytest.approx(whole[order], abs=1e-6)
    assert np.abs(np.asarray(layer([x, draws + 9])) - whole).max() > 0.01
