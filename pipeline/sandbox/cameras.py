"""The bands in which the Legacy Surveys, unWISE and SDSS see the default sky: pixel, PSF, depth, zero point."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.sandbox.profiles import Blur
from schemas.imaging import FRAME_ARCSEC


@dataclass(frozen=True)
class Camera:
    """One band of a survey's coadded images.

    Attributes
    ----------
    band : str
        Its name here: ``u``, ``g``, ``r``, ``i``, ``z``, ``W1`` or ``W2``.
    native_arcsec : float
        A pixel of the survey's own images.
    fwhm_arcsec : float
        Full width at half maximum of the PSF's core.
    depth_mag : float
        AB magnitude of a point source of five times its error.
    variance_per_light : float
        What one nanomaggy of light adds to the variance of a native pixel [nanomaggy].
    bulge_share : float
        A bulge's share of the light, against that in r: bulges are redder than disks.
    zero_mag : float
        AB magnitude minus that of the system in which the survey gives its fluxes.
    """

    band: str
    native_arcsec: float
    fwhm_arcsec: float
    depth_mag: float
    variance_per_light: float
    bulge_share: float
    zero_mag: float = 0.0

    @cached_property
    def blur(self) -> Blur:
        """The PSF, with SDSS's wing."""
        return Blur(self.fwhm_arcsec)

    @cached_property
    def light_per_flux(self) -> np.float32:
        """What a native pixel has of a surface brightness of 1 nanomaggy (AB) per square arcsec, as it is given."""
        return np.float32(self.native_arcsec**2 * 10 ** (0.4 * self.zero_mag))

    @cached_property
    def sky_sigma(self) -> np.float32:
        """Noise of a native pixel of empty sky, in the survey's own system [nanomaggy].

        The error of a point source's flux, with the PSF p as weight, is that of a pixel over the root of the pixel's
        area times the integral of p squared; p is a sum of Gaussians.
        """
        weights, variances = self.blur.weights, self.blur.variances
        squared = np.outer(weights, weights) / (2 * np.pi * np.add.outer(variances, variances))
        error = 10 ** (0.4 * (22.5 - self.depth_mag + self.zero_mag)) / 5
        return np.float32(error * np.sqrt(self.native_arcsec**2 * squared.sum()))


def _legacy(band: str, fwhm_arcsec: float, depth_mag: float, bulge_share: float) -> Camera:
    # DECam gathers 2.6 times the light of SDSS's telescope, some 300 s long instead of 54 s.
    return Camera(band, 0.262, fwhm_arcsec, depth_mag, 7e-5, bulge_share)


LAYERS: Mapping[str, Mapping[str, Camera]] = {
    # PSF: medians of DECaLS in g, r, z (Dey et al. 2019, table 4); i decided here, between r and z.
    # Depths: what the DR10 catalogues' psfdepth (inverse variance of a point source's flux) is at a typical place,
    # 900, 230 and 75 in g, r, z; i decided here, between r and z.
    "ls-dr10": {
        "g": _legacy("g", 1.29, 24.4, 0.88),
        "r": _legacy("r", 1.18, 23.7, 1.0),
        "i": _legacy("i", 1.15, 23.4, 1.05),
        "z": _legacy("z", 1.11, 23.1, 1.08),
    },
    # PSF: Wright et al. 2010. Depths: the unWISE Catalog's limits of 5 sigma (Schlafly, Meisner & Green 2019). unWISE
    # coadds are in nanomaggies of the Vega system; AB minus Vega as in the WISE Explanatory Supplement, IV.4.h.
    "unwise-neo7": {
        "1": Camera("W1", 2.75, 6.1, 20.72, 0.0, 1.1, 2.699),
        "2": Camera("W2", 2.75, 6.4, 19.97, 0.0, 1.1, 3.339),
    },
}
"""Layers of the cutout service, and in each the bands by the names that the service has for them."""


def _sdss(band: str, fwhm_arcsec: float, depth_mag: float, per_light: float, bulge_share: float) -> Camera:
    return Camera(band, FRAME_ARCSEC, fwhm_arcsec, depth_mag, per_light, bulge_share)


FRAMES: Mapping[str, Camera] = {
    # PSF: medians of SDSS imaging. Depths: SDSS's stated 5 sigma limits of point sources (sdss.org, imaging scope).
    # Light: 54 s exposures, some 1000 electrons a nanomaggy in g, r, i, a third and a fourth of that in u and z.
    "u": _sdss("u", 1.53, 22.15, 0.0030, 0.8),
    "g": _sdss("g", 1.44, 23.13, 0.0010, 0.88),
    "r": _sdss("r", 1.32, 22.70, 0.0011, 1.0),
    "i": _sdss("i", 1.26, 22.20, 0.0013, 1.05),
    "z": _sdss("z", 1.29, 20.71, 0.0040, 1.08),
}
"""Bands of SDSS's frames."""
