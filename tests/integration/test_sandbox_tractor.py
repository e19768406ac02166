"""The Legacy Surveys' catalogue of the default sky: it says what the images show."""

import io

import numpy as np
import pytest
from astropy.io import fits

from pipeline.sandbox.cameras import LAYERS
from pipeline.sandbox.database import SkyDatabase
from pipeline.sandbox.parameters import FitsRequest
from pipeline.sandbox.tractor import INFRARED_RADII_ARCSEC, OPTICAL_RADII_ARCSEC

pytest.importorskip("kcorrect", reason="the default sky is made of the galaxies in the kcorrect package")
from pipeline.sandbox.default_sky import DefaultSky


@pytest.fixture(scope="module")
def sky() -> DefaultSky:
    return DefaultSky(1998)


def column(sky: DefaultSky, name: str) -> np.ndarray:
    return sky.tables["Tractor"][name].to_numpy().astype(float)


def test_sql_joins_it_to_spectra_by_the_photometric_id(sky):
    answer = SkyDatabase(sky.tables, 20_000).query(
        "SELECT s.specObjID, s.z, t.mag_r, t.apmag_w1_5, t.ebv, p.modelMag_r FROM SpecObj AS s "
        "JOIN Tractor AS t ON t.objid = s.bestObjID JOIN PhotoObj AS p ON p.objID = s.bestObjID"
    )
    rows = np.array([row[2:] for row in answer.rows if None not in row], float)
    assert len(rows) > 0.95 * len(answer.rows) > 6000
    assert np.abs(np.median(rows[:, 0] - rows[:, 3])) < 0.01 and np.std(rows[:, 0] - rows[:, 3]) < 0.1
    assert (rows[:, 2] >= 0).all()


@pytest.mark.parametrize(
    ("layer", "band", "radii"),
    [("ls-dr10", "r", OPTICAL_RADII_ARCSEC), ("unwise-neo7", "1", INFRARED_RADII_ARCSEC)],
)
def test_aperture_magnitudes_are_those_of_the_images(sky, layer, band, radii):
    camera, scale, size = LAYERS[layer][band], 0.262, 100
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    off = []
    for index in range(0, 60, 3):
        ra, dec = float(sky.objects.ra[index]), float(sky.objects.dec[index])
        body = sky.fits(FitsRequest(ra % 360, dec, scale, size, layer, (band,)))
        image = fits.open(io.BytesIO(body))[0].data
        per_arcsec = image / camera.native_arcsec**2 / 10 ** (0.4 * camera.zero_mag)
        for number, radius in enumerate(radii[2:], 3):
            flux = per_arcsec[np.hypot(x, y) * scale < radius].sum() * scale**2
            told = column(sky, f"apmag_{camera.band.lower()}_{number}")[index]
            off.append(22.5 - 2.5 * np.log10(flux) - told)
    assert abs(np.median(off)) < 0.03 and np.median(np.abs(off)) < 0.06


def test_larger_apertures_hold_more_and_the_whole_is_the_most(sky):
    galaxies = sky.objects.kind == 0
    for band, number in (("z", 8), ("w2", 5)):
        magnitudes = [column(sky, f"apmag_{band}_{k}")[galaxies] for k in range(1, number + 1)]
        steps = np.diff([np.nanmedian(values) for values in magnitudes])
        assert (steps < 0).all()
        assert np.nanmedian(magnitudes[-1] - column(sky, f"mag_{band}")[galaxies]) > -0.02


def test_a_flux_below_zero_has_no_magnitude(sky):
    faint = np.isnan(column(sky, "apmag_w2_5"))
    assert 0 < faint.mean() < 0.05
