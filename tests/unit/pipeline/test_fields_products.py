import numpy as np
import pytest

from pipeline.fields.picture import colour_picture
from pipeline.fields.segmap import deblend, segment
from pipeline.fields.sources import SourceFlag, measure_sources
from schemas.errors import StoreError

CLASSES = ("spheroid", "disk", "irregular", "point_source", "background")
SHAPE = (60, 80)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]


def _blob(y, x, sigma=3.0):
    return np.exp(-((Y - y) ** 2 + (X - x) ** 2) / (2 * sigma**2))


def _field(*blobs, classes=None):
    """Return flux, maps and votes of blobs; each of the class given, sky around."""
    flux, maps = np.zeros(SHAPE), np.zeros((*SHAPE, 5), np.float32)
    for number, (y, x) in enumerate(blobs):
        light = _blob(y, x)
        flux += light
        maps[..., (classes or [0] * len(blobs))[number]] += np.clip(light * 3, 0, 1)
    total = maps[..., :4].sum(-1, keepdims=True)
    maps[..., :4] /= np.maximum(total, 1)
    maps[..., 4] = 1 - maps[..., :4].sum(-1)
    n = np.zeros(SHAPE, np.int32)
    n[5:-5, 5:-5] = 900
    maps[n == 0] = np.nan
    return flux, maps, n


def test_sources_grow_from_where_they_are_sure_to_the_steepest_background():
    _, maps, n = _field((20, 20), (40, 60))
    segmap = segment(maps[..., 4], n)
    assert segmap[20, 20] > 0 and segmap[40, 60] > 0 and segmap[20, 20] != segmap[40, 60]
    assert segmap[30, 40] == 0 and (segmap[n == 0] == -1).all()
    own = segmap == segmap[20, 20]
    edge = np.hypot(Y[own] - 20, X[own] - 20).max()
    sure = 3 * np.sqrt(2 * np.log(3))  # the light is 1/3 there, the map's slope begins
    assert sure - 1 < edge < 3 * sure


def test_a_field_of_sky_has_no_source():
    _, maps, n = _field()
    assert set(np.unique(segment(maps[..., 4], n))) == {-1, 0}


def test_means_need_softer_thresholds_and_say_so():
    _, maps, n = _field((20, 20))
    soft = 0.05 + 0.9 * maps[..., 4]
    with pytest.raises(StoreError, match=r"values go from 0\.05 to 0\.95"):
        segment(soft, n)
    assert segment(soft, n, sure_source=0.1, sure_background=0.9)[20, 20] == 1


def test_a_field_without_votes_and_thresholds_in_disorder_are_refused():
    with pytest.raises(StoreError, match="no pixel of the mosaic has a class"):
        segment(np.full(SHAPE, np.nan), np.zeros(SHAPE, int))
    with pytest.raises(StoreError, match=r"found 0\.9 and 0\.1"):
        segment(np.zeros(SHAPE), np.ones(SHAPE, int), sure_source=0.9, sure_background=0.1)


def test_a_blend_is_taken_apart_at_its_saddle_and_the_brightest_keeps_its_id():
    flux = _blob(30, 25, 6) + 0.8 * _blob(30, 50, 6) + _blob(10, 70)
    segmap = np.where(flux > 0.05, 1, 0).astype(np.int32)
    segmap[flux < 0.05] = 0
    segmap[:20, 60:][segmap[:20, 60:] > 0] = 2
    parts = deblend(segmap, flux)
    assert (parts[30, 25], parts[30, 50], parts[10, 70]) == (1, 3, 2)
    assert ((parts > 0) == (segmap > 0)).all()
    assert set(parts[30, 25:36]) == {1} and set(parts[30, 40:50]) == {3}


def test_peaks_close_to_each_other_are_one_source():
    flux = _blob(30, 30) + _blob(30, 40)
    segmap = (flux > 0.05).astype(np.int32)
    assert np.array_equal(deblend(segmap, flux), segmap)
    assert deblend(segmap, flux, apart_pixels=5).max() == 2
    assert np.array_equal(deblend(segmap, flux, apart_pixels=5, most=1), segmap)


def test_a_source_s_class_is_weighed_by_its_light():
    flux, maps, n = _field((20, 20))
    segmap = segment(maps[..., 4], n)
    maps[...] = 0
    maps[..., 0], maps[..., 1] = 0.2, 0.4
    maps[20, 20, :2] = 1.0, 0.0
    maps[..., 4] = 0.4
    flux[20, 20] = 1e4
    row = measure_sources(segmap, flux, maps, classes=CLASSES).to_pylist()[0]
    assert (row["y"], row["x"], row["class"]) == (20, 20, "spheroid")
    assert row["spheroid"] == pytest.approx(1, abs=0.02)
    assert sum(row[name] for name in CLASSES[:4]) == pytest.approx(1)
    assert row["confidence"] == pytest.approx(row["spheroid"] - row["disk"])
    assert row["flags"] == 0


