"""Where a FITS image says it is: refuse one of another place or scale, and say how it lies."""

import numpy as np

from pipeline.sources.fits_image import BadImageError, FitsImage
from pipeline.sources.images import Place
from schemas.flags import Status

MOST_OFF_PIXELS = 0.5
"""An image whose centre is farther off [pixels] is one of another position."""
SCALE_TOLERANCE = 1e-3


def turn(
    found: FitsImage, place: Place, *, pixels: int, arcsec_per_pixel: float, linear: tuple[float, ...]
) -> tuple[slice, slice]:
    """Return the order of an image's rows and columns that has north up and east left.

    Parameters
    ----------
    found : FitsImage
        The image, with the cards CRVAL1, CRVAL2 [deg], CRPIX1 and CRPIX2.
    place : mapping
        The position that was asked for.
    pixels, arcsec_per_pixel : int, float
        Side and scale that were asked for.
    linear : tuple of float
        What of the header is CD1_1, CD1_2, CD2_1 and CD2_2 [deg a pixel].

    Raises
    ------
    BadImageError
        If it is of another place or scale, or turned.
    """
    middle = (pixels + 1) / 2
    ra, dec = found.number("CRVAL1"), found.number("CRVAL2")
    east = ((ra - place["ra"] + 180) % 360 - 180) * np.cos(np.radians(dec)) * 3600 / arcsec_per_pixel
    north = (dec - place["dec"]) * 3600 / arcsec_per_pixel
    off = np.hypot(found.number("CRPIX1") - middle, found.number("CRPIX2") - middle) + np.hypot(east, north)
    if off > MOST_OFF_PIXELS:
        raise BadImageError(
            Status.WRONG_HEADER,
            f"expected an image of {place['ra']:.5f}, {place['dec']:.5f}, found {ra}, {dec}",
        )
    across, skew, tilt, along = (value * 3600 / arcsec_per_pixel for value in linear)
    if max(abs(abs(across) - 1), abs(abs(along) - 1), abs(skew), abs(tilt)) > SCALE_TOLERANCE:
        raise BadImageError(
            Status.WRONG_HEADER,
            f"expected pixels of {arcsec_per_pixel} arcsec and north up, found "
            f"{abs(across) * arcsec_per_pixel:.4g} by {abs(along) * arcsec_per_pixel:.4g} arcsec",
        )
    return slice(None, None, -1 if along > 0 else 1), slice(None, None, -1 if across > 0 else 1)
