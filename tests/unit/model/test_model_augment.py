import numpy as np
import pytest
from scipy import ndimage

from model.augment import RandomView
from model.presets import load_preset

SPIN = dict(load_preset("spin")["augment"])
STILL = {"rotation_deg": 0.0, "zoom": [1.0, 1.0], "shift": 0.0, "flips": False}


def _images(n, side=33):
    """Smooth blobs, so that interpolation loses little."""
    noise = np.random.default_rng(0).normal(size=(n, side, side, 2))
    return ndimage.gaussian_filter(noise, (0, 3, 3, 0)).astype("f4")


def _views(settings, images, draws, seed=3, training=True):
    return np.asarray(RandomView(settings, seed)([images, np.asarray(draws, "i4")], training=training))


def test_a_view_depends_on_the_row_s_own_draw_and_on_nothing_beside_it():
    images, draws = _images(6), np.array([5, -7, 123456, 5, 0, 2**31 - 1])
    whole = _views(SPIN, images, draws)
    for rows in ([3, 1], [5], [0, 2, 4]):
        assert np.array_equal(_views(SPIN, images[rows], draws[rows]), whole[rows])
    assert np.abs(_views(SPIN, images, draws + 1) - whole).max() > 0.01
    assert np.abs(_views(SPIN, images, draws, seed=4) - whole).max() > 0.01


def test_in_inference_nothing_is_changed():
    images = _images(3)
    assert np.array_equal(_views(SPIN, images, [1, 2, 3], training=False), images)


def test_a_view_that_is_only_mirrored_is_one_of_four():
    images = _images(200)
    views = _views({**STILL, "flips": True}, images, np.arange(200) * 7919)
    kinds = [images, images[:, ::-1], images[:, :, ::-1], images[:, ::-1, ::-1]]
    found = np.array([[np.abs(v - k[i]).max() < 1e-4 for k in kinds] for i, v in enumerate(views)])
    assert (found.sum(1) == 1).all()
    assert (np.abs(found.sum(0) - 50) < 25).all()


def test_what_is_turned_in_from_beyond_the_edge_is_zero_or_the_nearest_pixel_again():
    images = np.full((64, 33, 33, 1), 5, "f4")
    turned = {**STILL, "rotation_deg": 90.0}
    zero, nearest = (
        _views({**turned, "fill": fill}, images, np.arange(64) * 7919) for fill in ("zero", "nearest")
    )
    assert nearest == pytest.approx(np.full_like(nearest, 5)) and zero.min() == 0
    assert (zero[:, 16, 16, 0] == 5).all() and zero.max() == pytest.approx(5)


@pytest.mark.parametrize("settings", [{"rotation_deg": 45.0}, {"zoom": [0.75, 1.25]}, {"shift": 0.05}])
def test_turning_stretching_and_shifting_keep_within_their_bounds(settings):
    side = 65
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    ramps = np.stack([x, y], -1).astype("f4")[None].repeat(300, 0)  # a pixel's value is where it comes from
    views = _views({**STILL, **settings}, ramps, np.arange(300) * 104729)
    inner = slice(24, 41)
    dx = np.gradient(views[:, inner, inner, 0], axis=2).mean((1, 2))
    dy = np.gradient(views[:, inner, inner, 0], axis=1).mean((1, 2))
    if "rotation_deg" in settings:
        angle = np.degrees(np.arctan2(-dy, dx))
        assert np.abs(angle).max() < 45.1 and np.abs(angle).max() > 40 and abs(angle.mean()) < 6
    elif "zoom" in settings:
        assert 0.74 < (1 / dx).min() < 0.78 and 1.22 < (1 / dx).max() < 1.26
    else:
        moved = views[:, 32, 32, 0] / side
        assert np.abs(moved).max() < 0.0501 and np.abs(moved).max() > 0.045
