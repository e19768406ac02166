"""Images of the CSST mock: what is asked, and what each answer that a server may give is worth."""

import io
import pickle

import numpy as np
import pytest
from astropy.io import fits

from pipeline.sandbox.fits_answers import csst_answer, no_csst_data
from pipeline.sandbox.parameters import CsstRequest
from pipeline.sources.choice import requests_per_row, source_of
from pipeline.sources.csst import CsstSource
from pipeline.sources.images import Body
from pipeline.sources.verdicts import Verdict
from schemas.config import RunFile
from schemas.flags import Status
from schemas.images import Images
from schemas.imaging import CSST, FILTERS

PLACE = {"ra": 150.25, "dec": 2.5}
BANDS = FILTERS[CSST]
SOURCE = CsstSource("http://sky/", 32, 0.075, BANDS)
ASKED = CsstRequest(PLACE["ra"], PLACE["dec"], 0.075, 32)
PLANES = np.random.default_rng(3).normal(0, 10, (7, 32, 32)).astype(np.float32)


def judge(content: bytes, source: CsstSource = SOURCE) -> Verdict:
    return source.judge(PLACE, [Body(content, "image/fits")])


def changed(planes: np.ndarray = PLANES, asked: CsstRequest = ASKED, **cards: object) -> bytes:
    """The sandbox's answer with other cards; None takes a card out."""
    with fits.open(io.BytesIO(csst_answer(planes, asked, {}))) as hdus:
        for name, value in cards.items():
            if value is None:
                del hdus[0].header[name]
            else:
                hdus[0].header[name] = value
        body = io.BytesIO()
        hdus.writeto(body)
    return body.getvalue()


def test_seven_bands_come_in_the_order_of_the_cube_with_north_up():
    verdict = judge(csst_answer(PLANES, ASKED, {}))
    assert verdict.status is Status.OK and verdict.pixels.dtype == np.float32
    assert np.array_equal(verdict.pixels, PLANES[:, ::-1].transpose(1, 2, 0))
    few = CsstSource("http://sky", 32, 0.075, ("y", "g-r"))
    y, difference = judge(csst_answer(PLANES, ASKED, {}), few).pixels.transpose(2, 0, 1)
    assert np.array_equal(y, PLANES[6, ::-1]) and np.array_equal(difference, (PLANES[2] - PLANES[3])[::-1])


def test_the_header_and_not_the_order_says_which_band_is_which():
    swapped = changed(BAND1="u", BAND2="NUV")
    assert np.array_equal(judge(swapped).pixels[..., 0], PLANES[1, ::-1])


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (changed(BAND7=None), Status.WRONG_HEADER, "7 planes, its header the bands NUV, u, g, r, i, z"),
        (changed(BAND2="NUV"), Status.WRONG_HEADER, "7 planes"),
        (changed(BAND8="Y"), Status.WRONG_HEADER, "7 planes"),
        (changed(BAND1="FUV"), Status.WRONG_HEADER, "expected the band NUV too, found FUV, u"),
        (changed(PLANES[:6], BAND7=None), Status.WRONG_HEADER, "expected the band y too"),
        (changed(BUNIT="adu"), Status.WRONG_HEADER, "expected pixels in count, found the unit 'adu'"),
        (changed(CDELT1=-0.05 / 3600), Status.WRONG_HEADER, "expected pixels of 0.075 arcsec"),
        (changed(CROTA2=30.0), Status.WRONG_HEADER, "found CROTA2"),
        (changed(CRVAL1=150.3), Status.WRONG_HEADER, "expected an image of 150.25000, 2.50000"),
        (changed(CDELT2=None), Status.WRONG_HEADER, "expected a number as CDELT2"),
        (changed(PLANES[:, :31]), Status.WRONG_SIZE, "expected 32x32, found 32x31"),
        (no_csst_data(ASKED), Status.BLANK, "every pixel of NUV"),
        (changed()[:9000], Status.TRUNCATED, "there are"),
        (b"<html>busy</html>", Status.ERROR_PAGE, "busy"),
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_has_a_status_and_words(content, status, words):
    verdict = judge(content)
    assert verdict.status is status and verdict.pixels is None
    assert words in verdict.detail


def test_a_band_with_a_pixel_that_is_no_number_is_refused():
    holed = PLANES.copy()
    holed[4, 3, 3] = np.nan
    assert judge(csst_answer(holed, ASKED, {})).detail == "i: 1 pixels are not finite"


def test_a_run_file_chooses_the_source_which_travels_to_workers():
    images = {"source": "csst-fits", "pixels": 32, "arcsec_per_pixel": 0.075, "bands": BANDS}
    data = {"schema": 1, "name": "a", "samples": {"s": {"sql": "SELECT id, ra, dec FROM Csst", "key": "id"}}}
    run = RunFile.model_validate({**data, "images": images, "training": {"sample": "s"}})
    source = source_of(run, "http://127.0.0.1:1/")
    assert source.addresses(PLACE) == (
        "http://127.0.0.1:1/csst/fits-cutout?ra=150.25&dec=2.5&pixscale=0.075&size=32",
    )
    assert pickle.loads(pickle.dumps(source)) == source
    assert requests_per_row(Images(**images)) == 1
    assert (run.images.unit, run.cube.dtype) == ("count", "float32")
