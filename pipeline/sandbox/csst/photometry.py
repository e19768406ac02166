"""Fluxes measured on the images with SEP (Barbary 2016, the routines of Bertin & Arnouts's SExtractor)."""

from dataclasses import dataclass
from enum import IntFlag
from typing import Any

import numpy as np
import sep
from numpy.typing import NDArray

from pipeline.sandbox.csst.bands import BANDS, EE80_ARCSEC, IMAGE_SIGMA
from schemas.imaging import CSST_ARCSEC

Floats = NDArray[np.float64]
Light = NDArray[np.float32]

LEAST_SN = 10.0
"""Signal to noise that a galaxy of the sample has in g or i (Zhou et al. 2022)."""
_DEEP = tuple(BANDS.index(name) for name in "griz")  # the bands that detect
_THRESHOLD, _LEAST_PX, _FARTHEST_PX = 1.5, 5, 6.0
# The aperture is the ellipse of 1.5 Kron radii, decided here: four fifths of an exponential's light at two thirds of
# the noise of SExtractor's 2.5. One Kron radius measures as well, and loses half of the light.
_KRON_FACTOR, _KRON_REACH, _LEAST_RADIUS_PX = 1.5, 6.0, 2.5
_BLIND_PX = 3.0
_WHOLE_PIXELS = 1  # shares of pixels would make the true noise less than the error that SEP states


class Trouble(IntFlag):
    """Why a galaxy is not in the sample; 0 means that it is."""

    NOT_DETECTED = 1
    """Nothing near the middle is above the noise: the fluxes are those of a circle of 3 pixels."""
    FAINT = 2
    """Signal to noise is below 10 in g and in i."""
    EDGE = 4
    """The aperture reaches beyond the field: light is missing."""

    @property
    def reason(self) -> str:
        """The words of the table; empty for none."""
        return "; ".join(bit.name.lower().replace("_", " ") for bit in Trouble if bit in self and bit.name)


@dataclass(frozen=True)
class Measured:
    """What was measured on one field.

    Attributes
    ----------
    counts, errors : numpy.ndarray, ``(7,)``
        In the aperture, negative where the noise says so, and their errors [count].
    trouble : Trouble
        Why it is not in the sample.
    aperture_px : tuple of float
        Half axes of the aperture.
    """

    counts: Floats
    errors: Floats
    trouble: Trouble
    aperture_px: tuple[float, float]


def measure(field: Light) -> Measured:
    """Measure the object in the middle of a field by one ellipse in all bands.

    Parameters
    ----------
    field : numpy.ndarray, ``(7, h, w)``
        Image with noise [count]; the background is zero.
    """
    ellipse, trouble = _ellipse(field)
    x, y, a, b, theta = ellipse
    counts, errors = np.empty(len(BANDS)), np.empty(len(BANDS))
    for band, sigma in enumerate(IMAGE_SIGMA):
        total, error, flag = sep.sum_ellipse(
            field[band], [x], [y], [a], [b], [theta], err=float(sigma), subpix=_WHOLE_PIXELS
        )
        counts[band], errors[band] = total[0], error[0]
        if flag[0] & sep.APER_TRUNC:
            trouble |= Trouble.EDGE
    signal = counts / errors
    if max(signal[BANDS.index("g")], signal[BANDS.index("i")]) < LEAST_SN:
        trouble |= Trouble.FAINT
    return Measured(counts, errors, trouble, (a, b))


def measure_star(field: Light) -> tuple[Floats, Floats]:
    """Return counts and errors ``(7,)`` in circles of R_EE80, which define the survey's depth, about the middle."""
    middle = [(field.shape[1] - 1) / 2]
    counts, errors = np.empty(len(BANDS)), np.empty(len(BANDS))
    for band, sigma in enumerate(IMAGE_SIGMA):
        radius = EE80_ARCSEC[band] / CSST_ARCSEC
        total, error, _ = sep.sum_circle(
            field[band], middle, middle, radius, err=float(sigma), subpix=_WHOLE_PIXELS
        )
        counts[band], errors[band] = total[0], error[0]
    return counts, errors


def _extract(depth: Light) -> Any:
    """Find the objects of an image of unit noise."""
    # Each call sets aside a stack of 300,000 pixels, which takes longer than the search in a field of 4,096.
    usual = sep.get_extract_pixstack()
    sep.set_extract_pixstack(2 * depth.size)
    try:
        return sep.extract(depth, _THRESHOLD, minarea=_LEAST_PX, deblend_nthresh=1, deblend_cont=1.0)
    finally:
        sep.set_extract_pixstack(usual)


def _ellipse(field: Light) -> tuple[tuple[float, float, float, float, float], Trouble]:
    """Find the object in the middle: its place and the aperture's half axes [pixel] and angle [radian]."""
    # Each band in units of its noise; halved, the sum of four has a noise of one.
    depth = np.sum([field[band] / np.float32(IMAGE_SIGMA[band]) for band in _DEEP], axis=0) / np.float32(2)
    middle_y, middle_x = (field.shape[1] - 1) / 2, (field.shape[2] - 1) / 2
    found = _extract(depth)
    distance = np.hypot(found["x"] - middle_x, found["y"] - middle_y)
    if len(found) == 0 or distance.min() > _FARTHEST_PX:
        return (middle_x, middle_y, _BLIND_PX, _BLIND_PX, 0.0), Trouble.NOT_DETECTED
    one = found[distance.argmin()]
    x, y, a, b, theta = (float(one[name]) for name in ("x", "y", "a", "b", "theta"))
    # SEP gives the angle in single precision, and refuses its own when that is rounded to beyond a right angle.
    theta = float(np.clip(theta, -np.pi / 2, np.pi / 2))
    kron = float(sep.kron_radius(depth, [x], [y], [a], [b], [theta], _KRON_REACH)[0][0])
    factor = _KRON_FACTOR * kron if np.isfinite(kron) else 0.0
    a, b = max(_LEAST_RADIUS_PX, a * factor), max(_LEAST_RADIUS_PX, b * factor)
    trouble = Trouble.EDGE if one["flag"] & sep.OBJ_TRUNC else Trouble(0)
    return (x, y, a, b, theta), trouble
