"""Half precision where it is harmless: convolutions and dense layers, and nothing that sums or takes logarithms."""

import keras
import numpy as np
import pytest

from model.geometry import Geometry
from model.networks import build_network
from model.presets import load_preset

GEOMETRY = Geometry((64, 64), ("i", "r", "g"), 0.4)
DRAWS = np.arange(16, dtype=np.int32)


def _images():
    """Galaxies of several sizes and brightnesses; one image is black and one white."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64] - 31.5
    size = np.linspace(2, 14, 16)[:, None, None, None]
    light = np.exp(-(x * x + y * y)[..., None] / (2 * size**2)) * random.uniform(40, 250, (16, 1, 1, 3))
    images = (light + random.uniform(0, 4, (16, 64, 64, 3))).astype("u1")
    images[0], images[1] = 0, 255
    return images


def _settle(network):
    """Give batch normalisation the statistics of the images, as a training would have."""
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    network([_images(), DRAWS], training=True)


@pytest.mark.parametrize(("precision", "bound"), [("mixed_bfloat16", 0.15), ("mixed_float16", 0.06)], ids=str)
@pytest.mark.parametrize("name", ["light", "menko"])
def test_half_precision_is_finite_and_close_in_training_and_inference(name, precision, bound):
    exact, half = (
        build_network(load_preset(name), GEOMETRY, seed=1, precision=policy)
        for policy in ("float32", precision)
    )
    _settle(exact)
    half.set_weights(exact.get_weights())
    for training in (True, False):
        expected, found = (
            np.asarray(network([_images(), DRAWS], training=training)) for network in (exact, half)
        )
        assert found.dtype == np.float32 and np.isfinite(found).all()
        difference = np.abs(found - expected)
        assert 0 < np.median(difference) < bound * expected.std()


def test_sums_over_pixels_logarithms_and_heads_are_float32_in_any_precision():
    network = build_network(
        load_preset("light"), Geometry((128, 128), GEOMETRY.bands, 0.4), seed=1, precision="mixed_float16"
    )
    policies = {(type(layer).__name__, layer.compute_dtype) for layer in network.layers}
    exact = {"Halve", "InputMaps", "RadialProfile", "BatchNormalization"}
    assert {(name, "float32") for name in exact} | {("RowDropout", "float16")} <= policies
    heads = [layer for layer in network.layers if getattr(layer, "units", 0) == 180]
    assert len(heads) == 4 and {layer.compute_dtype for layer in heads} == {"float32"}


@pytest.mark.parametrize("name", ["light", "menko"])
def test_variables_stay_float32_and_no_setting_of_keras_is_left_behind(name):
    network = build_network(load_preset(name), GEOMETRY, seed=1, precision="mixed_bfloat16")
    assert {str(variable.dtype) for variable in network.variables} == {"float32"}
    assert "bfloat16" in {layer.compute_dtype for layer in network.layers}
    assert keras.config.dtype_policy().name == "float32"
