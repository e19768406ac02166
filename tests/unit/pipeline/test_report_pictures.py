"""Pictures of galaxies in the report: levels as they are, fluxes in Lupton's colours."""

import base64
import io

import numpy as np
import pytest
import zarr
from PIL import Image

from pipeline.report.pictures import lupton, picture, shown_bands, spectrogram
from schemas.flags import Status


def blob(bands: int, *, colour: float = 1.0, noise: float = 0.01) -> np.ndarray:
    y, x = np.mgrid[:32, :32] - 15.5
    light = np.exp(-np.hypot(x, y) / 2)[..., None] * np.linspace(1, colour, bands)
    return (light + np.random.default_rng(1).normal(0, noise, (32, 32, bands))).astype(np.float32)


def cube_of(images: np.ndarray, bands: list[str], **attributes: object) -> zarr.Group:
    group = zarr.open_group(zarr.storage.MemoryStore(), mode="w")
    group.attrs.update({"bands": bands, **attributes})
    group.create_array("image", data=images)
    group.create_array("status", data=np.array([Status.OK, Status.TIMEOUT], np.uint8))
    return group


def decoded(uri: str | None) -> np.ndarray:
    assert uri is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))).astype(int)


@pytest.mark.parametrize(
    ("bands", "shown"),
    [
        (["g", "r", "i", "z", "g-r", "W1"], ("i", "r", "g")),
        (["g", "r", "z"], ("z", "r", "g")),
        (["W1", "W1-W2"], ("W1",)),
        (["g-r"], ("g-r",)),
    ],
)
def test_fluxes_are_shown_in_three_bands_or_one(bands, shown):
    assert shown_bands("nanomaggy", bands) == shown


def test_a_galaxy_of_fluxes_is_bright_on_a_dark_sky_and_red_if_it_is_red():
    cube = cube_of(np.stack([blob(3, colour=3.0)] * 2), ["g", "r", "i"], unit="nanomaggy")
    drawn = decoded(picture(cube, 0))
    assert drawn[14:18, 14:18].mean() > 120 > 40 > drawn[:4].mean()
    assert drawn[15, 15, 0] > 1.5 * drawn[15, 15, 2]
    assert picture(cube, 1) is None and picture(cube, 2) is None


def test_a_galaxy_brighter_than_white_keeps_its_hue_and_the_unit_does_not_matter():
    image = blob(3, colour=2.0, noise=1e-3)
    drawn = lupton(image, [1, 1, 1])
    assert drawn[15, 15, 2] > 240 and 0.4 < drawn[15, 15, 0] / drawn[15, 15, 2] < 0.6
    np.testing.assert_allclose(lupton(image * 1e3, [2, 2, 2]).astype(int), drawn, atol=1)


def test_one_band_is_grey_and_levels_are_shown_as_they_are():
    grey = cube_of(np.stack([blob(1)] * 2), ["W1"], unit="nanomaggy")
    assert decoded(picture(grey, 0)).ndim == 2
    levels = np.zeros((2, 32, 32, 3), np.uint8)
    levels[..., 0] = 200
    for attributes in ({}, {"unit": "level"}):
        drawn = decoded(picture(cube_of(levels, ["i", "r", "g"], **attributes), 0))
        assert abs(drawn[..., 0] - 200).max() < 4 and drawn[..., 1:].max() < 4


def test_a_signal_is_shown_as_its_frequency_goes_up_and_noise_as_nothing():
    time = np.arange(4096) / 4096
    chirp = np.sin(2 * np.pi * 4096 * (0.05 * time + 0.15 * time**2))  # 0.05 to 0.35 of a cycle a sample
    signals = np.stack([np.stack([chirp, chirp], axis=1), np.zeros((4096, 2))]).astype("f4")
    drawn = spectrogram(signals[0])
    assert drawn.shape[0] * drawn.shape[1] == 4096 // 2 and drawn.max() == 255
    peaks = drawn.shape[0] - drawn.argmax(axis=0)
    assert (np.diff(peaks) >= 0).all() and peaks[-1] > 4 * peaks[0]
    cube = cube_of(signals, ["I", "II"], unit="sigma")
    assert decoded(picture(cube, 0)).ndim == 2
    assert not spectrogram(signals[1]).any()
