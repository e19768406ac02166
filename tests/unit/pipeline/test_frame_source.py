"""SDSS's frames: which are asked for, and the image that a frame's WCS gives."""

import bz2
import io
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.choice import requests_per_row, source_of
from pipeline.sources.fits_image import read_fits
from pipeline.sources.frames import FrameSource
from pipeline.sources.images import Body
from pipeline.sources.tangent import from_plane, to_plane
from pipeline.sources.verdicts import Verdict
from schemas.config import RunFile
from schemas.flags import Status
from schemas.images import Images

CENTRE = (10.0, 40.0)
PLACE = {"ra": 10.002, "dec": 40.001, "run": 94.0, "camcol": 3.0, "field": 11.0}
PIXELS, STEP = 16, 0.396 / 3600
NOISE = np.random.default_rng(5).normal(0, 0.02, (90, 120)).astype(np.float32)
SOURCE = FrameSource("http://sas/", 17, PIXELS, 0.396, ("r",))


def frame(image: np.ndarray = NOISE, *, tilt_deg: float = 30.0, **cards) -> bytes:
    """A frame, not packed; `cards` over its own, None takes a card out."""
    tilt, (height, width) = np.radians(tilt_deg), image.shape
    header = {"RUN": 94, "CAMCOL": 3, "FRAME": 11, "FILTER": "r", "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
    header |= {"CRPIX1": width / 2, "CRPIX2": height / 2, "CRVAL1": CENTRE[0], "CRVAL2": CENTRE[1]}
    header |= {"CD1_1": -STEP * np.cos(tilt), "CD1_2": STEP * np.sin(tilt)}
    header |= {"CD2_1": STEP * np.sin(tilt), "CD2_2": STEP * np.cos(tilt), "BUNIT": "nanomaggy"}
    hdu = fits.PrimaryHDU(image)
    hdu.header.update({key: value for key, value in (header | cards).items() if value is not None})
    file = io.BytesIO()
    hdu.writeto(file)
    return file.getvalue()


def judge(content: bytes, place: dict = PLACE) -> Verdict:
    return SOURCE.judge(place, [Body(content, "application/x-bzip2")])


def test_a_run_file_chooses_frames_and_each_band_is_a_request():
    data = {"schema": 1, "name": "a", "samples": {"s": {"sql": "SELECT objid, ra, dec FROM PhotoObj"}}}
    images = {"source": "sdss-frames", "bands": ["u", "g", "r", "i", "z"]}
    data |= {"images": images, "cube": {"dtype": "float32"}, "training": {"sample": "s"}}
    chosen = source_of(RunFile.model_validate(data), "http://sky")
    assert chosen.columns == ("run", "camcol", "field")
    assert len(chosen.addresses(PLACE)) == requests_per_row(Images.model_validate(images)) == 5
    assert chosen.addresses(PLACE)[4].endswith(
        "/dr17/eboss/photoObj/frames/301/94/3/frame-z-000094-3-0011.fits.bz2"
    )


@pytest.mark.parametrize(
    ("release", "home"),
    [(12, "dr12/boss"), (13, "dr13/eboss"), (17, "dr17/eboss"), (18, "dr18/prior-surveys/sdss4-dr17-eboss")],
)
def test_frames_lie_where_their_data_release_has_them(release, home):
    (url,) = FrameSource("http://sas", release, 64, 0.396, ("r",)).addresses(PLACE)
    assert url == f"http://sas/sas/{home}/photoObj/frames/301/94/3/frame-r-000094-3-0011.fits.bz2"


@given(st.tuples(st.floats(0, 359.9), st.floats(-89, 89)), st.floats(-0.2, 0.2), st.floats(-0.2, 0.2))
def test_the_plane_is_that_of_astropy_and_leads_back(centre, east, north):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], centre, [1.0, 1.0]
    wcs.wcs.crpix = [1.0, 1.0]
    ra, dec = from_plane(np.array(east), np.array(north), centre)
    x, y = wcs.world_to_pixel_values(ra, dec)
    np.testing.assert_allclose([x, y], [east, north], atol=1e-9)
    np.testing.assert_allclose(to_plane(ra, dec, centre), [east, north], atol=1e-9)


@pytest.mark.parametrize("tilt_deg", [0.0, 30.0, 137.0, 300.0])
def test_each_pixel_is_the_frame_s_nearest_with_north_up_and_east_left(tilt_deg):
    content = frame(tilt_deg=tilt_deg)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs = WCS(fits.open(io.BytesIO(content))[0].header)
    pixels = judge(bz2.compress(content)).pixels
    assert pixels is not None and pixels.shape == (PIXELS, PIXELS, 1) and pixels.dtype == np.float32
    for row, column in ((0, 0), (0, 15), (15, 0), (7, 8)):
        north, east = ((PIXELS - 1) / 2 - np.array([row, column])) * STEP
        ra, dec = PLACE["ra"] + east / np.cos(np.radians(PLACE["dec"])), PLACE["dec"] + north
        x, y = wcs.world_to_pixel_values(ra, dec)
        assert pixels[row, column, 0] == NOISE[round(float(y)), round(float(x))]


