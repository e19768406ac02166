"""Galaxy profiles as sums of Gaussians, which stay Gaussians under the atmosphere's blur.

The idea is Hogg & Lang's (2013): a Sérsic profile is written as a few concentric Gaussians, so that
flattening it and convolving it with a PSF, itself a sum of Gaussians, only adds covariances. The numbers are
our own non-negative least-squares fits, weighted by light, to exponential and de Vaucouleurs profiles that
fall smoothly to zero between 3.2 and 4, and between 6.4 and 8 half-light radii (SDSS cuts its model profiles,
too). The enclosed light agrees with the profile's to 0.6 % at every radius. GalSim draws the same picture,
slower; a test compares the two.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Light = NDArray[np.float32]

# Weights, and variances in units of the half-light radius squared.
EXPONENTIAL = (
    np.array([0.00131, 0.00346, 0.02393, 0.10995, 0.38514, 0.47620]),
    np.array([0.0050119, 0.015849, 0.050119, 0.15849, 0.50119, 1.5849]),
)
DE_VAUCOULEURS = (
    np.array([0.00428, 0.00745, 0.03039, 0.0706, 0.15138, 0.23672, 0.2593, 0.23988]),
    np.array([0.0001, 0.00050119, 0.0025119, 0.012589, 0.063096, 0.31623, 1.5849, 7.9433]),
)
# SDSS's PSF: a core and a wing of thrice its width with a tenth of the light.
_WING_SHARE, _WING_WIDTH = 0.1, 3.0
SIGMA_PER_FWHM = 1 / 2.3548


class Blur:
    """A double-Gaussian PSF.

    Parameters
    ----------
    fwhm_arcsec : float
        Full width at half maximum of the core.
    """

    def __init__(self, fwhm_arcsec: float) -> None:
        core = (fwhm_arcsec * SIGMA_PER_FWHM) ** 2
        self.weights = np.array([1 - _WING_SHARE, _WING_SHARE])
        self.variances = np.array([core, core * _WING_WIDTH**2])


def point(blur: Blur, x: Floats, y: Floats) -> Light:
    """Return the surface brightness ``(h, w)`` [1/arcsec^2] of a point source of unit light.

    Parameters
    ----------
    blur : Blur
        The PSF.
    x, y : numpy.ndarray, ``(w,)`` and ``(h,)``
        Pixel centres from the source, east and north [arcsec].
    """
    # Round Gaussians are products of two one-dimensional ones.
    total = np.zeros((len(y), len(x)))
    for weight, variance in zip(blur.weights, blur.variances, strict=True):
        across, along = np.exp(-(x**2) / (2 * variance)), np.exp(-(y**2) / (2 * variance))
        total += weight / (2 * np.pi * variance) * np.outer(along, across)
    return total.astype(np.float32)


def galaxy(
    mixture: tuple[Floats, Floats],
    blur: Blur,
    x: Floats,
    y: Floats,
    *,
    shape: tuple[float, float, float],
) -> Light:
    """Return the blurred surface brightness ``(h, w)`` [1/arcsec^2] of a galaxy component of unit light.

    Parameters
    ----------
    mixture : tuple of numpy.ndarray
        `EXPONENTIAL` or `DE_VAUCOULEURS`.
    blur : Blur
        The PSF.
    x, y : numpy.ndarray, ``(w,)`` and ``(h,)``
        Pixel centres from the galaxy, east and north [arcsec].
    shape : tuple of float
        Half-light radius along the major axis [arcsec], minor over major axis, position angle [degree, north
        through east].
    """
    radius, ratio, angle_deg = shape
    angle = np.radians(angle_deg)
    major = x[None, :] * np.sin(angle) + y[:, None] * np.cos(angle)
    minor = x[None, :] * np.cos(angle) - y[:, None] * np.sin(angle)
    # Single precision halves the time and is good to 1e-6 of the peak; the JPEG keeps 1 part in 256.
    major2, minor2 = (-0.5 * major**2).astype(np.float32), (-0.5 * minor**2).astype(np.float32)
    weights = np.outer(mixture[0], blur.weights).ravel()
    var_major = (mixture[1][:, None] * radius**2 + blur.variances).ravel()
    var_minor = (mixture[1][:, None] * (radius * ratio) ** 2 + blur.variances).ravel()
    peaks = weights / (2 * np.pi * np.sqrt(var_major * var_minor))
    light = np.zeros((len(y), len(x)), dtype=np.float32)
    # One Gaussian at a time stays in the cache, and needs no BLAS, whose threads fight over a small machine.
    for peak, a, b in zip(peaks.tolist(), (1 / var_major).tolist(), (1 / var_minor).tolist(), strict=True):
        term = major2 * np.float32(a)
        term += minor2 * np.float32(b)
        np.exp(term, out=term)
        term *= np.float32(peak)
        light += term
    return light
