import pickle

import numpy as np
import pytest
from astropy.io import fits

from pipeline.fields.mosaic import open_mosaic
from schemas.errors import StoreError

RANDOM = np.random.default_rng(0)


def _header(scale_arcsec=0.2, ra=150.0):
    header = fits.Header()
    for axis, kind, value in ((1, "RA---TAN", ra), (2, "DEC--TAN", 2.0)):
        header[f"CTYPE{axis}"], header[f"CRVAL{axis}"], header[f"CRPIX{axis}"] = kind, value, 20.5
        header[f"CUNIT{axis}"] = "deg"
    header["CDELT1"], header["CDELT2"] = -scale_arcsec / 3600, scale_arcsec / 3600
    return header


def _write(path, values, header=None):
    fits.PrimaryHDU(values, header).writeto(path)
    return path


@pytest.fixture
def files(tmp_path):
    pixels = {band: RANDOM.normal(size=(40, 50)).astype("f4") for band in "gri"}
    return {band: _write(tmp_path / f"{band}.fits", v, _header()) for band, v in pixels.items()}, pixels


def test_a_part_is_read_band_by_band_in_the_order_given(files):
    paths, pixels = files
    mosaic = open_mosaic({band: paths[band] for band in "igr"})
    assert mosaic.bands == ("i", "g", "r") and mosaic.shape == (40, 50, 3)
    assert mosaic.arcsec_per_pixel == pytest.approx(0.2)
    part = mosaic[3:20, 7:31]
    assert part.dtype == np.dtype("f4") and part.dtype.isnative
    assert np.array_equal(part, np.stack([pixels[band] for band in "igr"], -1)[3:20, 7:31])
    assert np.array_equal(mosaic.band("r"), pixels["r"])


def test_a_mosaic_can_be_sent_to_a_worker(files):
    mosaic = open_mosaic(files[0])
    assert np.array_equal(pickle.loads(pickle.dumps(mosaic))[0:5, 0:5], mosaic[0:5, 0:5])


def test_scaled_integers_in_an_extension_are_read_as_what_they_mean(tmp_path):
    values = np.arange(40 * 50, dtype="u2").reshape(40, 50) + 40000
    path = tmp_path / "scaled.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(values)]).writeto(path)
    mosaic = open_mosaic({"r": path}, arcsec_per_pixel=0.2)
    assert np.array_equal(mosaic[1:9, 2:30][..., 0], values[1:9, 2:30])


def test_positions_on_the_sky_are_those_of_the_header(files):
    ra, dec = open_mosaic(files[0]).sky(np.array([19.5, 29.5]), np.array([19.5, 19.5]))
    assert ra == pytest.approx(150.0) and dec == pytest.approx([2.0, 2.0 + 2 / 3600])


def test_without_sky_coordinates_the_scale_must_be_told_and_positions_are_not_numbers(tmp_path):
    path = _write(tmp_path / "r.fits", np.zeros((40, 50), "f4"))
    with pytest.raises(StoreError, match="no header of the mosaic tells"):
        open_mosaic({"r": path})
    mosaic = open_mosaic({"r": path}, arcsec_per_pixel=0.168)
    assert mosaic.arcsec_per_pixel == 0.168 and np.isnan(mosaic.sky(np.zeros(3), np.zeros(3))).all()


def test_a_file_that_was_cut_off_is_refused(files):
    path = files[0]["g"]
    path.write_bytes(path.read_bytes()[:-2880])
    with pytest.raises(StoreError, match=r"ask for \d+ bytes, the file has \d+"):
        open_mosaic(files[0])


@pytest.mark.parametrize("rows", [20, 60])
def test_a_header_that_disagrees_with_the_file_s_size_is_refused(files, rows):
    path = files[0]["g"]
    data = path.read_bytes().replace(
        b"NAXIS2  =                   40", b"NAXIS2  =                   %d" % rows
    )
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"g\.fits") as caught:
        open_mosaic(files[0])
    assert "NAXIS2" in caught.value.remedy


def test_bands_of_other_sizes_scales_and_places_are_refused(files, tmp_path):
    paths = files[0]
    small = _write(tmp_path / "small.fits", np.zeros((40, 48), "f4"), _header())
    coarse = _write(tmp_path / "coarse.fits", np.zeros((40, 50), "f4"), _header(0.396))
    aside = _write(tmp_path / "aside.fits", np.zeros((40, 50), "f4"), _header(ra=150.001))
    for path, words in ((small, "z 40x48"), (coarse, "z 0.396"), (aside, "band z lies 18.0 pixels away")):
        with pytest.raises(StoreError, match=words):
            open_mosaic(paths | {"z": path})
    with pytest.raises(StoreError, match="same pixel scale"):
        open_mosaic(paths, arcsec_per_pixel=0.06)


def test_pixels_that_are_not_finite_are_named_or_skipped(files, tmp_path):
    values = RANDOM.normal(size=(40, 50)).astype("f4")
    values[17, 3] = np.nan
    paths = files[0] | {"z": _write(tmp_path / "z.fits", values, _header())}
    with pytest.raises(StoreError, match=r"band z .* at y = 17, x = 3"):
        open_mosaic(paths)
    assert np.isnan(open_mosaic(paths, blank="skip")[17:18, 3:4][0, 0, 3])


@pytest.mark.parametrize("content", [b"", b"no FITS at all" * 300, b"\x1f\x8b compressed"])
def test_what_is_no_fits_file_is_refused(tmp_path, content):
    path = tmp_path / "r.fits"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"r\.fits"):
        open_mosaic({"r": path})


def test_missing_files_cubes_and_no_band_are_refused(tmp_path):
    with pytest.raises(StoreError, match=r"absent\.fits"):
        open_mosaic({"r": tmp_path / "absent.fits"})
    cube = _write(tmp_path / "cube.fits", np.zeros((3, 40, 50), "f4"))
    with pytest.raises(StoreError, match=r"two dimensions, found \(3, 40, 50\)"):
        open_mosaic({"r": cube})
    with pytest.raises(StoreError, match="at least one band"):
        open_mosaic({})


def test_a_file_that_changed_since_is_refused(files):
    paths, _ = files
    mosaic = open_mosaic(paths)
    fits.PrimaryHDU(np.zeros((20, 50), "f4")).writeto(paths["r"], overwrite=True)
    with pytest.raises(StoreError, match=r"expected an image of \(40, 50\)"):
        mosaic[0:5, 0:5]