GOOD = bz2.compress(frame())


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", Status.TRUNCATED, "empty body"),
        (b"<html>Not now</html>", Status.ERROR_PAGE, "Not now"),
        (frame(), Status.NOT_AN_IMAGE, "bytes"),
        (GOOD[: len(GOOD) // 2], Status.TRUNCATED, "no end of bzip2"),
        (GOOD[:500] + b"\x00" * 50 + GOOD[550:], Status.NOT_AN_IMAGE, "damaged bzip2"),
        (bz2.compress(bytes(70 * 2**20)), Status.TOO_LARGE, "unpacked"),
        (bz2.compress(b"some words"), Status.NOT_AN_IMAGE, "10 bytes"),
        (bz2.compress(frame(FILTER="g")), Status.WRONG_HEADER, "expected FILTER 'r', found 'g'"),
        (bz2.compress(frame(FRAME=12)), Status.WRONG_HEADER, "expected FRAME 11.0, found 12"),
        (bz2.compress(frame(CTYPE1=None)), Status.WRONG_HEADER, "CTYPE1"),
        (bz2.compress(frame(BUNIT="DN")), Status.WRONG_HEADER, "'DN'"),
        (
            bz2.compress(frame(CD1_1=0.0, CD2_2=0.0, CD1_2=0.0)),
            Status.WRONG_HEADER,
            "expected pixels of 0.396",
        ),
        (bz2.compress(frame(CD2_2=None)), Status.WRONG_HEADER, "CD2_2"),
        (bz2.compress(frame(NOISE[:60])), Status.OUTSIDE_FOOTPRINT, "beyond the frame's edge"),
        (bz2.compress(frame(np.where(NOISE > 0.02, np.nan, NOISE))), Status.BLANK, "not finite"),
        (bz2.compress(frame(np.zeros_like(NOISE))), Status.BLANK, "every pixel of r is 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_frame_that_can_not_be_used_has_a_status_and_a_reason(content, status, words):
    if "edge" in words:
        verdict = judge(content, PLACE | {"dec": 40.0035})
    else:
        verdict = judge(content)
    assert (verdict.status, verdict.pixels) == (status, None)
    assert words in verdict.detail


def test_zeros_are_pixels_like_others_of_a_frame_that_is_rounded():
    rounded = np.where(np.abs(NOISE) < 0.04, 0, NOISE)
    verdict = judge(bz2.compress(frame(rounded)))
    assert verdict.status is Status.OK and (verdict.pixels == 0).mean() > 0.8
    assert (verdict.pixels[7:9, 7:9] == 0).any()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("tilt_deg", [0.0, 30.0])
def test_an_image_is_whole_or_refused_by_the_frame_s_bounds(tilt_deg, axis):
    content = frame(tilt_deg=tilt_deg)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs = WCS(fits.open(io.BytesIO(content))[0].header)
    (height, width), packed = NOISE.shape, bz2.compress(content)
    half = (np.arange(PIXELS) - (PIXELS - 1) / 2) * STEP
    found = []
    for shift in range(5, 16):
        x, y = (shift, 45) if axis else (60, shift)
        ra, dec = map(float, wcs.pixel_to_world_values(x, y))
        north, east = np.meshgrid(half, half)
        at_x, at_y = wcs.world_to_pixel_values(ra + east / np.cos(np.radians(dec + north)), dec + north)
        whole = bool(((at_x > -0.5) & (at_x < width - 0.5) & (at_y > -0.5) & (at_y < height - 0.5)).all())
        verdict = judge(packed, PLACE | {"ra": ra, "dec": dec})
        assert (verdict.status is Status.OK) == whole
        assert whole or (
            verdict.status is Status.OUTSIDE_FOOTPRINT and "beyond the frame's edge" in verdict.detail
        )
        found.append(whole)
    assert found[0] is False and found[-1] is True


def test_images_out_of_a_field_are_those_of_each_place_alone_and_a_frame_is_read_once(monkeypatch):
    source = FrameSource("http://sas/", 17, PIXELS, 0.396, ("r", "g-r"))
    other = np.random.default_rng(6).normal(0, 0.02, NOISE.shape).astype(np.float32)
    bodies = [Body(bz2.compress(frame())), Body(bz2.compress(frame(other, FILTER="g")))]
    places = [PLACE | {"dec": 40.0 + shift * STEP} for shift in (-60, -20, 0, 10, 25)]
    alone = [source.judge(place, bodies) for place in places]
    reads: list[int] = []
    monkeypatch.setattr("pipeline.sources.frames.read_fits", lambda body: reads.append(1) or read_fits(body))
    together = source.judge_all(places, bodies)
    assert len(reads) == 2
    for one, same in zip(alone, together, strict=True):
        assert (one.status, one.detail, one.digest, one.request) == (
            same.status,
            same.detail,
            same.digest,
            same.request,
        )
        np.testing.assert_array_equal(one.pixels, same.pixels)
    assert [verdict.status for verdict in together] == [Status.OUTSIDE_FOOTPRINT] + [Status.OK] * 4
    torn = source.judge_all(places, [bodies[0], Body(bodies[1].content[:900])])
    assert [verdict.status for verdict in torn] == [Status.OUTSIDE_FOOTPRINT] + [Status.TRUNCATED] * 4
    assert {verdict.request for verdict in torn[1:]} == {1}


def test_an_object_that_is_not_on_the_frame_at_all_is_outside():
    verdict = judge(GOOD, PLACE | {"ra": 190.0, "dec": -40.0})
    assert verdict.status is Status.OUTSIDE_FOOTPRINT
