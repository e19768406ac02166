"""Noise as a layer: unit, Gaussian, independent, and of the row's draw alone."""

import numpy as np
import pytest
from scipy import stats

from model.noise import Noise
from model.presets import load_preset

SHAPE = (8192, 2)
DRAWS = np.random.default_rng(3).integers(-(2**31), 2**31, 24).astype("i4")


def _noise(draws, *, seed=7, shape=SHAPE, **settings):
    layer = Noise(seed, always=True, **settings)
    return np.asarray(layer([np.zeros((len(draws), *shape), "f4"), np.asarray(draws, "i4")]))


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return _noise(DRAWS)


def test_noise_is_standard_normal(noise):
    flat = noise.astype("f8").ravel()
    n = flat.size
    assert abs(flat.mean()) < 4 / np.sqrt(n)
    assert abs(flat.var() - 1) < 4 * np.sqrt(2 / n)
    assert abs(stats.skew(flat)) < 4 * np.sqrt(6 / n)
    assert abs(stats.kurtosis(flat)) < 4 * np.sqrt(24 / n)
    assert stats.kstest(flat, "norm").pvalue > 1e-3
    beyond = (np.abs(flat) > 3).sum()
    assert abs(beyond - 0.0026998 * n) < 4 * np.sqrt(0.0027 * n)


def test_rows_channels_and_neighbours_have_nothing_to_do_with_each_other(noise):
    rows = noise.reshape(len(DRAWS), -1)
    least = 5 / np.sqrt(rows.shape[1])
    assert np.abs(np.corrcoef(rows) - np.eye(len(rows))).max() < least
    assert abs(np.mean(noise[..., 0] * noise[..., 1])) < 5 / np.sqrt(noise[..., 0].size)
    for lag in (1, 2, 17, SHAPE[0] // 2):
        both = noise[:, lag:] * noise[:, :-lag]
        assert abs(both.mean()) < 5 / np.sqrt(both.size)
    # a row's magnitudes, too: those of Box and Muller come in pairs
    assert np.abs(np.corrcoef(np.abs(rows)) - np.eye(len(rows))).max() < least
    assert abs(np.corrcoef(np.abs(noise[..., 0]).ravel(), np.abs(noise[..., 1]).ravel())[0, 1]) < 0.02


def test_a_row_has_the_same_noise_in_whatever_batch_it_is(noise):
    for places in ([5], [3, 1, 20], [0, 0]):
        assert np.array_equal(_noise(DRAWS[places]), noise[places])
    assert np.abs(_noise(DRAWS[:2], seed=8) - noise[:2]).max() > 1
    assert np.allclose(_noise(DRAWS[:2], sigma=3.0), 3 * noise[:2])


def test_noise_is_added_to_what_is_there_in_training_and_where_it_is_always():
    x, draws = np.full((2, 64, 2), 5, "f4"), np.array([1, 2], "i4")
    plain, always = Noise(7), Noise(7, always=True)
    assert np.array_equal(np.asarray(plain([x, draws], training=False)), x)
    for seen in (plain([x, draws], training=True), always([x, draws], training=False)):
        assert np.allclose(np.asarray(seen) - 5, _noise(draws, shape=(64, 2)), atol=1e-5)


def test_an_odd_number_of_elements_has_as_much_noise():
    assert _noise(DRAWS[:2], shape=(5, 3)).shape == (2, 5, 3)


@pytest.mark.parametrize("name", ["emri", "emri-1d"])
def test_the_presets_of_signals_draw_their_noise_in_evaluation_too(name):
    preset = load_preset(name)
    assert preset.always_draws and not preset.drops
    assert preset["network"]["branches"][0]["layers"][0] == {"kind": "noise", "always": True}
