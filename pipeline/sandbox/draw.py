"""Turn surface brightness into what SkyServer shows: noise of the camera, Lupton's colours, a JPEG."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.sandbox.answers import encode_jpeg
from schemas.imaging import FRAME_ARCSEC

Floats = NDArray[np.float64]
Light = NDArray[np.float32]
# Noise of one camera pixel under a dark sky in g, r, i, and the variance that one nanomaggy of light adds
# [nanomaggy]: 54 s exposures, gains near 4 e-/DN, 150 to 260 DN per nanomaggy, skies of 21.8, 20.9, 20.2 mag.
_SKY_SIGMA = np.array([0.017, 0.027, 0.041], dtype=np.float32)
_VARIANCE_PER_LIGHT = np.array([0.0010, 0.0011, 0.0013], dtype=np.float32)
# Weights of i, r, g in red, green, blue stand as 4.9 : 5.7 : 7.8, SDSS's own; their level and the pedestal
# were set so that empty sky has the level and noise of 110 recorded SkyServer cutouts.
_WEIGHTS = np.array([0.833, 0.969, 1.326], dtype=np.float32)
_PEDESTAL = np.array([7.0, 4.5, 4.0], dtype=np.float32) / 256
_NONLINEARITY = 2.25


def add_noise(light: Light, scale_arcsec: float, rng: np.random.Generator) -> Light:
    """Add the camera's noise to an image.

    Parameters
    ----------
    light : numpy.ndarray, ``(3, h, w)``
        Light in g, r, i [nanomaggy per camera pixel].
    scale_arcsec : float
        Pixel size of the image. Finer than the camera's, the noise is that of camera pixels, interpolated;
        coarser, that of their means: so SkyServer's cutouts look.
    rng : numpy.random.Generator
        Where the noise comes from.

    Returns
    -------
    numpy.ndarray, ``(3, h, w)``
    """
    noise = grain(light.shape, scale_arcsec, FRAME_ARCSEC, rng)
    sigma = np.sqrt(
        _SKY_SIGMA[:, None, None] ** 2 + _VARIANCE_PER_LIGHT[:, None, None] * np.maximum(light, 0)
    )
    return (light + noise * sigma).astype(np.float32)


def grain(
    shape: tuple[int, ...], scale_arcsec: float, native_arcsec: float, rng: np.random.Generator
) -> Light:
    """Return noise ``(band, h, w)`` of unit variance in a camera's pixels, as an image of another scale shows it.

    Finer than the camera's, the pixels are interpolated between those of a grid that is shifted at random; coarser,
    they are means of as many as they cover.
    """
    bands, height, width = shape
    if scale_arcsec < native_arcsec:
        step = scale_arcsec / native_arcsec
        rows, columns = (np.arange(size, dtype=np.float64) * step + rng.random() for size in (height, width))
        pixels = rng.standard_normal((bands, int(rows[-1]) + 2, int(columns[-1]) + 2), dtype=np.float32)
        return _interpolated(_interpolated(pixels, rows, axis=1), columns, axis=2)
    noise = rng.standard_normal((bands, height, width), dtype=np.float32)
    noise *= np.float32(native_arcsec / scale_arcsec)
    return noise


def _interpolated(pixels: Light, positions: Floats, *, axis: int) -> Light:
    left = positions.astype(np.int64)
    share = (positions - left).astype(np.float32)
    if axis == 1:
        share = share[:, None]
    near, far = np.take(pixels, left, axis=axis), np.take(pixels, left + 1, axis=axis)
    return (near + (far - near) * share).astype(np.float32)


def to_rgb(light: Light) -> NDArray[np.uint8]:
    """Return the colour image ``(h, w, 3)`` of light in g, r, i ``(3, h, w)`` (Lupton et al. 2004).

    The hue is kept at any brightness: the sum of the bands is compressed by arcsinh, and what would still
    pass white is scaled back by its brightest band.
    """
    bands = light[::-1] * _WEIGHTS[:, None, None] + _PEDESTAL[:, None, None]
    radius = np.maximum(bands.sum(axis=0), 1e-6)
    bands = bands * (np.arcsinh(_NONLINEARITY * radius) / (_NONLINEARITY * radius))
    bands = bands / np.maximum(bands.max(axis=0), 1.0)
    return np.clip(bands.transpose(1, 2, 0) * 256, 0, 255).astype(np.uint8)


def to_jpeg(light: Light, scale_arcsec: float, rng: np.random.Generator) -> bytes:
    """Return the JPEG of light in g, r, i ``(3, h, w)`` [nanomaggy per camera pixel], noise and all."""
    return encode_jpeg(Image.fromarray(to_rgb(add_noise(light, scale_arcsec, rng))))
