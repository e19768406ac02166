import numpy as np
import pyarrow as pa
import pytest

from model.pixel_labels import class_masses
from model.windows import Region
from pipeline.fields.labels import cut_windows, spread_classes
from schemas.errors import StoreError

CLASSES = ("disk", "background", "spheroid")
SEGMAP = np.zeros((60, 90), np.int32)
SEGMAP[20:30, 20:30] = 4
SEGMAP[40:44, 70:80] = 2
SEGMAP[50:, 85:] = 7
SEGMAP[0] = -1
CATALOGUE = pa.table({"source_id": [4, 2], "disk": [0.75, 0.0], "spheroid": [0.25, 1.0]})
MOSAIC = np.random.default_rng(0).normal(size=(60, 90, 2)).astype("f4")


def test_a_source_s_votes_are_spread_over_its_pixels_and_the_sky_is_background():
    labels = spread_classes(SEGMAP, CATALOGUE, classes=CLASSES)
    assert labels[25, 25].tolist() == [0.75, 0, 0.25]
    assert labels[41, 75].tolist() == [0, 0, 1] and labels[5, 5].tolist() == [0, 1, 0]
    assert np.isnan(labels[0]).all() and np.isnan(labels[55, 88]).all()
    assert np.isfinite(labels).all(-1).sum() == 60 * 90 - 90 - 50


def test_windows_hold_what_is_known_and_stay_in_their_region():
    labels = spread_classes(SEGMAP, CATALOGUE, classes=CLASSES)
    region = Region(0, 60, 8, 90)
    images, cut, places = cut_windows(MOSAIC, labels, region, side=10, stride=7)
    assert np.isfinite(cut).all() and len(images) == len(cut) == len(places)
    assert places[:, 0].min() == 7 and places[:, 1].min() == 8
    for image, label, (y, x) in zip(images, cut, places.tolist(), strict=True):
        assert np.array_equal(image, MOSAIC[y : y + 10, x : x + 10])
        assert np.array_equal(label, labels[y : y + 10, x : x + 10])
    assert not any(y + 10 > 50 and x + 10 > 85 for y, x in places.tolist())
    assert (class_masses([cut], CLASSES) > 0).all()


def test_catalogues_that_are_no_shares_are_refused():
    for changed, words in (
        ({"disk": [0.9, 0.0]}, "wrong: 4"),
        ({"disk": [0.75, np.nan]}, "wrong: 2"),
        ({"source_id": [4, 4]}, "come twice"),
        ({"source_id": [4, 0]}, "below 1"),
    ):
        table = pa.table({**{name: CATALOGUE[name] for name in CATALOGUE.column_names}, **changed})
        with pytest.raises(StoreError, match=words):
            spread_classes(SEGMAP, table, classes=CLASSES)
    with pytest.raises(StoreError, match="expected the columns source_id, disk, spheroid"):
        spread_classes(SEGMAP, CATALOGUE.drop_columns("disk"), classes=CLASSES)


def test_regions_without_a_window_and_labels_of_another_field_are_refused():
    labels = spread_classes(SEGMAP, CATALOGUE, classes=CLASSES)
    with pytest.raises(StoreError, match="no window of 10x10"):
        cut_windows(MOSAIC, labels, Region(0, 9, 0, 90), side=10)
    with pytest.raises(StoreError, match=r"the labels \(60, 80\)"):
        cut_windows(MOSAIC, labels[:, :80], Region(0, 60, 0, 80))
