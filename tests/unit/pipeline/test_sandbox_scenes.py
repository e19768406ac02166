from dataclasses import replace

import numpy as np
import pytest

from pipeline.sandbox.scene_sources import (
    field_sources,
    lattice_sources,
    random_source,
    training_windows,
    truth_table,
)
from pipeline.sandbox.scenes import (
    BACKGROUND,
    CANDELS,
    HSC,
    SceneSource,
    draw_scene,
    fluxes,
    signal_to_noise,
)
from schemas.errors import PlanError
from schemas.imaging import SCENE_CLASSES

QUIET = replace(CANDELS, depth_mag=(40.0,) * 4)
SOURCES = SCENE_CLASSES[:4]


def _one(kind, survey=QUIET, magnitude=21.0, seed=0):
    source = random_source(survey, kind, (150.0, 150.0), np.random.default_rng(seed))
    return replace(source, magnitude=magnitude)


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_source_has_the_light_its_magnitude_says_in_each_band(kind, seed):
    source = _one(kind, seed=seed)
    image = draw_scene(QUIET, [source], shape=(301, 301), seed=0).image
    assert image.sum((0, 1), dtype=float) == pytest.approx(fluxes(QUIET, source), rel=0.02)
    assert fluxes(QUIET, source)[0] == pytest.approx(10 ** (0.4 * 7))


def test_a_red_source_is_brighter_at_longer_wavelengths():
    h, j, v, z = fluxes(CANDELS, SceneSource(0, 0, "spheroid", 22.0, 3.0))
    assert h > j > z > v
    assert -2.5 * np.log10(v / h) == pytest.approx(3 * np.log(1537 / 592))


def test_noise_is_what_makes_a_source_of_the_depth_five_sigma():
    one = replace(HSC, bands=("i",), wavelength_nm=(768,), fwhm_arcsec=(0.58,), depth_mag=(26.2,))
    assert signal_to_noise(one, SceneSource(0, 0, "point_source", 26.2, 0.0)) == pytest.approx(5, rel=0.1)
    noise = draw_scene(HSC, [], shape=(200, 200), seed=3).image
    assert noise.std((0, 1)) == pytest.approx(HSC.sigma, rel=0.02)
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.03


def test_labels_are_shares_of_the_light_above_the_threshold():
    star, galaxy = _one("point_source", CANDELS, 22.0), replace(_one("disk", CANDELS, 21.0), x=165.0)
    scene = draw_scene(CANDELS, [star, galaxy], shape=(301, 301), seed=0)
    assert np.abs(scene.labels.sum(-1) - 1).max() < 1e-6
    sky = scene.labels[..., BACKGROUND]
    assert set(np.unique(sky)) == {0.0, 1.0} and sky[0, 0] == 1 and sky[150, 150] == 0
    assert scene.labels[150, 150].argmax() == 3 and scene.labels[150, 165].argmax() == 1
    between = scene.labels[150, 150:166, 3]
    assert ((between > 0.05) & (between < 0.95)).any()
    wide = draw_scene(CANDELS, [star, galaxy], shape=(301, 301), seed=0, threshold=0.3).labels
    assert wide[..., BACKGROUND].sum() < sky.sum()


def test_pure_noise_is_background_everywhere():
    assert (draw_scene(HSC, [], shape=(30, 30), seed=0).labels[..., BACKGROUND] == 1).all()


def test_a_source_outside_reaches_in_with_the_light_it_would_have_there():
    source = _one("disk")
    whole = draw_scene(QUIET, [source], shape=(301, 301), seed=0).image
    part = draw_scene(QUIET, [replace(source, x=-10.0)], shape=(301, 140), seed=0).image
    assert np.abs(part - whole[:, 160:300]).max() < 1e-6 * whole.max()
    assert (
        not draw_scene(QUIET, [replace(source, x=-900.0)], shape=(20, 20), seed=0, threshold=1)
        .labels[..., 0]
        .any()
    )


def test_a_window_is_a_function_of_the_seed_and_its_number():
    images, labels = training_windows(CANDELS, seed=5, start=0, stop=9)
    assert images.shape == (9, 40, 40, 4) and labels.shape == (9, 40, 40, 5)
    assert images.dtype == labels.dtype == np.float32
    again = training_windows(CANDELS, seed=5, start=4, stop=6)
    assert np.array_equal(images[4:6], again[0]) and np.array_equal(labels[4:6], again[1])
    assert not np.array_equal(images, training_windows(CANDELS, seed=6, start=0, stop=9)[0])


def test_every_class_dominates_some_pixels_of_a_few_windows_of_other_bands_too():
    images, labels = training_windows(HSC, seed=1, start=0, stop=40)
    share = np.bincount(labels.argmax(-1).ravel(), minlength=5) / labels[..., 0].size
    assert images.shape[-1] == 3 and (share > 0.01).all()
    assert share[BACKGROUND] < 0.95


def test_an_irregular_galaxy_is_lumpier_than_a_disk_of_the_same_size():
    def peak_count(kind):
        source = replace(_one(kind, seed=2), radius_arcsec=0.6)
        image = draw_scene(QUIET, [source], shape=(301, 301), seed=0).image[..., 2]
        core = image[1:-1, 1:-1]
        higher = [
            core > np.roll(image, shift, (0, 1))[1:-1, 1:-1] for shift in ((1, 0), (-1, 0), (0, 1), (0, -1))
        ]
        return (np.all(higher, 0) & (core > 0.05 * image.max())).sum()

    assert peak_count("disk") == 1 < peak_count("irregular")


def test_fields_and_lattices_say_what_is_in_them():
    field = field_sources(HSC, shape=(300, 300), seed=1)
    assert 10 < len(field) < 80 and field == field_sources(HSC, shape=(300, 300), seed=1)
    table = truth_table(HSC, field[:5])
    assert table.column_names == ["y", "x", "class", "magnitude", "radius_arcsec", "snr"]
    assert (table["snr"].to_numpy() > 0).all()
    lattice = lattice_sources(HSC, shape=(300, 200), seed=1, spacing_pixels=50, kinds=["disk"])
    assert len(lattice) == 24 and {one.kind for one in lattice} == {"disk"}
    assert (lattice[1].y, lattice[1].x) == (25, 75)


def test_brighter_is_better_seen():
    faint, bright = (signal_to_noise(HSC, _one("disk", HSC, magnitude)) for magnitude in (24.0, 21.5))
    assert bright == pytest.approx(10 * faint, rel=1e-3)


def test_windows_that_cannot_be_drawn_are_refused():
    with pytest.raises(PlanError, match="found 3 to 3"):
        training_windows(HSC, seed=0, start=3, stop=3)
    with pytest.raises(PlanError, match="a spacing of 1 to 50"):
        lattice_sources(HSC, shape=(50, 60), seed=0, spacing_pixels=80)
    with pytest.raises(PlanError, match="background"):
        lattice_sources(HSC, shape=(50, 60), seed=0, spacing_pixels=20, kinds=["background"])
