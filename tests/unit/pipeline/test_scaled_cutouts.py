"""Pictures whose scale follows each object, and pictures that are made smaller."""

import io
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.sources.choice import source_of
from pipeline.sources.cutouts import CutoutSource
from pipeline.sources.images import Body
from pipeline.sources.reducing import reduced
from schemas.config import RunFile
from schemas.flags import Status

DATA = {
    "schema": 1,
    "name": "a",
    "samples": {"s": {"sql": "SELECT specobjid, ra, dec, petroR50_r FROM PhotoObj"}},
    "training": {"sample": "s"},
}
SPIN = {"scale_column": "petroR50_r", "asked_pixels": 424, "pixels": 80, "arcsec_per_pixel": 0.02}


def spin() -> CutoutSource:
    return source_of(RunFile.model_validate({**DATA, "images": SPIN}), "http://sky/")


def place(radius: float) -> dict[str, float]:
    return {"ra": 10.5, "dec": -2.25, "petroR50_r": radius}


def test_the_scale_asked_for_is_that_of_the_object():
    (address,) = spin().addresses(place(3.2))
    assert address.endswith("/getjpeg?ra=10.5&dec=-2.25&scale=0.064&width=424&height=424")
    assert spin().columns == ("petroR50_r",) and not spin().is_quick
    assert pickle.loads(pickle.dumps(spin())) == spin()


def test_without_the_keys_a_cutout_is_asked_for_as_ever():
    plain = source_of(RunFile.model_validate({**DATA, "images": {"pixels": 64}}), "http://sky")
    assert plain.addresses(place(3.2))[0].endswith("ra=10.5&dec=-2.25&scale=0.396&width=64&height=64")
    assert plain.columns == () and plain.is_quick and plain.refusal(place(float("nan"))) == ""


@pytest.mark.parametrize("radius", [float("nan"), float("inf"), 0.0, -9999.0, 0.7, 3001.0])
def test_a_scale_that_the_server_does_not_take_is_refused_in_words(radius):
    assert f"petroR50_r is {radius:g}: " in spin().refusal(place(radius))
    assert "the server takes 0.015 to 60" in spin().refusal(place(radius))


@pytest.mark.parametrize("radius", [0.75, 3.2, 3000.0])
def test_a_scale_that_it_takes_is_not(radius):
    assert spin().refusal(place(radius)) == ""


def test_a_picture_is_stored_smaller_by_the_means_of_areas():
    picture = np.random.default_rng(1).integers(0, 255, (424, 424, 3), np.uint8)
    body = io.BytesIO()
    Image.fromarray(picture).save(body, "JPEG", quality=75)
    served = np.asarray(Image.open(io.BytesIO(body.getvalue())))
    verdict = spin().judge(place(3.2), [Body(body.getvalue(), "image/jpeg")])
    assert verdict.status is Status.OK and verdict.pixels.shape == (80, 80, 3)
    first = served[:5, :5].sum(axis=(0, 1), dtype=float)
    first += 0.3 * (served[5, :5].sum(axis=0, dtype=float) + served[:5, 5].sum(axis=0, dtype=float))
    first += 0.09 * served[5, 5]
    assert np.abs(verdict.pixels[0, 0] - first / 5.3**2).max() <= 0.5 + 1e-3
    smaller = io.BytesIO()
    Image.fromarray(picture[:80, :80]).save(smaller, "JPEG")
    assert spin().judge(place(3.2), [Body(smaller.getvalue(), "image/jpeg")]).status is Status.WRONG_SIZE


@settings(max_examples=20)
@given(st.integers(1, 40), st.integers(0, 30), st.integers(0, 255))
def test_a_constant_picture_stays_as_it_is_and_the_mean_of_any_stays(small, more, level):
    large = small + more
    assert (reduced(np.full((large, large, 1), level, np.uint8), small) == level).all()
    picture = np.random.default_rng(level).integers(0, 255, (large, large, 2), np.uint8)
    assert abs(reduced(picture, small).mean() - picture.mean()) < 0.5 + 1e-3
    if not more:
        assert np.array_equal(reduced(picture, small), picture)
