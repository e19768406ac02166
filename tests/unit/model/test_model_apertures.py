import numpy as np
import pytest

from model.apertures import (
    SOFTENING,
    ApertureLight,
    EllipseRadius,
    GrowthCurve,
    LinearLight,
    SkyLevel,
    Texture,
    photometry,
)
from model.blocks import Halve, InputMaps
from model.order import apply_symmetries

SIDE = 60
Y, X = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
SHARES = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)


def _gaussian(sigma, peak=1.0, along=1.0, x=0.0):
    """A galaxy in two bands, the first twice as bright, ``(1, band, y, x)``."""
    light = peak * np.exp(-(((X - x) / along) ** 2 + (Y * along) ** 2) / (2 * sigma**2))
    return np.stack([2 * light, light])[None].astype("f4")


def _round():
    """The radius of the first half of the pixels, in half sides."""
    return (np.hypot(X, Y).ravel()[: SIDE * SIDE // 2] / (SIDE / 2))[None].astype("f4")


def _measured(layer, light, radius=None):
    radius = _round() if radius is None else radius
    return np.asarray(layer([light, np.asarray(SkyLevel()(light)), radius]))[0]


def test_the_stretch_of_a_colour_jpeg_is_undone():
    light = np.array([0.02, 0.3, 1.5])[:, None] * np.array([1.2, 1.0, 0.8])
    mean = light.mean(1, keepdims=True)
    levels = 255 * light * np.arcsinh(SOFTENING * mean) / (SOFTENING * mean)
    found = np.asarray(LinearLight()(levels[..., None, None].astype("f4")))[..., 0, 0]
    assert found == pytest.approx(light, rel=1e-4)


def test_the_sky_is_what_the_corners_show_whatever_else_is_there():
    light = 0.05 + _gaussian(4)
    light[:, :, :6, :6] = 3.0
    assert np.asarray(SkyLevel()(light))[0, :, 0] == pytest.approx(0.05, abs=1e-3)


def test_aperture_light_is_the_light_within_and_the_colour_its_ratio():
    features = _measured(ApertureLight(), _gaussian(5))[:100].reshape(10, 10)
    radius = 0.34 * SIDE / 2
    mean = 2 * np.pi * 25 * (1 - np.exp(-(radius**2) / 50)) / (np.pi * radius**2)
    assert np.exp(features[1, 4]) == pytest.approx(mean, rel=0.02)
    assert features[2, :6] == pytest.approx(np.log(2), abs=0.01)


def test_a_constant_sky_changes_no_aperture():
    layer = ApertureLight()
    assert _measured(layer, _gaussian(5) + 0.1) == pytest.approx(_measured(layer, _gaussian(5)), abs=5e-3)


def test_radii_of_shares_of_the_light_are_those_of_a_gaussian():
    sigma = 6
    logarithms = _measured(GrowthCurve(), _gaussian(sigma))[: len(SHARES)]
    expected = sigma * np.sqrt(-2 * np.log1p(-np.array(SHARES))) / (SIDE / 2)
    assert np.exp(logarithms) == pytest.approx(expected, rel=0.03)


def test_a_galaxy_of_twice_the_light_is_brighter_and_not_larger():
    layer, bands = GrowthCurve(), 2
    first, second = (_measured(layer, _gaussian(5, peak)) for peak in (1.0, 2.0))
    place = 2 * len(SHARES) + 3 * bands
    assert second[: len(SHARES)] == pytest.approx(first[: len(SHARES)], abs=1e-3)
    assert second[place : place + bands + 1] - first[place : place + bands + 1] == pytest.approx(
        np.log(2), abs=1e-3
    )
    assert first[place + bands + 1] == pytest.approx(np.log(2), abs=1e-3)


def test_a_neighbour_on_one_side_does_not_add_to_the_growth_curve():
    layer = GrowthCurve()
    alone, seen = _gaussian(4), _gaussian(4) + _gaussian(2, 0.8, x=18)
    assert _measured(layer, seen) == pytest.approx(_measured(layer, alone), abs=0.02)
    assert np.abs(_measured(ApertureLight(), seen) - _measured(ApertureLight(), alone)).max() > 0.1


def test_the_ellipse_has_the_galaxy_s_axes_and_the_circle_s_area():
    maps = _gaussian(2.5, along=1.5)
    radius = np.asarray(EllipseRadius(2)(maps))[0]
    half = SIDE * SIDE // 2
    assert len(radius) == half
    level = maps[0, 1].ravel()[:half]
    within = (level > 0.1) & (level < 0.9)
    assert np.corrcoef(radius[within], np.sqrt(-np.log(level[within])))[0, 1] > 0.99
    assert 2 * (radius < 0.5).sum() == pytest.approx(np.pi * 15**2, rel=0.02)


def test_texture_is_seen_on_its_own_scale():
    waves = [0.5 + 0.1 * np.cos(2 * np.pi * X / length) for length in (2.2, 5, 11)]
    maps = np.stack([np.stack([wave, wave]) for wave in waves]).astype("f4")
    radius = np.repeat(_round(), 3, 0)
    features = np.asarray(Texture(6, 2)([255 * maps, maps, radius])).reshape(3, 3, 2, 6).mean((2, 3))
    assert features.argmax(axis=0).tolist() == [0, 1, 2]


def _features(images):
    """All that is measured of levels ``(n, y, x, band)``."""
    levels = [np.moveaxis(images, -1, 1).astype("f4")]
    if images.shape[1] >= 120:
        levels.append(Halve()(levels[0]))
    maps = InputMaps("colour", axis=1)(levels[-1])
    found = photometry(levels, maps, measures=("apertures", "growth", "texture"), rings=12)
    return [np.asarray(features) for features in found]


@pytest.mark.parametrize("pixels", [16, 33, 120])
def test_the_same_galaxy_has_the_same_features_in_all_eight_symmetries_at_any_size(pixels):
    random = np.random.default_rng(3)
    y, x = np.mgrid[:pixels, :pixels] / pixels - 0.5
    light = 200 * np.exp(-(x * x + 2 * y * y + x * y)[..., None] * 30) * [1, 0.8, 0.6]
    image = (light + random.uniform(0, 20, (pixels, pixels, 3))).astype("u1")
    found = _features(apply_symmetries(image[None].repeat(8, 0), np.arange(8)))
    assert [features.shape[1] for features in found] == [200, 91, 180]
    for features in found:
        assert np.isfinite(features).all() and np.ptp(features[0]) > 0.1
        assert np.abs(features - features[0]).max() < 2e-3


def test_black_white_and_empty_images_have_finite_features():
    images = np.stack([np.full((32, 32, 3), level, "u1") for level in (0, 7, 255)])
    images[1, 16, 16] = 255
    assert all(np.isfinite(features).all() for features in _features(images))


def test_a_pixel_that_is_no_number_makes_no_feature_up():
    images = np.full((1, 32, 32, 3), 20, "f4")
    images[0, 16, 14, 1] = np.nan
    assert all(np.isnan(features).any() for features in _features(images))
