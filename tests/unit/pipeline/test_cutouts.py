import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.sources.cutouts import DRAWN, CutoutSource, judge_body
from pipeline.sources.verdicts import judge_status
from schemas.flags import Status

RANDOM = np.random.default_rng(3)


def jpeg(image: np.ndarray | Image.Image, **settings) -> bytes:
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    body = io.BytesIO()
    picture.save(body, "JPEG", quality=75, **settings)
    return body.getvalue()


def galaxy(pixels: int = 64) -> np.ndarray:
    return RANDOM.normal(30, 8, (pixels, pixels, 3)).clip(0, 255).astype(np.uint8)


def tile(pixels: int, colour: str = "white") -> bytes:
    image = Image.new("RGB", (pixels, pixels))
    text = "NOT FOUND\nRequested (ra, dec) is\noutside the SDSS footprint."
    ImageDraw.Draw(image).text((2, pixels // 2 - 10), text, fill=colour)
    return jpeg(image)


def status(body: bytes, content_type: str = "image/jpeg", pixels: int = 64) -> Status:
    return judge_body(body, content_type, pixels).status


def test_a_good_cutout_is_decoded_exactly():
    body = jpeg(galaxy())
    verdict = judge_body(body, "image/jpeg", 64)
    assert verdict.status is Status.OK and len(verdict.digest) == 16
    np.testing.assert_array_equal(verdict.pixels, np.asarray(Image.open(io.BytesIO(body))))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_jpeg_is_retryable(share):
    body = jpeg(galaxy())
    found = status(body[: int(share * len(body))])
    assert found is Status.TRUNCATED and found.retryable


def test_a_jpeg_cut_inside_but_with_an_end_is_not_taken_for_good():
    body = jpeg(galaxy())
    assert status(body[: len(body) // 2] + b"\xff\xd9") is not Status.OK


def test_bytes_after_the_end_that_mean_nothing_are_forgiven():
    assert status(jpeg(galaxy()) + b"\r\n") is Status.OK


@pytest.mark.parametrize("value", [0, 255, 128])
def test_a_constant_tile_is_blank(value):
    assert status(jpeg(np.full((64, 64, 3), value, np.uint8))) is Status.BLANK


def test_a_solid_red_tile_is_blank():
    assert status(jpeg(np.full((64, 64, 3), (200, 0, 0), np.uint8))) is Status.BLANK


@pytest.mark.parametrize("pixels", [64, 120, 256])
def test_text_drawn_on_black_is_told_from_sky(pixels):
    verdict = judge_body(tile(pixels), "image/jpeg", pixels)
    assert (verdict.status, verdict.detail) == (Status.BLANK, DRAWN)


def test_a_dark_sky_with_noise_is_good():
    image = np.abs(RANDOM.normal(0, 4, (64, 64, 3)))
    image[28:36, 28:36] = 220
    assert status(jpeg(image.astype(np.uint8))) is Status.OK


def test_another_size_is_seen_before_anything_is_decoded():
    verdict = judge_body(jpeg(galaxy(65)), "image/jpeg", 64)
    assert verdict.status is Status.WRONG_SIZE and "65x65" in verdict.detail


def test_a_grey_jpeg_becomes_three_bands():
    verdict = judge_body(jpeg(galaxy()[..., 0]), "image/jpeg", 64)
    assert verdict.pixels is not None and verdict.pixels.shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"<html><body>Sorry</body></html>", "text/html", Status.ERROR_PAGE),
        (b"  <!DOCTYPE html><p>down", "image/jpeg", Status.ERROR_PAGE),
        (b"Error: the disk is asleep", "text/plain", Status.ERROR_PAGE),
        (b"Requested (ra, dec) is outside the SDSS footprint.", "text/plain", Status.OUTSIDE_FOOTPRINT),
        (b"", "image/jpeg", Status.TRUNCATED),
        (b"\x89PNG\r\n\x1a\n123", "image/png", Status.NOT_AN_IMAGE),
        (b"\xff\xd8garbage\xff\xd9", "image/jpeg", Status.NOT_AN_IMAGE),
    ],
)
def test_bodies_that_are_no_jpeg_are_named(body, content_type, expected):
    assert status(body, content_type) is expected


@pytest.mark.parametrize(
    ("code", "body", "expected"),
    [
        (404, b"NOT FOUND. Requested (ra, dec) is outside the SDSS footprint.", Status.OUTSIDE_FOOTPRINT),
        (404, b"no such page", Status.NOT_FOUND),
        (403, b"", Status.REFUSED),
        (429, b"", Status.THROTTLED),
        (503, b"", Status.THROTTLED),
        (500, b"", Status.SERVER_ERROR),
        (504, b"", Status.TIMEOUT),
        (206, b"", Status.SERVER_ERROR),
    ],
)
def test_http_statuses_are_named(code, body, expected):
    verdict = judge_status(code, body)
    assert verdict is not None and verdict.status is expected


def test_only_a_plain_200_is_judged_by_its_body():
    assert judge_status(200, b"") is None


@pytest.mark.parametrize("url", ["http://sky:80", "http://sky:80/"])
def test_positions_keep_all_their_digits_in_the_address(url):
    address = CutoutSource(url, 17, 64, 0.396).address(np.float64(123.45678901234), -0.1)
    assert address.startswith("http://sky:80/dr17/SkyServerWS/ImgCutout/getjpeg?ra=123.45678901234&dec=-0.1&")
