"""Light in seven bands as CSST would see it, and the noise."""

import numpy as np
from numpy.typing import NDArray

from pipeline.sandbox.csst.bands import (
    BANDS,
    EE80_ARCSEC,
    IMAGE_SIGMA,
    GaussianBlur,
    psf_sigma_arcsec,
)
from pipeline.sandbox.csst.population import Galaxy
from pipeline.sandbox.csst.stamps import Stamp
from pipeline.sandbox.profiles import DE_VAUCOULEURS, EXPONENTIAL, galaxy, point
from schemas.imaging import CSST_ARCSEC

Floats = NDArray[np.float64]
Light = NDArray[np.float32]
FIELD_PX = 64
"""Side of the field that is drawn and measured; the image is its middle."""

_RADII, _PSF_OF_BAND = np.unique(EE80_ARCSEC, return_inverse=True)
_BLURS = tuple(GaussianBlur(float(radius)) for radius in _RADII)
_AXIS: Floats = (np.arange(FIELD_PX, dtype=np.float64) - (FIELD_PX - 1) / 2) * CSST_ARCSEC
_QUIET = 250_000  # multiplications; OpenBLAS shares out products of more than 2^18
# Bulge and disc of a galaxy against its half-light radius, as in the sandbox's other sky.
_BULGE_LEAST, _DISC_LARGER = 0.35, 1.1


def parametric(truth: Galaxy) -> tuple[Light, Light]:
    """Return a de Vaucouleurs bulge and an exponential disc, each ``(3, 64, 64)``, one image a PSF.

    The two are Sérsic profiles of index 4 and 1. Each image holds the share of light on each pixel.
    """
    x, y = truth.shift_arcsec[0] - _AXIS, _AXIS - truth.shift_arcsec[1]  # east is left
    size = truth.radius_arcsec
    bulge_arcsec = size * (_BULGE_LEAST + (1 - _BULGE_LEAST) * truth.bulge_share)
    bulge = (bulge_arcsec, truth.bulge_ratio, truth.angle_deg)
    disc = (size * _DISC_LARGER, truth.disc_ratio, truth.angle_deg)
    area = np.float32(CSST_ARCSEC**2)
    return (
        np.array([galaxy(DE_VAUCOULEURS, blur, x, y, shape=bulge) for blur in _BLURS]) * area,
        np.array([galaxy(EXPONENTIAL, blur, x, y, shape=disc) for blur in _BLURS]) * area,
    )


def from_stamp(truth: Galaxy, stamp: Stamp, *, mirrored: bool) -> tuple[Light, Light]:
    """Return the core and the rest of a real galaxy, each ``(3, 64, 64)``, one image a PSF.

    Its size, its orientation and the core's share of the light are those of ``truth``.
    """
    parts = stamp.turned(truth.angle_deg, mirrored=mirrored, core_share=truth.bulge_share)
    images = np.empty((2, len(_RADII), FIELD_PX, FIELD_PX), dtype=np.float32)
    for psf, ee80_arcsec in enumerate(_RADII):
        across, along = (
            stamp.spread(
                _AXIS - shift,
                radius_arcsec=truth.radius_arcsec,
                sigma_arcsec=psf_sigma_arcsec(float(ee80_arcsec)),
            )
            for shift in truth.shift_arcsec
        )
        for part, light in enumerate(parts):
            images[part, psf] = _product(_product(along, light), across.T)
    return images[0], images[1]


def _product(left: Light, right: Light) -> Light:
    """Multiply matrices in blocks of rows so small that BLAS does not wake its threads, which cost more here."""
    rows = max(_QUIET // (right.shape[0] * right.shape[1]), 1)
    return np.concatenate([left[first : first + rows] @ right for first in range(0, len(left), rows)])


def coloured(bulge: Light, disc: Light, counts: tuple[Floats, Floats]) -> Light:
    """Return the image ``(7, 64, 64)`` [count] of bulge and disc of given counts a band, ``(7,)`` each."""
    image = np.empty((len(BANDS), FIELD_PX, FIELD_PX), dtype=np.float32)
    for band, psf in enumerate(_PSF_OF_BAND):
        image[band] = np.float32(counts[0][band]) * bulge[psf] + np.float32(counts[1][band]) * disc[psf]
    return image


def star(counts: Floats) -> Light:
    """Return the image ``(7, 64, 64)`` [count] of a point source in the middle, of given counts a band."""
    shapes = [point(blur, _AXIS, _AXIS) * np.float32(CSST_ARCSEC**2) for blur in _BLURS]
    return np.array([np.float32(counts[band]) * shapes[psf] for band, psf in enumerate(_PSF_OF_BAND)])


def add_noise(image: Light, rng: np.random.Generator) -> Light:
    """Add the noise of the background to an image ``(7, h, w)`` [count]; pixels are independent."""
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    noise *= IMAGE_SIGMA.astype(np.float32)[:, None, None]
    noise += image
    return noise
