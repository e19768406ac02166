"""Pictures of galaxies for a report: a cutout of a cube as a small JPEG, whatever its bands and unit."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.arrays import IMAGE, LEVEL, SIGMA, STATUS
from schemas.errors import StoreError
from schemas.flags import Status

MAX_SIDE_PX = 160
"""Larger cutouts are reduced to this, so that a report stays a few MB."""
COLOURS = (("i", "r", "g"), ("z", "r", "g"), ("z", "i", "r"))
"""Bands as red, green, blue, the first of these that a cube has."""
_WEIGHTS = {"g": 7.8, "r": 5.7, "i": 4.9, "z": 4.2}
"""How much of each band's light makes white: SDSS's own for g, r, i; z continues them, decided here."""
_SOFTENING, _STRETCH_SIGMA, _PEDESTAL = 4.0, 20.0, 0.03


def shown_bands(unit: str, bands: Sequence[str]) -> tuple[str, ...]:
    """Return the bands of a cube that a picture shows as red, green, blue; one alone is shown as grey.

    Examples
    --------
    >>> shown_bands("nanomaggy", ["g", "r", "z", "g-r"]), shown_bands("nanomaggy", ["g-r", "W1"])
    (('z', 'r', 'g'), ('W1',))
    """
    if unit == LEVEL:
        return tuple(bands[:3])
    plain = [band for band in bands if "-" not in band] or list(bands)
    return next((colours for colours in COLOURS if set(colours) <= set(plain)), (plain[0],))


def picture(cube: Any, row: int) -> str | None:
    """Return a cutout as a JPEG data URI, None if the row holds no image.

    Raises
    ------
    StoreError
        If it is damaged.
    """
    if row >= cube[STATUS.name].shape[0]:
        return None
    try:
        if int(np.asarray(cube[STATUS.name][row])) != Status.OK:
            return None
        pixels = np.asarray(cube[IMAGE.name][row])
    except (OSError, ValueError) as error:
        raise StoreError(
            f"the cube at {cube.store_path} cannot be read: {error}", "run `skymill verify --repair`"
        ) from error
    image = Image.fromarray(np.ascontiguousarray(_drawn(cube, pixels)))
    if max(image.size) > MAX_SIDE_PX:
        image.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.LANCZOS)
    body = io.BytesIO()
    image.save(body, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(body.getvalue()).decode()


def _drawn(cube: Any, pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the picture ``(y, x, 3)``, or ``(y, x)`` in grey, of an image ``(y, x, band)``."""
    unit = cube.attrs.get("unit", LEVEL)
    if unit == SIGMA:
        return spectrogram(pixels)
    if unit == LEVEL:
        return pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., 0]
    bands = list(cube.attrs["bands"])
    shown = shown_bands(unit, bands)
    chosen = [bands.index(band) for band in shown]
    drawn = lupton(pixels[..., chosen], [_WEIGHTS.get(band, 1.0) for band in shown])
    return drawn if len(chosen) == 3 else drawn[..., 0]


def spectrogram(signal: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the amplitude of a signal ``(sample, band)``, all bands together, as a picture ``(frequency, time)``.

    Pieces of a power of two of samples, as many as there are frequencies or twice that, through Hann's window; the
    highest frequency is at the top, and the square root of the amplitude is shown, as bright as its largest.
    """
    length = 1 << round(np.log2(np.sqrt(2 * len(signal))))
    pieces = signal[: len(signal) // length * length].reshape(-1, length, signal.shape[-1])
    spectra = np.fft.rfft(pieces * np.hanning(length)[:, None], axis=1)[:, 1:]
    shown = np.sqrt(np.sqrt(np.sum(np.abs(spectra) ** 2, axis=2)))
    return np.asarray(255 * shown / (shown.max() or 1.0), np.uint8).T[::-1]


def lupton(flux: NDArray[Any], weights: Sequence[float]) -> NDArray[np.uint8]:
    """Return the colour picture of fluxes ``(y, x, band)``.

    The mean of the weighed bands is compressed by arcsinh and the hue kept (Lupton et al. 2004, PASP 116, 133, eq. 2).
    Where a picture begins to saturate goes with its noise, decided here: surveys differ in unit and depth. The noise is
    from the quarter of neighbouring pixels that differ least, where there is hardly a galaxy (of normal deviates, a
    quarter is within 0.3186).
    """
    light = (flux - np.median(flux, axis=(0, 1))) * np.asarray(weights)
    sigma = np.quantile(np.abs(np.diff(light, axis=1)), 0.25) / (0.3186 * np.sqrt(2))
    light = light / (sigma or 1.0) / _STRETCH_SIGMA
    mean = np.maximum(light.mean(axis=2, keepdims=True), 1e-6)
    drawn = light * (np.arcsinh(_SOFTENING * mean) / (_SOFTENING * mean)) + _PEDESTAL
    drawn = drawn / np.maximum(drawn.max(axis=2, keepdims=True), 1.0)
    return np.asarray(np.clip(drawn * 256, 0, 255), dtype=np.uint8)
