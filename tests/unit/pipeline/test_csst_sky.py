import functools
import io
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from pipeline.sandbox.csst.bands import BANDS, ab_mag, counts_per_flux
from pipeline.sandbox.csst.photometry import Trouble
from pipeline.sandbox.csst.sky import SCHEMA, CsstSky
from schemas.errors import SourceError
from schemas.imaging import CSST, FILTERS

SHARED = Path(os.environ.get("SKYMILL_SHARED", Path(__file__).parents[4] / "shared"))
REAL = SHARED / "real" / "hst-cosmos"
SKY = CsstSky(seed=3, count=120, stamps=None)


@functools.cache
def whole_table() -> pa.Table:
    return SKY.table()


def test_a_galaxy_is_the_same_in_a_larger_sky_and_in_any_order():
    larger = CsstSky(seed=3, count=10**6, stamps=None)
    assert larger.row(17) == SKY.row(17)
    assert np.array_equal(larger.image(5), SKY.image(5))
    assert SKY.row(5)["z"] != SKY.row(6)["z"]
    assert SKY.position(9) == larger.position(9) == (SKY.row(9)["ra"], SKY.row(9)["dec"])
    assert CsstSky(seed=4, count=120, stamps=None).row(5)["z"] != SKY.row(5)["z"]


def test_an_image_is_32_pixels_in_seven_bands_with_the_galaxy_in_the_middle():
    image = SKY.image(0)
    assert image.shape == (32, 32, 7) and image.dtype == np.float32 and image.flags.c_contiguous
    bright = next(row["id"] for row in whole_table().to_pylist() if row["true_mag_i"] < 21.5)
    stack = SKY.image(bright)[..., 2:6].sum(axis=2)
    row, column = np.unravel_index(stack.argmax(), stack.shape)
    assert 13 <= row <= 18 and 13 <= column <= 18


def test_the_table_is_the_rows_whatever_part_is_asked_for():
    table = SKY.table(10, 30)
    assert table.schema.equals(SCHEMA, check_metadata=True) and table.num_rows == 20
    assert table.schema.metadata[b"bands"] == b"nuv,u,g,r,i,z,y"
    assert table.slice(7, 1).to_pylist() == [SKY.row(17)]
    assert CsstSky(seed=3, count=0, stamps=None).table().num_rows == 0


def test_no_galaxy_is_dropped_and_each_that_is_not_in_the_sample_says_why():
    table = whole_table()
    assert table["id"].to_pylist() == list(range(120))
    for row in table.to_pylist():
        assert (row["flags"] == 0) == (row["reason"] == "")
        signal = max(row[f"flux_{b}"] / row[f"err_{b}"] for b in "gi")
        assert bool(row["flags"] & Trouble.FAINT) == (signal < 10)
    assert 0.3 < np.mean([flags == 0 for flags in table["flags"].to_pylist()]) < 0.95
    assert not any(pc.any(pc.is_nan(table[f"flux_{band}"])).as_py() for band in BANDS)


def test_measured_fluxes_follow_the_true_ones():
    rows = [row for row in whole_table().to_pylist() if row["flags"] == 0 and row["true_mag_i"] < 23]
    lost = [float(ab_mag(np.array(row["flux_i"]))) - row["true_mag_i"] for row in rows]
    assert len(rows) > 10 and 0.0 < np.median(lost) < 0.5


def test_a_fits_file_is_the_image_with_its_bands_unit_scale_and_position():
    content = SKY.fits(4)
    with fits.open(io.BytesIO(content)) as file:
        header, cube = file[0].header, file[0].data
    assert np.array_equal(cube.transpose(1, 2, 0), SKY.image(4))
    assert [header[f"BAND{k}"] for k in range(1, 8)] == list(FILTERS[CSST])
    assert header["BUNIT"] == "count" and header["PIXSCALE"] == 0.075
    assert 10 ** (0.4 * (header["MAGZP3"] + 48.6)) == pytest.approx(counts_per_flux()[2])
    ra, dec = WCS(header).celestial.pixel_to_world_values(15.5, 15.5)
    assert (float(ra), float(dec)) == pytest.approx((SKY.row(4)["ra"], SKY.row(4)["dec"]))
    assert SKY.fits(4) == content


@pytest.mark.parametrize("n", [-1, 120])
def test_a_galaxy_that_is_not_there_is_an_error(n):
    with pytest.raises(SourceError, match=r"There is no galaxy .*120"):
        SKY.row(n)


def test_negative_numbers_and_a_folder_without_stamps_are_errors(tmp_path):
    for seed, count in ((1, -1), (-1, 1)):
        with pytest.raises(SourceError, match="expected both to be 0 or more"):
            CsstSky(seed=seed, count=count, stamps=None)
    with pytest.raises(SourceError, match="no HST stamps"):
        CsstSky(seed=1, count=1, stamps=tmp_path)


@pytest.mark.skipif(not REAL.exists(), reason="the real HST stamps are not here")
def test_real_stamps_change_shapes_and_leave_the_truth():
    real = CsstSky(seed=3, count=120, stamps=REAL)
    rows = real.table(0, 40).to_pylist()
    drawn = [row["stamp"] >= 0 for row in rows]
    assert 0.2 < np.mean(drawn) < 0.7
    for row, is_real in zip(rows, drawn, strict=True):
        plain = whole_table().slice(row["id"], 1).to_pylist()[0]
        assert row["z"] == plain["z"] and row["true_mag_i"] == plain["true_mag_i"]
        assert (row == plain) != is_real
        if is_real and row["flags"] == 0:
            assert row["flux_i"] == pytest.approx(plain["flux_i"], rel=0.5)
