import numpy as np
import pytest
from astropy.io import fits

from model.windows import Region, Windows
from pipeline.fields.results import bytes_per_pixel, create_results, write_fits, write_tile
from schemas.errors import StoreError

WINDOWS = Windows((60, 70), side=12, margin=2)
CLASSES = ("source", "sky")


def _maps(shape, seed=0):
    random = np.random.default_rng(seed)
    maps = {name: random.random((*shape, 2), dtype=np.float32) for name in ("rank", "mean", "variance")}
    return maps | {"n": random.integers(0, 60000, shape, dtype=np.int32)}


@pytest.fixture
def group(tmp_path):
    return create_results(tmp_path / "maps", WINDOWS, classes=CLASSES, kinds=["rank", "mean"], tile=32)


def test_what_was_not_written_has_no_votes_and_no_class(group):
    assert not group["n"][:].any() and np.isnan(group["rank"][:]).all()
    assert group["rank"].metadata.dimension_names == ("y", "x", "class")


def test_tiles_come_back_and_leave_the_others_alone(group):
    whole = _maps(WINDOWS.shape)
    tiles = WINDOWS.tiles(32)
    for tile in tiles[::-1]:
        write_tile(group, tile, {name: values[tile.slices] for name, values in whole.items()})
    assert all(np.array_equal(group[name][:], values) for name, values in whole.items())


def test_what_is_not_a_whole_tile_is_refused(group):
    for tile in (Region(0, 31, 0, 32), Region(16, 48, 0, 32), Region(32, 64, 64, 70)):
        with pytest.raises(StoreError, match="not a tile of 32 pixels"):
            write_tile(group, tile, _maps(tile.shape))


def test_fits_files_hold_the_maps_and_the_sky_coordinates(group, tmp_path):
    whole = _maps(WINDOWS.shape)
    for tile in WINDOWS.tiles(32):
        write_tile(group, tile, {name: values[tile.slices] for name, values in whole.items()})
    header = fits.Header({"CRVAL1": 150.0, "BITPIX": 16, "NAXIS1": 7})
    written = write_fits(group, tmp_path / "fits", header=header)
    names = {f"{name}{kind}.fits" for name in CLASSES for kind in ("", "_mean", "_var")} | {"n.fits"}
    assert {path.name for path in written} == names
    values, found = fits.getdata(tmp_path / "fits" / "sky_var.fits", header=True, memmap=False)
    assert np.array_equal(values, whole["variance"][..., 1]) and values.dtype == ">f4"
    assert found["CRVAL1"] == 150.0
    assert np.array_equal(fits.getdata(tmp_path / "fits" / "n.fits", memmap=False), whole["n"])
    values = [fits.getdata(path, memmap=False) for path in written]
    assert sum(plane.nbytes for plane in values) == 60 * 70 * bytes_per_pixel(2, ["rank", "mean"])
    with pytest.raises(StoreError, match="there already"):
        write_fits(group, tmp_path / "fits")


def test_maps_are_not_created_twice(group, tmp_path):
    with pytest.raises(StoreError, match="cannot be created"):
        create_results(tmp_path / "maps", WINDOWS, classes=CLASSES, kinds=["rank"], tile=32)
    with pytest.raises(StoreError, match="no vote 'median'"):
        create_results(tmp_path / "other", WINDOWS, classes=CLASSES, kinds=["median"], tile=32)
