"""The cameras of the FITS sky: depth, unit and noise as the surveys state them."""

import numpy as np
import pytest

from pipeline.sandbox.cameras import LAYERS, Camera
from pipeline.sandbox.draw import grain
from pipeline.sandbox.painting import with_noise
from pipeline.sandbox.parameters import BadRequestError, read_fits_cutout, service_of
from pipeline.sandbox.profiles import point
from pipeline.sandbox.view import View

CAMERAS = [camera for layer in LAYERS.values() for camera in layer.values()]
each = pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.band)


def star(camera: Camera, size: int = 41) -> np.ndarray:
    """Unit flux (AB) in the pixels of the camera, and in its unit."""
    view = View(10.0, 0.0, camera.native_arcsec, size, size)
    return point(camera.blur, *view.offsets(10.0, 0.0)).astype(float) * camera.light_per_flux


@each
def test_a_star_at_the_limit_has_five_times_the_error_of_its_flux(camera):
    profile = star(camera)
    error = camera.sky_sigma / np.sqrt((profile**2).sum())
    assert 22.5 - 2.5 * np.log10(5 * error) == pytest.approx(camera.depth_mag, abs=0.05)


@each
def test_a_star_s_pixels_add_up_to_its_flux_in_the_system_of_the_survey(camera):
    vega = {"W1": 2.699, "W2": 3.339}.get(camera.band, 0.0)
    assert star(camera, 81).sum() == pytest.approx(10 ** (0.4 * vega), rel=0.02)


def test_noise_of_large_pixels_is_smooth_in_small_ones_and_white_in_its_own():
    def neighbours(scale: float) -> float:
        noise = grain((1, 200, 200), scale, 2.75, np.random.default_rng(1))[0]
        return float(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1])

    assert neighbours(0.262) > 0.9 and abs(neighbours(2.75)) < 0.02


def test_light_adds_to_the_noise_as_photons_do():
    camera, rng = LAYERS["ls-dr10"]["g"], np.random.default_rng(2)
    bright = with_noise(np.full((200, 200), 5.0, np.float32), camera, 0.262, rng)
    assert bright.std() == pytest.approx(np.sqrt(camera.sky_sigma**2 + 5 * 7e-5), rel=0.03)


def test_a_fits_cutout_is_read_as_the_service_reads_it():
    assert service_of("/viewer/fits-cutout") == service_of("/a/mirror/viewer/fits-cutout/") == "fits_cutout"
    wanted = read_fits_cutout({"ra": "-1", "dec": "2", "layer": "unwise-neo7", "size": "9999", "bands": "2"})
    assert (wanted.ra, wanted.scale, wanted.width, wanted.bands) == (359.0, 2.75, 512, ("2",))
    odd = read_fits_cutout({"ra": "1", "dec": "2", "bands": "grizY"})
    assert (odd.layer, odd.bands, odd.width) == ("ls-dr10", ("g", "r", "i", "z"), 256)


@pytest.mark.parametrize(
    "wrong",
    [{"ra": "x"}, {"dec": "91"}, {"layer": "sdss"}, {"size": "many"}, {"pixscale": "0"}, {"ra": None}],
)
def test_a_wrong_fits_cutout_is_refused(wrong):
    words = {"ra": "1", "dec": "2", "size": "64"} | wrong
    with pytest.raises(BadRequestError):
        read_fits_cutout({name: word for name, word in words.items() if word is not None})
