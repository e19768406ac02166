"""Real galaxies as HST saw them in F814W, scaled, turned and blurred to CSST's PSF.

HST's PSF is sharper than CSST's (half of its light within 0.067 arcsec, against 0.089 to 0.108), so nothing has
to be deconvolved: a Gaussian blur brings one to the other, half-light radius to half-light radius. What this
leaves out: HST's PSF has wings that a Gaussian has not (80 % of its light within 0.134 arcsec), and the galaxy
keeps them, shrunk or stretched with it. GalSim's ``RealGalaxy`` does without the approximation, for a
dependency at run time and many times the cost; at the same scale the two pictures differ by 6 % of the light.

The stamps' own noise is blurred and dimmed with the galaxy, and lies far below CSST's.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy.ndimage import rotate
from scipy.special import erf

from schemas.errors import SourceError
from schemas.imaging import CSST_ARCSEC

Floats = NDArray[np.float64]
Light = NDArray[np.float32]

CATALOGUE = "real_galaxy_catalog_23.5_example.fits"
FITTED = "real_galaxy_catalog_23.5_example_fits.fits"
HST_SIGMA_ARCSEC = 0.066
"""Sigma of the Gaussian that HST's PSF counts as: with it the stamps' PSF images, blurred, have CSST's half-light
radius to 4 % (measured), and galaxies the peak that GalSim's ``RealGalaxy`` gives them to 2 % (medians)."""
_HST_HALF_LIGHT_ARCSEC = 0.067  # median of the hundred PSF images
_SHARPEST_ARCSEC = 0.02
_EARLY_INDEX = 2.5
_WIDTHS = np.geomspace(0.05, 20, 40)  # of the core's Gaussian, in half-light radii
_CORE_RANGE = (0.03, 0.9)  # beyond, one of the two parts would be mostly the stamp's noise
_TAPER_PX = 4


@dataclass(frozen=True)
class Stamp:
    """One galaxy.

    Attributes
    ----------
    light : numpy.ndarray, ``(n, n)``
        Light on each pixel; its sum is 1, its centre of light is in the middle.
    radius_arcsec : float
        Half-light radius.
    scale_arcsec : float
        Pixel size.
    early : bool
        Whether its Sérsic index is above 2.5.
    core_shares : numpy.ndarray
        Share of the light under Gaussian windows of growing width.
    """

    light: Light
    radius_arcsec: float
    scale_arcsec: float
    early: bool
    core_shares: Floats

    def turned(self, angle_deg: float, *, mirrored: bool, core_share: float) -> tuple[Light, Light]:
        """Return the galaxy turned, and taken apart into a core and the rest, of unit light each.

        Parameters
        ----------
        angle_deg : float
            By how much it is turned.
        mirrored : bool
            Whether it is mirrored before.
        core_share : float
            Share of the light in the core, which is what a round Gaussian window cuts out.
        """
        light = self.light[:, ::-1] if mirrored else self.light
        light = rotate(light, angle_deg, reshape=False, order=1, prefilter=False)
        width = np.interp(np.clip(core_share, *_CORE_RANGE), self.core_shares, _WIDTHS)
        relative = _distances(len(light)) * np.float32(self.scale_arcsec / self.radius_arcsec / width)
        core = light * np.exp(np.float32(-0.5) * relative**2)
        rest = light - core
        return core / core.sum(), rest / rest.sum()

    def spread(self, centres_arcsec: Floats, *, radius_arcsec: float, sigma_arcsec: float) -> Light:
        """Return how much of the light at each row or column falls on each of a camera's, ``(pixel, n)``.

        A round PSF and square pixels are products of two such spreads, so that an image is a product of three
        matrices.

        Parameters
        ----------
        centres_arcsec : numpy.ndarray, ``(pixel,)``
            Pixel centres from the galaxy's.
        radius_arcsec : float
            Half-light radius that the galaxy is scaled to.
        sigma_arcsec : float
            Of the camera's PSF, without the pixel.
        """
        zoom = radius_arcsec / self.radius_arcsec
        sigma = np.sqrt(max(sigma_arcsec**2 - (zoom * HST_SIGMA_ARCSEC) ** 2, _SHARPEST_ARCSEC**2))
        places = (np.arange(len(self.light)) - (len(self.light) - 1) / 2) * self.scale_arcsec * zoom
        edges = np.append(centres_arcsec - CSST_ARCSEC / 2, centres_arcsec[-1] + CSST_ARCSEC / 2)
        below = 0.5 * erf((edges[:, None] - places[None, :]) / (np.sqrt(2) * sigma))
        return np.diff(below, axis=0).astype(np.float32)


