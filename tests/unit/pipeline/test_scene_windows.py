import numpy as np

from pipeline.sandbox.scene_windows import draw_field, draw_window, scene_window_table
from schemas.imaging import SCENE_CLASSES


def test_a_window_is_a_function_of_seed_and_number_whatever_bands_and_classes_are_asked_for():
    image, labels = draw_window(7, seed=1, side=24, bands=["H", "V"], classes=SCENE_CLASSES)
    assert image.shape == (24, 24, 2) and labels.shape == (24, 24, 5)
    other, turned = draw_window(7, seed=1, side=24, bands=["V"], classes=SCENE_CLASSES[::-1])
    assert (other[..., 0] == image[..., 1]).all() and (turned == labels[..., ::-1]).all()
    assert not (draw_window(8, seed=1, side=24, bands=["V"], classes=SCENE_CLASSES)[0] == other).any()
    assert draw_window(7, seed=1, side=16, bands=["r"], classes=SCENE_CLASSES)[0].shape == (16, 16, 1)


def test_the_table_has_each_class_as_often_and_no_two_windows_in_one_place():
    table = scene_window_table()
    assert (table["windowid"].to_numpy() == table["number"].to_numpy()).all()
    assert np.ptp(np.bincount(table["kind"].to_numpy())) == 0
    ra, dec = table["ra"].to_numpy(), table["dec"].to_numpy()
    assert len(set(zip(ra.round(4).tolist(), dec.round(4).tolist(), strict=True))) == table.num_rows
    assert (np.abs(dec) <= 90).all() and ((ra >= 0) & (ra < 360)).all()


def test_scenes_of_one_seed_have_the_sources_and_the_noise_that_they_are_called_by():
    asked = {"shape": (60, 60), "seed": 5, "bands": ["H", "Z"], "spacing_pixels": 20}
    lattice, noise = draw_field("lattice", **asked), draw_field("noise", **asked)
    assert lattice.truth.num_rows == 9 and noise.truth.num_rows == 0
    assert lattice.image.shape == (60, 60, 2) and lattice.image.std() > noise.image.std()
    assert (draw_field("noise", **asked).image == noise.image).all()
    assert noise.truth.column_names == lattice.truth.column_names
