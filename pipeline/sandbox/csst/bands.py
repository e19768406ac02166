"""The survey: seven bands, their depth, noise and PSF, and what a count of an image is worth.

The image unit. The pixel noise of the images and the depth of the survey are both given (Zhou et al. 2022,
MNRAS 512, 4593), and together they fix the unit: a point source of the limiting magnitude has five times the
noise in an aperture of radius R_EE80,

    5 sigma_pixel sqrt(pi R_EE80^2 / pixel^2) = EE(R_EE80) F_lim counts_per_flux.

The counts so defined are within a tenth those of electrons in the survey's exposures (two of 150 s, four in
NUV and y, with 5 e- of read noise and 0.02 e-/s of dark current, whose noise is the sigma given). Noise is
taken as that of the background alone, as the depth is: the source's own photons add nothing here.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.sandbox.profiles import Blur
from schemas.imaging import CSST_ARCSEC

Floats = NDArray[np.float64]

BANDS = ("nuv", "u", "g", "r", "i", "z", "y")
LIMIT_MAG = np.array([25.4, 25.5, 26.2, 26.0, 25.8, 25.7, 25.5])
"""Magnitudes of a point source of five sigma (Zhou et al. 2022) [AB]."""
IMAGE_SIGMA = np.array([10.65, 7.84, 9.94, 10.59, 10.59, 9.56, 11.53])
"""Noise of a pixel, by band (Zhou et al. 2022) [count]."""
EE80_ARCSEC = np.array([0.135, 0.135, 0.135, 0.135, 0.145, 0.165, 0.165])
"""Radii that hold 80 % of a point source's light (Cao et al. 2018, MNRAS 480, 2178, table 1)."""

# Where transmission begins, is full, begins to fall and ends [Angstrom]: 1 % and 90 % points of Cao et al.
# (2018), table 1. The curves are straight between; their mean wavelengths agree to 0.2 % with those listed
# for CSST's filters (2867.7, 3601.1, 4754.5, 6199.8, 7653.2, 9600.6, 10051.0).
_EDGES_A = np.array(
    [
        [2480, 2550, 3170, 3260],
        [3130, 3220, 3960, 4080],
        [3910, 4030, 5450, 5610],
        [5380, 5540, 6840, 7020],
        [6770, 6950, 8330, 8540],
        [8250, 8450, 10650, 11000],
        [9140, 9370, 10650, 11000],
    ],
    dtype=np.float64,
)
_AB_ZERO = 48.6
_SIGMAS = 5.0


class GaussianBlur(Blur):
    """A round Gaussian PSF as a pixel sees it.

    Zhou et al. (2022) take CSST's PSF as a Gaussian, too. The pixel is a blur of variance pixel^2 / 12, so
    that surface brightness at a pixel's centre is the light that falls on the pixel.

    Parameters
    ----------
    ee80_arcsec : float
        Radius that holds 80 % of the light, before the pixel.
    """

    def __init__(self, ee80_arcsec: float) -> None:
        self.weights = np.array([1.0])
        self.variances = np.array([psf_sigma_arcsec(ee80_arcsec) ** 2 + CSST_ARCSEC**2 / 12])


def psf_sigma_arcsec(ee80_arcsec: float) -> float:
    """Return the sigma [arcsec] of a Gaussian with 80 % of its light within a radius."""
    return float(ee80_arcsec / np.sqrt(2 * np.log(5)))


def ab_flux(mag: Floats | float) -> Floats:
    """Return the flux [erg/s/cm^2/Hz] of AB magnitudes (Oke & Gunn 1983)."""
    return np.asarray(10 ** (-(np.asarray(mag, dtype=np.float64) + _AB_ZERO) / 2.5))


def ab_mag(flux: Floats) -> Floats:
    """Return AB magnitudes of fluxes [erg/s/cm^2/Hz]: infinity for none, NaN below zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(-2.5 * np.log10(flux) - _AB_ZERO)


def counts_per_flux() -> Floats:
    """Return the counts that a flux of 1 erg/s/cm^2/Hz leaves in an image, ``(7,)``."""
    spread = np.array([GaussianBlur(radius).variances[0] for radius in EE80_ARCSEC])
    enclosed = 1 - np.exp(-(EE80_ARCSEC**2) / (2 * spread))
    noise = IMAGE_SIGMA * np.sqrt(np.pi) * EE80_ARCSEC / CSST_ARCSEC
    return _SIGMAS * noise / (enclosed * ab_flux(LIMIT_MAG))


def transmissions(wavelength_a: Floats) -> Floats:
    """Return the bands' transmissions ``(7, n)``, 0 to 1, at wavelengths ``(n,)`` [Angstrom]."""
    shape = [0.0, 1.0, 1.0, 0.0]
    return np.array([np.interp(wavelength_a, edges, shape, left=0, right=0) for edges in _EDGES_A])