def read_stamps(folder: Path) -> tuple[Stamp, ...]:
    """Read the stamps of a folder in the format of GalSim's ``RealGalaxyCatalog``.

    Parameters
    ----------
    folder : pathlib.Path
        With the catalogue of the COSMOS 23.5 example, its fits of Sérsic profiles and the images.

    Raises
    ------
    SourceError
        If a file is missing or has no such table.
    """
    try:
        rows = fits.getdata(folder / CATALOGUE, 1)
        indices = fits.getdata(folder / FITTED, 1)["sersicfit"][:, 2]
        with fits.open(folder / str(rows["GAL_FILENAME"][0]).strip(), memmap=False) as images:
            pixels = [np.asarray(images[int(hdu)].data, dtype=np.float64) for hdu in rows["GAL_HDU"]]
    except (OSError, KeyError, IndexError) as error:
        raise SourceError(
            f"{folder} has no HST stamps: expected {CATALOGUE}, {FITTED} and the images they name; {error}",
            "Give the folder of GalSim's COSMOS 23.5 example, or none: galaxies are then drawn from profiles.",
        ) from error
    each = zip(pixels, rows["PIXEL_SCALE"], rows["NOISE_MEAN"], indices, strict=True)
    return tuple(
        _prepared(image - float(mean), float(scale), early=bool(index > _EARLY_INDEX))
        for image, scale, mean, index in each
    )


def _prepared(image: Floats, scale_arcsec: float, *, early: bool) -> Stamp:
    """Let a stamp end softly, put its centre of light into the middle of a square, and measure it."""
    image = _squared(_tapered(image))
    image /= image.sum()
    # Light in rings a quarter of a pixel wide: all that the growth with radius needs.
    rings = np.bincount(np.rint(4 * _distances(len(image))).astype(np.int64).ravel(), weights=image.ravel())
    distance_arcsec = np.arange(len(rings)) / 4 * scale_arcsec
    half_arcsec = float(distance_arcsec[np.searchsorted(np.cumsum(rings), 0.5)])
    # What HST's PSF added to the radius is taken off in quadrature.
    sharp = half_arcsec**2 - _HST_HALF_LIGHT_ARCSEC**2
    radius = float(np.sqrt(max(sharp, scale_arcsec**2)))
    windows = np.exp(-0.5 * (distance_arcsec / radius / _WIDTHS[:, None]) ** 2)
    shares = np.maximum.accumulate((windows * rings).sum(axis=1))
    return Stamp(image.astype(np.float32), radius, scale_arcsec, early, shares)


def _tapered(image: Floats) -> Floats:
    """Return an image whose outermost pixels fall to zero: a stamp is cut where the galaxy fades."""
    sides = [np.minimum(np.arange(size), np.arange(size)[::-1]) for size in image.shape]
    rows, columns = (np.clip((side + 0.5) / _TAPER_PX, 0, 1) for side in sides)
    return image * rows[:, None] * columns[None, :]


def _squared(image: Floats) -> Floats:
    """Return an image in a square that holds it at any angle, the centre of the light in the middle."""
    height, width = image.shape
    y, x = np.mgrid[:height, :width]
    near = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2) < min(height, width) / 4
    weight = np.where(near, np.clip(image, 0, None), 0)
    row, column = (round(float((axis * weight).sum() / weight.sum())) for axis in (y, x))
    half = int(np.ceil(np.hypot(max(row, height - 1 - row), max(column, width - 1 - column))))
    square = np.zeros((2 * half + 1, 2 * half + 1))
    square[half - row : half - row + height, half - column : half - column + width] = image
    return square


def _distances(size: int) -> Light:
    axis = np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)
    return np.asarray(np.hypot(axis[:, None], axis[None, :]))
