"""FITS cutouts of the Legacy Surveys: what is asked, and what each answer that a server may give is worth."""

import io
import pickle

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.choice import requests_per_row, source_of
from pipeline.sources.images import Body
from pipeline.sources.legacy import LegacySource, layers_of
from pipeline.sources.verdicts import Verdict, digest_of
from schemas.config import RunFile
from schemas.flags import Status
from schemas.images import Images

PIXELS, SCALE = 16, 0.262
PLACE = {"ra": 359.99999, "dec": 33.0}
ELG = ("g", "r", "i", "z", "g-r", "r-i", "i-z", "W1", "W2", "W1-W2")
RANDOM = np.random.default_rng(7)


def planes(count: int, pixels: int = PIXELS) -> np.ndarray:
    return RANDOM.normal(0.01, 0.005, (count, pixels, pixels)).astype(np.float32)


def body(image: np.ndarray, bands: str = "griz", **cards) -> bytes:
    """A FITS file as the service makes it, `cards` over its own; None takes a card out."""
    side, step = image.shape[-1], SCALE / 3600
    header = {"BANDS": bands} | {f"BAND{k}": band for k, band in enumerate(bands)}
    header |= {
        "CRVAL1": PLACE["ra"],
        "CRVAL2": PLACE["dec"],
        "CRPIX1": (side + 1) / 2,
        "CRPIX2": (side + 1) / 2,
    }
    header |= {"CD1_1": -step, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": step, "IMAGEW": side, "IMAGEH": side}
    hdu = fits.PrimaryHDU(np.ascontiguousarray(image, image.dtype.newbyteorder(">")))
    hdu.header.update({key: value for key, value in (header | cards).items() if value is not None})
    file = io.BytesIO()
    hdu.writeto(file)
    return file.getvalue()


def source(*bands: str) -> LegacySource:
    return LegacySource("http://sky/", PIXELS, SCALE, bands or ("g", "r", "i", "z"))


def judge(content: bytes, content_type: str = "image/fits", *bands: str) -> Verdict:
    return source(*bands).judge(PLACE, [Body(content, content_type)])


def test_a_layer_is_one_request_and_only_filters_that_are_needed_are_asked_for():
    asked = source("g-r", "W2", "r").addresses(PLACE)
    assert asked == (
        "http://sky/viewer/fits-cutout?ra=359.99999&dec=33.0&layer=ls-dr10&pixscale=0.262&bands=gr&size=16",
        "http://sky/viewer/fits-cutout?ra=359.99999&dec=33.0&layer=unwise-neo7&pixscale=0.262&bands=2&size=16",
    )
    assert requests_per_row(Images(source="legacy-fits", bands=ELG)) == 2
    assert requests_per_row(Images(source="legacy-fits", bands=("g",))) == 1


def test_a_run_file_chooses_the_source_which_travels_to_workers():
    data = {"schema": 1, "name": "a", "samples": {"s": {"sql": "SELECT specobjid, ra, dec FROM SpecObj"}}}
    images = {"source": "legacy-fits", "bands": ELG, "max_bytes": 1234}
    data |= {"images": images, "cube": {"dtype": "float32"}, "training": {"sample": "s"}}
    chosen = source_of(RunFile.model_validate({**data, "politeness": {"retries": 2}}), "http://127.0.0.1:1/")
    assert isinstance(chosen, LegacySource) and chosen.url == "http://127.0.0.1:1/"
    assert (chosen.bands, chosen.max_bytes, chosen.retries) == (ELG, 1234, 2)
    assert pickle.loads(pickle.dumps(chosen)) == chosen and len(pickle.dumps(chosen)) < 1000
    real = RunFile.model_validate({**data, "source": {"url": "https://skyserver.sdss.org"}})
    assert source_of(real, "https://skyserver.sdss.org").url == "https://www.legacysurvey.org"


def test_bands_and_differences_stand_in_the_order_asked_for_north_up():
    optical, infrared = planes(4), planes(2)
    bodies = [Body(body(optical)), Body(body(infrared, "12"))]
    verdict = source(*ELG).judge(PLACE, bodies)
    assert verdict.status is Status.OK and verdict.pixels is not None
    assert (verdict.pixels.dtype, verdict.pixels.shape) == (np.float32, (PIXELS, PIXELS, 10))
    g, r, i, z = optical[:, ::-1]
    w1, w2 = infrared[:, ::-1]
    expected = np.stack([g, r, i, z, g - r, r - i, i - z, w1, w2, w1 - w2], axis=-1)
    np.testing.assert_array_equal(verdict.pixels, expected)
    assert verdict.digest == digest_of([bodies[0].content, bodies[1].content])


def test_an_image_that_is_stored_north_first_or_east_right_is_turned():
    image, step = planes(4), SCALE / 3600
    north_first = judge(body(image[:, ::-1], CD2_2=-step)).pixels
    east_right = judge(body(image[:, :, ::-1], CD1_1=step)).pixels
    np.testing.assert_array_equal(north_first, east_right)


def test_bands_are_found_by_name_whatever_their_order_and_one_band_has_two_axes():
    image = planes(4)
    backwards = judge(body(image[::-1], "zirg"))
    np.testing.assert_array_equal(judge(body(image)).pixels, backwards.pixels)
    assert judge(body(image[0], "r"), "", "r").status is Status.OK
    assert judge(body(image[:2], "12", BAND0="w1", BAND1="w2", BANDS="w1w2"), "", "W2").status is Status.OK


GOOD = body(planes(4))
ZERO_I = planes(4) * np.array([1, 1, 0, 1], np.float32)[:, None, None]
HALF = planes(4) * (np.arange(PIXELS) < 7)
NANS = planes(4)
NANS[1, 3, 3] = np.nan


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", Status.TRUNCATED, "empty body"),
        (b"<html><body>Bad gateway</body></html>", Status.ERROR_PAGE, "Bad gateway"),
        (b"No overlap", Status.OUTSIDE_FOOTPRINT, "says so in words"),
        (b"\xff\xd8 a JPEG", Status.NOT_AN_IMAGE, "bytes"),
        (GOOD[:1200], Status.TRUNCATED, "no end of header"),
        (GOOD[:2800], Status.TRUNCATED, "4,096 bytes of pixels, there are 0"),
        (GOOD[:5000], Status.TRUNCATED, "4,096 bytes of pixels, there are 2,120"),
        (GOOD + b"x" * 100, Status.WRONG_HEADER, "4,096 bytes of pixels"),
        (body(planes(4, 20)), Status.WRONG_SIZE, "expected 16x16, found 20x20"),
        (body(np.zeros((2, 4, 16, 16), np.float32)), Status.WRONG_SIZE, "two or three axes, found 16x16x4x2"),
        (body(planes(4).astype(np.int16)), Status.WRONG_HEADER, "BITPIX 16"),
        (body(planes(3), "grz"), Status.WRONG_HEADER, "expected the bands griz, found grz: no i"),
        (body(planes(4), "grz"), Status.WRONG_HEADER, "4 planes"),
        (body(planes(4), "grizy"), Status.WRONG_HEADER, "4 planes"),
        (body(planes(4), BANDS="girz"), Status.WRONG_HEADER, "'girz'"),
        (body(planes(4), IMAGEW=15), Status.WRONG_HEADER, "the header says 15x16"),
        (body(planes(4), BUNIT="counts"), Status.WRONG_HEADER, "unit 'counts'"),
        (body(planes(4), CRVAL2=33.0001), Status.WRONG_HEADER, "expected an image of 359.99999, 33.00000"),
        (body(planes(4), CRVAL1="east"), Status.WRONG_HEADER, "expected a number as CRVAL1, found 'east'"),
        (body(planes(4), CD2_2=None), Status.WRONG_HEADER, "CD2_2"),
        (body(planes(4), CD1_1=-0.3 / 3600), Status.WRONG_HEADER, "expected pixels of 0.262 arcsec"),
        (body(planes(4), CD1_2=0.1 / 3600), Status.WRONG_HEADER, "north up"),
        (body(np.full((4, 16, 16), np.nan, np.float32)), Status.BLANK, "g: no pixel is finite"),
        (body(NANS), Status.BLANK, "r: 1 pixels are not finite"),
        (body(np.full((4, 16, 16), 0.5, np.float32)), Status.BLANK, "every pixel is 0.5"),
        (body(ZERO_I), Status.OUTSIDE_FOOTPRINT, "i: 0% of the image is covered"),
        (body(HALF), Status.OUTSIDE_FOOTPRINT, "g: 44% of the image is covered"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_answer_that_can_not_be_used_has_a_status_and_a_reason(content, status, words):
    verdict = judge(content)
    assert (verdict.status, verdict.pixels) == (status, None)
    assert words in verdict.detail


def test_the_answer_to_blame_is_named_so_that_only_it_is_asked_for_again():
    bodies = [Body(body(planes(4))), Body(body(planes(2), "12")[:3000])]
    verdict = source(*ELG).judge(PLACE, bodies)
    assert (verdict.status, verdict.request) == (Status.TRUNCATED, 1)


def test_an_image_of_nothing_is_outside_only_if_it_stays_so():
    verdict = judge(body(np.zeros((4, PIXELS, PIXELS), np.float32)))
    assert (verdict.status, verdict.if_same, verdict.pixels) == (Status.BLANK, Status.OUTSIDE_FOOTPRINT, None)
    assert verdict.digest and "every pixel of g, r, i, z is 0" in verdict.detail


def test_an_extension_behind_the_image_is_let_be():
    file = io.BytesIO(GOOD)
    with fits.open(file) as hdus:
        hdus.append(fits.ImageHDU(planes(4)))
        longer = io.BytesIO()
        hdus.writeto(longer)
    assert judge(longer.getvalue()).status is Status.OK


@given(st.integers(0, len(GOOD) - 1))
def test_a_body_cut_off_anywhere_is_never_good_unless_only_padding_is_gone(length):
    verdict = judge(GOOD[:length])
    assert (verdict.status is Status.OK) == (length >= 2880 + 4 * 4 * PIXELS**2)


@given(st.integers(0, 2879), st.integers(32, 126))
def test_a_header_with_any_letter_changed_is_refused_with_a_reason_or_does_not_matter(place, letter):
    changed = bytearray(GOOD)
    changed[place] = letter
    verdict = judge(bytes(changed))
    if verdict.status is Status.OK:
        assert verdict.pixels is not None and verdict.pixels.shape == (PIXELS, PIXELS, 4)
    else:
        assert verdict.detail and verdict.pixels is None


def test_layers_know_their_own_names_of_filters():
    assert layers_of(["W1-W2"]) == {"unwise-neo7": {"W1": "1", "W2": "2"}}
