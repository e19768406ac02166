import numpy as np
import pytest
from small_networks import menko_branches

from model.blocks import RadialProfile
from model.geometry import Geometry
from model.heads import summarise
from model.networks import build_network
from model.order import apply_symmetries
from model.presets import load_preset
from schemas.errors import ModelError

BANDS = ("i", "r", "g")
TINY = menko_branches(pointwise=True)


def _network(preset, pixels, seed=1, **overrides):
    return build_network(load_preset(preset, overrides), Geometry((pixels, pixels), BANDS, 0.4), seed=seed)


def _output(network, images, draws=None, **training):
    draws = np.zeros(len(images), np.int32) if draws is None else draws
    return np.asarray(network([images, draws], **training))


def _images(n, pixels, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, pixels, pixels, 3), dtype=np.uint8)


def test_menko_has_its_published_number_of_parameters():
    assert _network("menko", 128).count_params() == 3_346_657


@pytest.mark.parametrize("pixels", [32, 77, 128])
def test_the_default_network_gives_pdfs_for_any_size(pixels):
    network = _network("light", pixels, **{"network.members": 1})
    pdf = np.asarray(summarise(_output(network, _images(3, pixels)), load_preset("light")["head"]))
    assert pdf.shape == (3, 180)
    assert pdf.sum(1) == pytest.approx(1, abs=1e-5)


def test_the_default_network_sees_the_same_galaxy_in_all_eight_symmetries():
    network = _network("light", 64, **{"network.members": 1})
    turned = apply_symmetries(np.repeat(_images(1, 64), 8, 0), np.arange(8))
    output = _output(network, turned)
    assert np.abs(output - output[0]).max() < 1e-4
    assert np.abs(_output(network, _images(1, 64, seed=5)) - output[0]).max() > 1e-2


def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before():
    two = {"network.members": 2}
    first = _network("light", 32, **two).get_weights()
    np.random.default_rng().random()
    second, other = (_network("light", 32, seed=seed, **two).get_weights() for seed in (1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_members_of_a_network_start_differently():
    output = _output(_network("light", 32), _images(1, 32))
    assert output.shape == (1, 4, 180)
    assert np.abs(output[0, 0] - output[0, 1]).max() > 1e-2


def test_images_that_are_too_small_are_refused():
    with pytest.raises(ModelError, match="at least 32 pixels, found 16") as caught:
        _network("menko", 16)
    assert "images.pixels" in caught.value.remedy


def test_a_ring_s_mean_is_the_mean_of_its_pixels():
    import keras

    side = 41
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    radius = np.hypot(x, y) / (side / 2)
    image = np.stack([radius, np.full_like(radius, 0.5)])[None].astype("f4")
    inputs = keras.Input((2, side, side))
    features = np.asarray(keras.Model(inputs, RadialProfile(8, 1)(inputs))(image))[0]
    means = features[: 2 * 8].reshape(2, 8)
    assert means[1] == pytest.approx(0.5, abs=1e-3)
    assert np.all(np.diff(means[0]) > 0.1) and means[0, 4] == pytest.approx(4.5 / 8, abs=0.02)


def test_texture_tells_a_lumpy_image_from_a_smooth_one_of_the_same_deviation():
    import keras

    side, rings = 41, 5
    y, x = np.mgrid[:side, :side]
    lumpy, smooth = 0.5 + 0.1 * (-1.0) ** (x + y), 0.5 + 0.1 * np.sign(x - (side - 1) / 2)
    images = np.stack([lumpy, smooth])[:, None].astype("f4")
    inputs = keras.Input((1, side, side))
    features = np.asarray(keras.Model(inputs, RadialProfile(rings, 1)(inputs))(images))
    deviation, texture = features[:, 2 * rings : 3 * rings], features[:, 3 * rings : 4 * rings]
    assert deviation[0] == pytest.approx(deviation[1], abs=0.1)
    assert (texture[0, 1:] > texture[1, 1:] + 0.5).all()


def test_the_elliptical_rings_follow_the_galaxy():
    import keras

    side = 61
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    along, across = (x + y) / np.sqrt(2), (x - y) / np.sqrt(2)
    image = np.exp(-(np.hypot(along / 8, across / 4) ** 2) / 2)[None, None].astype("f4")
    inputs = keras.Input((1, side, side))
    features = np.asarray(keras.Model(inputs, RadialProfile(10, 1)(inputs))(image))[0]
    deviation_round, deviation_elliptical = features[20:30], features[60:70]
    assert (deviation_elliptical[2:5] < deviation_round[2:5] + np.log(0.7)).all()


DRAWS = np.arange(4, dtype=np.int32)


def test_a_row_s_output_in_training_hangs_on_its_draw_and_not_on_its_place():
    network, images = _network("menko", 32, **{**TINY, "network.dropout": 0.5}), _images(4, 32)
    first = _output(network, images, DRAWS, training=True)
    order = [2, 0, 3, 1]
    assert _output(network, images[order], DRAWS[order], training=True) == pytest.approx(
        first[order], abs=1e-6
    )
    assert np.abs(_output(network, images, DRAWS + 9, training=True) - first).max() > 1e-3
    assert _output(network, images, DRAWS) == pytest.approx(_output(network, images, DRAWS + 9), abs=0)


def test_monte_carlo_drops_in_inference_and_leaves_batch_normalisation_alone():
    preset = load_preset("light", {"network.members": 1})
    plain, passes = (
        build_network(preset, Geometry((32, 32), BANDS, 0.4), seed=1, monte_carlo=monte_carlo)
        for monte_carlo in (False, True)
    )
    images, weights = _images(4, 32), passes.get_weights()
    one, other = (_output(passes, images, draws) for draws in (DRAWS, DRAWS + 9))
    assert np.abs(one - other).max() > 1e-2
    assert one[:1] == pytest.approx(_output(passes, images[:1], DRAWS[:1]), abs=1e-5)
    assert all(map(np.array_equal, weights, passes.get_weights()))
    assert all(map(np.array_equal, weights, plain.get_weights()))


def test_a_preset_whose_dropout_is_zero_has_no_layer_of_it():
    assert load_preset("menko")["network"]["dropout"] == 0
    assert not any("dropout" in layer.name for layer in _network("menko", 32, **TINY).layers)
