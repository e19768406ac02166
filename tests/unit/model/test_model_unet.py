import keras
import numpy as np
import pytest
import tensorflow as tf

from model.blocks import Seeds, Style
from model.unet import BicubicTwice, StandardiseWindow, UNetShape, enlargement, unet
from model.votes import KINDS, classify_tile
from model.windows import Windows
from schemas.errors import ModelError

SMALL = UNetShape(classes=3, down=(2, 3), bottleneck=4, up=(3, 2), operations=(1, 1, 1))


def _network(pixels, bands, shape, **style):
    windows = keras.Input((*pixels, bands))
    draw = keras.Input((), dtype="int32")
    logits = unet(StandardiseWindow()(windows), draw, shape, style=Style(Seeds(1), **style))
    return keras.Model([windows, draw], logits)


def _windows(n, side=40, bands=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, side, side, bands)).astype("f4")


def test_the_published_network_has_its_published_number_of_variables():
    network = _network((40, 40), 4, UNetShape())
    assert network.count_params() == 76_181
    assert sum(int(np.prod(one.shape)) for one in network.trainable_variables) == 75_421
    assert network.output_shape == (None, 40, 40, 5)
    convolutions = [one for one in network.layers if isinstance(one, keras.layers.Conv2D)]
    assert len(convolutions) == 3 * 4 + 1 + 3 * 2 + 1


@pytest.mark.parametrize(("pixels", "bands", "classes"), [((16, 24), 3, 5), ((8, 8), 1, 2)])
def test_any_bands_classes_and_sides_that_can_be_halved_do(pixels, bands, classes):
    shape = UNetShape(classes, down=(2, 3), bottleneck=4, up=(3, 2), operations=(1, 1, 1))
    network = _network(pixels, bands, shape)
    windows = np.random.default_rng(0).normal(size=(2, *pixels, bands)).astype("f4")
    logits = np.asarray(network([windows, np.zeros(2, "i4")]))
    assert logits.shape == (2, *pixels, classes) and logits.std() > 0


@pytest.mark.parametrize("pixels", [(42, 40), (8, 40)])
def test_windows_that_cannot_be_halved_are_refused(pixels):
    with pytest.raises(ModelError, match="multiples of 8") as caught:
        _network(pixels, 4, UNetShape())
    assert "multiple of 8" in caught.value.remedy


def test_as_many_levels_up_as_down_are_needed():
    with pytest.raises(ModelError, match="1 up and 3 down"):
        UNetShape(up=(8,)).check((40, 40))


@pytest.mark.parametrize("size", [(5, 5), (10, 7), (20, 33)])
def test_enlargement_is_tensorflow_s_old_one_with_corners_aligned(size):
    images = np.random.default_rng(0).normal(size=(2, *size, 3)).astype("f4")
    theirs = tf.compat.v1.image.resize(
        images, (2 * size[0], 2 * size[1]), tf.image.ResizeMethod.BICUBIC, align_corners=True
    )
    ours = np.asarray(BicubicTwice()(images))
    assert np.abs(ours - theirs.numpy()).max() < 2e-6
    new = tf.image.resize(images, (2 * size[0], 2 * size[1]), "bicubic")
    assert np.abs(ours - new.numpy()).max() > 0.1


def test_enlargement_keeps_what_is_flat_and_weighs_no_pixel_alone():
    matrix = enlargement(12)
    assert matrix.sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert (matrix != 0).sum(axis=1).max() == 4 and (matrix < 0).any()


def test_a_window_is_standardised_jointly_over_its_bands():
    windows = _windows(3) * 50 + np.array([0, 10, 20, 30], "f4")
    found = np.asarray(StandardiseWindow()(windows))
    assert found == pytest.approx(np.asarray(tf.image.per_image_standardization(windows)), abs=1e-5)
    assert found.mean((1, 2, 3)) == pytest.approx(0, abs=1e-5)
    assert found.mean((1, 2))[:, 3].min() > found.mean((1, 2))[:, 0].max() + 0.3


def test_a_flat_window_stays_finite():
    assert np.asarray(StandardiseWindow()(np.full((1, 8, 8, 2), 7e3, "f4"))) == pytest.approx(0, abs=1e-3)


def test_brighter_exposures_give_the_same_classes():
    network, windows = _network((8, 8), 2, SMALL), _windows(2, 8, 2)
    draws = np.zeros(2, "i4")
    assert np.asarray(network([windows * 100 + 5, draws])) == pytest.approx(
        np.asarray(network([windows, draws])), abs=1e-4
    )


def test_dropout_hangs_on_the_window_s_own_draw():
    network, windows, draws = _network((8, 8), 2, SMALL), _windows(3, 8, 2), np.arange(3, dtype="i4")
    first, other = (np.asarray(network([windows, one], training=False)) for one in (draws, draws + 9))
    assert np.array_equal(first, other)
    learning = np.asarray(network([windows, draws], training=True))
    order = [2, 0, 1]
    turned = np.asarray(network([windows[order], draws[order]], training=True))
    assert turned == pytest.approx(learning[order], abs=1e-5)
    assert np.abs(np.asarray(network([windows, draws + 9], training=True)) - learning).max() > 1e-3


def test_logits_are_single_precision_in_mixed_precision():
    network = _network((8, 8), 2, SMALL, precision="mixed_bfloat16")
    assert network.output.dtype == "float32"
    assert np.isfinite(np.asarray(network([_windows(2, 8, 2), np.zeros(2, "i4")]))).all()


def test_its_votes_over_a_mosaic_are_the_same_tile_by_tile_bit_for_bit():
    network = _network((8, 8), 2, SMALL)
    plan = Windows((16, 19), side=8, margin=1, stride=3, batch=6)
    mosaic = np.random.default_rng(3).normal(size=(16, 19, 2)).astype("f4")

    def answer(batch):
        return np.asarray(keras.ops.softmax(network([batch, np.zeros(len(batch), "i4")])))

    def classify(tile):
        return classify_tile(mosaic, answer, windows=plan, tile=tile, classes=3, kinds=KINDS)

    whole = classify(plan.whole)
    assert whole["variance"][8, 9].min() > 0
    for tile in plan.tiles(9):
        for name, values in classify(tile).items():
            assert values.tobytes() == whole[name][tile.slices].tobytes(), name