def test_the_centroid_is_that_of_the_light_and_the_flux_its_sum():
    flux, maps, n = _field((20.3, 30.6))
    segmap = segment(maps[..., 4], n)
    row = measure_sources(segmap, flux, maps, classes=CLASSES).to_pylist()[0]
    assert (row["y_centroid"], row["x_centroid"]) == pytest.approx((20.3, 30.6), abs=0.05)
    assert row["flux"] == pytest.approx(flux[segmap == 1].sum())
    assert row["area_pixels"] == (segmap == 1).sum()


def test_a_hole_counts_for_the_class_but_not_for_the_place():
    segmap = np.zeros(SHAPE, np.int32)
    segmap[20:25, 20:25] = 1
    segmap[22, 22] = 0
    flux, maps = np.ones(SHAPE), np.zeros((*SHAPE, 5))
    maps[..., 0] = 1
    flux[22, 22], maps[22, 22, 0], maps[22, 22, 1] = 72.0, 0, 1
    row = measure_sources(segmap, flux, maps, classes=CLASSES).to_pylist()[0]
    assert row["spheroid"] == pytest.approx(0.25) and row["class"] == "disk"
    assert (row["y"], row["x"]) != (22, 22) and row["flux"] == 24


def test_sources_without_light_and_at_the_edge_are_flagged():
    segmap = np.zeros(SHAPE, np.int32)
    segmap[:5] = -1
    segmap[5:8, 30:33], segmap[20:23, 77:80], segmap[40:43, 40:43] = 1, 2, 3
    flux, maps = np.ones(SHAPE), np.full((*SHAPE, 5), 0.2)
    flux[40:43, 40:43] = -1.0
    rows = measure_sources(segmap, flux, maps, classes=CLASSES).to_pylist()
    assert [row["flags"] for row in rows] == [SourceFlag.EDGE, SourceFlag.EDGE, SourceFlag.NO_FLUX]
    assert rows[2]["class"] is None and np.isnan([rows[2]["disk"], rows[2]["y_centroid"]]).all()
    assert rows[2]["flux"] == -9


def test_an_empty_field_has_an_empty_catalogue_of_the_same_columns():
    flux, maps, n = _field((20, 20))
    full = measure_sources(segment(maps[..., 4], n), flux, maps, classes=CLASSES)
    _, maps, n = _field()
    empty = measure_sources(segment(maps[..., 4], n), flux, maps, classes=CLASSES)
    assert empty.num_rows == 0 and empty.schema == full.schema


def test_images_and_maps_that_do_not_fit_are_refused():
    flux, maps, n = _field((20, 20))
    segmap = segment(maps[..., 4], n)
    with pytest.raises(StoreError, match=r"the image \(60, 79\)"):
        measure_sources(segmap, flux[:, :-1], maps, classes=CLASSES)
    with pytest.raises(StoreError, match="a class 'background'"):
        measure_sources(segmap, flux, maps[..., :4], classes=CLASSES[:4])
    flux[20, 20] = np.nan
    with pytest.raises(StoreError, match="not finite"):
        deblend(segmap, flux)


def test_colours_tell_class_lead_and_background():
    maps = np.zeros((2, 4, 5))
    maps[0] = np.eye(5)[[0, 1, 2, 3]]
    maps[1, 0] = [0.5, 0.5, 0, 0, 0]
    maps[1, 1] = [0, 0, 0, 0, 1]
    maps[1, 2] = [0.5, 0, 0, 0, 0.5]
    maps[1, 3] = np.nan
    red, green, blue = np.moveaxis(colour_picture(maps, classes=CLASSES).astype(int), -1, 0)
    assert (red[0, 0], green[0, 0], blue[0, 0]) == (255, 0, 0)
    assert blue[0, 1] == green[0, 2] == 255 and (red[0, 3], green[0, 3], blue[0, 3]) == (235, 255, 0)
    assert (red[1, 0], green[1, 0], blue[1, 0]) == (255, 255, 255)
    assert (red[1, 2], green[1, 2]) == (128, 64)
    assert not any(one[1, [1, 3]].any() for one in (red, green, blue))


def test_a_class_without_a_hue_is_refused():
    with pytest.raises(StoreError, match="no colour for the class 'merger'"):
        colour_picture(np.zeros((2, 2, 2)), classes=("merger", "background"))
    picture = colour_picture(
        np.ones((1, 1, 2)) * [1, 0], classes=("merger", "background"), hues={"merger": 0.5}
    )
    assert picture[0, 0].tolist() == [0, 255, 255]
