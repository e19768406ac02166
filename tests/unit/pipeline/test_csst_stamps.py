import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from pipeline.sandbox.csst.stamps import CATALOGUE, FITTED, HST_SIGMA_ARCSEC, Stamp, read_stamps
from schemas.errors import SourceError
from schemas.imaging import CSST_ARCSEC

SHARED = Path(os.environ.get("SKYMILL_SHARED", Path(__file__).parents[4] / "shared"))
REAL = SHARED / "real" / "hst-cosmos"
AXIS = (np.arange(64) - 31.5) * CSST_ARCSEC
SCALE = 0.03


def folder_of(path: Path, *images: np.ndarray) -> Path:
    """A folder as GalSim lays it out."""
    n = len(images)
    columns = [
        fits.Column("GAL_FILENAME", "20A", array=["images.fits"] * n),
        fits.Column("GAL_HDU", "J", array=np.arange(n)),
        fits.Column("PIXEL_SCALE", "D", array=np.full(n, SCALE)),
        fits.Column("NOISE_MEAN", "D", array=np.zeros(n)),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(path / CATALOGUE)
    sersic = fits.Column("sersicfit", "8D", array=np.tile([1, 10, 1.0, 1, 0, 0, 0, 0], (n, 1)))
    fits.BinTableHDU.from_columns([sersic]).writeto(path / FITTED)
    first, *others = images
    fits.HDUList([fits.PrimaryHDU(first), *map(fits.ImageHDU, others)]).writeto(path / "images.fits")
    return path


def gaussian(sigma_px: float, size: int = 121, ratio: float = 1.0) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return np.exp(-0.5 * (x**2 + (y / ratio) ** 2) / sigma_px**2)


def seen(
    stamp: Stamp, radius_arcsec: float = 0.3, angle_deg: float = 0.0, *, mirrored: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Core and rest, as a camera sees them."""
    spread = stamp.spread(AXIS, radius_arcsec=radius_arcsec, sigma_arcsec=0.08)
    core, rest = stamp.turned(angle_deg, mirrored=mirrored, core_share=0.3)
    return spread @ core @ spread.T, spread @ rest @ spread.T


def width_arcsec(image: np.ndarray) -> float:
    return float(np.sqrt((image.sum(axis=0) * AXIS**2).sum() / image.sum()))


def test_a_stamp_is_scaled_to_the_radius_and_blurred_to_the_psf_that_are_asked_for(tmp_path):
    (stamp,) = read_stamps(folder_of(tmp_path, gaussian(10.0)))
    # Half of a Gaussian's light is within 1.1774 sigma; HST's PSF has added 0.067 arcsec in quadrature.
    assert stamp.radius_arcsec == pytest.approx(np.sqrt((1.1774 * 0.3) ** 2 - 0.067**2), rel=0.02)
    core, rest = seen(stamp, 0.5 * stamp.radius_arcsec)
    total = 0.3 * core + 0.7 * rest
    expected = np.sqrt(0.25 * (0.3**2 - HST_SIGMA_ARCSEC**2) + 0.08**2 + CSST_ARCSEC**2 / 12)
    assert width_arcsec(total) == pytest.approx(expected, rel=0.03)
    assert total.sum() == pytest.approx(1.0, abs=1e-3)


def test_the_core_has_its_share_and_is_the_smaller_part(tmp_path):
    (stamp,) = read_stamps(folder_of(tmp_path, gaussian(8.0)))
    core, rest = seen(stamp)
    assert core.sum() == pytest.approx(1, abs=0.01) and rest.sum() == pytest.approx(1, abs=0.02)
    assert width_arcsec(core) < 0.8 * width_arcsec(rest)


def test_a_stamp_is_turned_and_mirrored(tmp_path):
    (stamp,) = read_stamps(folder_of(tmp_path, gaussian(10.0, ratio=0.4)))
    flat = sum(seen(stamp))
    assert width_arcsec(flat) > 1.5 * width_arcsec(flat.T)
    assert sum(seen(stamp, angle_deg=90.0)) == pytest.approx(flat.T, abs=2e-3 * float(flat.max()))
    lopsided = gaussian(10.0) * (1 + 0.5 * (np.arange(121) > 60))
    (tmp_path / "b").mkdir()
    (stamp,) = read_stamps(folder_of(tmp_path / "b", lopsided))
    plain, mirror = (sum(seen(stamp, mirrored=flip)) for flip in (False, True))
    assert mirror == pytest.approx(plain[:, ::-1], abs=1e-3 * float(plain.max()))


def test_a_folder_without_stamps_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(SourceError, match=r"(?s)no HST stamps.*drawn from profiles"):
        read_stamps(tmp_path)


@pytest.mark.skipif(not REAL.exists(), reason="the real HST stamps are not here")
def test_the_hundred_real_stamps_are_read_and_their_sizes_are_those_of_galaxies():
    stamps = read_stamps(REAL)
    radii = np.array([stamp.radius_arcsec for stamp in stamps])
    assert len(stamps) == 100 and 5 < sum(stamp.early for stamp in stamps) < 60
    assert radii.min() > 0.05 and 0.2 < np.median(radii) < 1.0
    assert all(np.all(np.diff(stamp.core_shares) >= 0) for stamp in stamps)
