"""Print images as the Legacy Surveys' cutout service gives them: FITS."""

import io
from collections.abc import Mapping

import numpy as np
from astropy.io import fits

from pipeline.sandbox.parameters import CsstRequest, FitsRequest
from pipeline.sandbox.profiles import Light
from schemas.imaging import CSST, FILTERS

FITS_TYPE = "image/fits"
NO_OVERLAP_TEXT = "No overlap"


def fits_answer(planes: Light, wanted: FitsRequest) -> bytes:
    """Return a FITS file of planes ``(band, h, w)``, first row north; one plane alone has no third axis.

    The cards are those of the Sky Viewer: the bands' names in two ways, a tangent plane, sizes.
    """
    south_first = np.ascontiguousarray(planes[:, ::-1], ">f4")
    hdu = fits.PrimaryHDU(south_first if len(planes) > 1 else south_first[0])
    middle, step = (wanted.width + 1) / 2, wanted.scale / 3600
    cards: dict[str, str | float] = {
        "SURVEY": "unWISE" if wanted.layer.startswith("unwise") else "LegacySurvey"
    }
    cards |= {"BANDS": "".join(wanted.bands)}
    cards |= {f"BAND{k}": name for k, name in enumerate(wanted.bands)}
    cards |= {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": wanted.ra, "CRVAL2": wanted.dec}
    cards |= {"CRPIX1": middle, "CRPIX2": middle, "CD1_1": -step, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": step}
    cards |= {"IMAGEW": wanted.width, "IMAGEH": wanted.height, "IMAGETYP": "IMAGE"}
    hdu.header.update(cards)
    body = io.BytesIO()
    hdu.writeto(body)
    return body.getvalue()


def no_data(wanted: FitsRequest) -> bytes:
    """Return the FITS file of a place that no exposure saw."""
    return fits_answer(np.zeros((len(wanted.bands), wanted.height, wanted.width), np.float32), wanted)


def csst_answer(planes: Light, wanted: CsstRequest, cards: Mapping[str, tuple[str | float, str]]) -> bytes:
    """Return a FITS file of the CSST mock: counts ``(7, h, w)``, first row south, with further cards.

    The header names the bands (``BAND1`` …), the pixel scale, and the position of the image's centre.
    """
    cube = fits.PrimaryHDU(np.ascontiguousarray(planes, ">f4"))
    step = wanted.scale / 3600
    header = cube.header
    header["BUNIT"] = ("count", "background-subtracted")
    header["PIXSCALE"] = (wanted.scale, "[arcsec]")
    header["CTYPE1"], header["CTYPE2"], header["CTYPE3"] = "RA---TAN", "DEC--TAN", "BAND"
    header["CUNIT1"], header["CUNIT2"] = "deg", "deg"
    header["CRVAL1"], header["CRVAL2"] = wanted.ra, wanted.dec
    header["CRPIX1"] = header["CRPIX2"] = (wanted.width + 1) / 2
    header["CDELT1"], header["CDELT2"] = -step, step
    for number, band in enumerate(FILTERS[CSST], start=1):
        header[f"BAND{number}"] = band
    header.update(cards)
    body = io.BytesIO()
    cube.writeto(body)
    return body.getvalue()


def no_csst_data(wanted: CsstRequest) -> bytes:
    """Return the FITS file of a place of the CSST mock that no exposure saw."""
    return csst_answer(np.zeros((len(FILTERS[CSST]), wanted.width, wanted.width), np.float32), wanted, {})
