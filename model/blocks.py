"""The parts networks are made of, written with `keras.ops` only, each with explicit seeds.

What sums over many pixels or takes logarithms is always computed in float32; convolutions and dense layers are
computed as the training's ``precision`` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from model.pixel_sums import flat, steps

_BRIGHTNESS_FLOOR = 0.03
"""Added to brightness (in [0, 1]) before a logarithm: about the noise of an SDSS JPEG."""


_APERTURE = 0.35
"""Standard deviation of the Gaussian window of the moments, in units of half the image's side."""


class Seeds:
    """Hands out one seed after another, so that no initializer or dropout draws from a global generator."""

    def __init__(self, seed: int) -> None:
        self._state = np.random.SeedSequence([3, seed])

    def __call__(self) -> int:
        """Return the next seed."""
        return int(self._state.spawn(1)[0].generate_state(1, np.uint32)[0] >> 1)


@dataclass(frozen=True)
class Style:
    """How the layers of one network are made.

    ``synchronized``: batch normalisation is shared by all processes of a training. ``precision``: a Keras policy
    such as ``mixed_bfloat16`` for convolutions and dense layers; variables are float32. ``monte_carlo``: dropout
    is active in inference too. ``rows`` is the number of rows that are learnt from.
    """

    seeds: Seeds
    synchronized: bool = False
    precision: str = "float32"
    monte_carlo: bool = False
    rows: int = 1


class RowDropout(layers.Layer):
    """Dropout that knows the row: what is dropped of a row is decided by the row's own draw, and nothing else.

    An element is kept when a hash of (layer, draw of the row, element) says so, and scaled by 1 / (1 - rate). So
    a row meets the same mask in whatever batch, process or framework it is. The hash is lowbias32 (C. Wellons,
    "Prospecting for Hash Functions", 2018) in wrapping 32-bit integers, its shifts made logical by a bit mask.

    Parameters
    ----------
    rate : float
        Share of elements that are dropped, 0 <= rate < 1.
    seed : int
        Tells the layers of a network apart.
    always : bool
        Drop in inference too.
    """

    def __init__(self, rate: float, seed: int, *, always: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.seed, self.always = rate, seed, always

    def build(self, input_shape: Any) -> None:
        """Draw the element's part of the hash: one integer an element of a row."""
        shape = (1, *input_shape[0][1:])
        bits = np.random.default_rng(self.seed).integers(0, 1 << 32, shape, dtype=np.uint32)
        self._elements = bits.view(np.int32)
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return ``inputs[0]`` ``(batch, ...)`` with some elements dropped; ``inputs[1]`` ``(batch,)`` are draws."""
        x, draw = inputs
        if not (training or self.always):
            return x
        draw = ops.reshape(ops.cast(draw, "int32"), (-1, *[1] * (len(x.shape) - 1)))
        uniform = _shifted(_lowbias32(ops.bitwise_xor(draw, self._elements)), 8)
        return ops.where(uniform >= round(self.rate * (1 << 24)), x / (1 - self.rate), ops.zeros_like(x))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of what dropout is applied to."""
        return input_shape[0]


def hashed(draw: Any, seed: int | tuple[int, ...], shape: tuple[int, ...]) -> Any:
    """Return numbers in [0, 1) of each row, ``(batch, *shape)``, decided by the row's draw and the seed alone."""
    bits = np.random.default_rng(seed).integers(0, 1 << 32, (1, *shape), dtype=np.uint32).view(np.int32)
    draw = ops.reshape(ops.cast(draw, "int32"), (-1, *[1] * len(shape)))
    mixed = _lowbias32(ops.bitwise_xor(draw, bits))
    return ops.cast(_shifted(mixed, 8), "float32") * np.float32(2.0**-24)


def _lowbias32(x: Any) -> Any:
    """Mix the bits of int32 values: each bit of the input flips each of the output's with probability 1/2."""
    x = ops.bitwise_xor(x, _shifted(x, 16)) * np.uint32(0x7FEB352D).view(np.int32)
    x = ops.bitwise_xor(x, _shifted(x, 15)) * np.uint32(0x846CA68B).view(np.int32)
    return ops.bitwise_xor(x, _shifted(x, 16))


def _shifted(x: Any, bits: int) -> Any:
    """Shift int32 values to the right, zeros coming in from the left."""
    return ops.bitwise_and(ops.right_shift(x, np.int32(bits)), np.int32((1 << (32 - bits)) - 1))


class InputMaps(layers.Layer):
    """Turn stored pixels, 0 to 255, into what the network sees.

    ``raw`` is the pixel itself, ``unit`` is pixel / 255. ``colour`` appends the logarithmic ratio of each two
    neighbouring bands, which for an asinh-stretched JPEG is close to a colour where a galaxy is bright, and to zero
    in the sky.

    Parameters
    ----------
    maps : str
        ``raw``, ``unit`` or ``colour``.
    axis : int
        The axis of the bands: -1, or 1 for images ``(batch, band, y, x)``.
    """

    def __init__(self, maps: str, *, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.maps, self.axis = maps, axis

    def call(self, images: Any) -> Any:
        """Return the float maps of `images`, along the axis of the bands."""
        if self.maps == "raw":
            return ops.cast(images, self.compute_dtype)
        unit = ops.cast(images, self.compute_dtype) / 255.0
        if self.maps == "unit":
            return unit
        bands = ops.split(ops.log(unit + _BRIGHTNESS_FLOOR), images.shape[self.axis], axis=self.axis)
        colours = [first - second for first, second in pairwise(bands)]
        return ops.concatenate([unit, *colours], axis=self.axis)


class Halve(layers.Layer):
    """Average images ``(batch, band, y, x)`` over 2x2 pixels; an odd last row and column are dropped.

    Slices are several times faster on a CPU than the pooling operation.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)

    def call(self, images: Any) -> Any:
        """Return float images of half the side."""
        bands, half = images.shape[1], images.shape[-1] // 2
        images = ops.cast(images, self.compute_dtype)[..., : 2 * half, : 2 * half]
        pairs = ops.reshape(images, (-1, bands, half, 2, 2 * half))
        pairs = ops.reshape(pairs[:, :, :, 0] + pairs[:, :, :, 1], (-1, bands, half, half, 2))
        return (pairs[..., 0] + pairs[..., 1]) * 0.25


class RadialProfile(layers.Layer):
    """How bright, how coloured and how lumpy an image is in rings around its centre.

    The rings are round, and a second time elliptical: of the axis ratio and position angle given by the
    second moments of the central light, at equal area. Of each map a ring gives the mean and the logarithm
    of the deviation; of each band besides the logarithm of the mean, its differences to the neighbouring
    bands, and the logarithm of the texture: the deviation of what a 3x3 average takes away. The result does
    not change when the image is turned by 90° or mirrored. Appended are the logarithms of the moments' size
    and area, and the ellipticity.

    Parameters
    ----------
    rings : int
        Number of rings from the centre to the middle of the image's edge; each reaches linearly into its
        neighbours.
    bands : int
        The first `bands` maps are brightnesses; their mean is the light the moments are taken of.
    """

    def __init__(self, rings: int, bands: int, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.rings, self.bands = rings, bands

    def build(self, input_shape: Any) -> None:
        """Lay out the coordinates, in units of half the image's side."""
        x, y = half_sides(input_shape[-1])
        self._quadratic, self._window = window(input_shape[-1])
        self._reach = np.arange(1, self.rings + 1, dtype=np.float32) + 0.5
        self._round = np.clip(self._reach - np.hypot(x, y)[:, None] * self.rings, 0, 1).astype(np.float32)
        self.built = True

    def call(self, maps: Any) -> Any:
        """Return ``(batch, 2 * rings * (2 * map + 3 * bands - 1) + 3)`` features of ``(batch, map, y, x)``."""
        brightness = maps[:, : self.bands]
        seen = ops.concatenate([maps, brightness - smooth(brightness)], axis=1)
        pixels = flat(seen)
        light = ops.mean(pixels[:, : self.bands], axis=1)
        shape = moments(light, self._quadratic, self._window)
        summed = ops.concatenate([pixels, pixels * pixels, ops.ones_like(pixels[:, :1])], axis=1)
        apertures = (
            ops.matmul(summed, self._round),
            ops.matmul(summed, self._elliptical(shape)),
        )
        return ops.concatenate([*map(self._profile, apertures), _shape(shape)], axis=-1)

    def _profile(self, apertures: Any) -> Any:
        mean, deviation = _mean_and_deviation(apertures)
        maps = mean.shape[1] - self.bands  # the last ones are the textures, whose mean is close to zero
        light = ops.log(mean[:, : self.bands] + _BRIGHTNESS_FLOOR)
        colour = difference(light)
        parts = [mean[:, :maps], light, colour, ops.log(deviation)]
        return ops.reshape(ops.concatenate(parts, axis=1), (-1, sum(p.shape[1] for p in parts) * self.rings))

    def _elliptical(self, shape: Any) -> Any:
        radius = ellipse_radius(shape, self._quadratic) * self.rings
        return ops.clip(self._reach - radius[..., None], 0.0, 1.0)


def half_sides(side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return x and y of each pixel, ``(pixel,)``, from the image's centre, in units of half its side."""
    axis = (np.arange(side, dtype=np.float32) - (side - 1) / 2) / (side / 2)
    y, x = (grid.ravel() for grid in np.meshgrid(axis, axis, indexing="ij"))
    return x, y


def window(side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return x², y² and xy of each pixel, ``(pixel, 3)``, and the window in which moments are taken, ``(pixel,)``."""
    x, y = half_sides(side)
    quadratic = np.stack([x * x, y * y, x * y], axis=-1).astype(np.float32)
    return quadratic, np.exp(-(x * x + y * y) / (2 * _APERTURE**2)).astype(np.float32)


def moments(light: Any, quadratic: Any, window: Any) -> Any:
    """Return the second moments xx, yy and xy of light ``(batch, pixel)``, squared: ``(batch, 3)``."""
    light = (light * window) ** 2
    total = ops.sum(light, axis=1, keepdims=True) + 1e-3
    floor = np.array([1e-4, 1e-4, 0], np.float32)
    return ops.matmul(light, quadratic) / total + floor


def ellipse_radius(moments: Any, quadratic: Any) -> Any:
    """Return each pixel's radius, ``(batch, pixel)``, along the ellipse of the moments, at equal area."""
    xx, yy, xy = (moments[:, i : i + 1] for i in range(3))
    area = ops.sqrt(ops.maximum(xx * yy - xy * xy, 1e-8))
    form = ops.concatenate([yy / area, xx / area, -2 * xy / area], axis=-1)
    return ops.sqrt(ops.maximum(ops.matmul(form, quadratic.T), 1e-8))


def difference(maps: Any) -> Any:
    """Return what each map of ``(batch, map, ...)`` has more than the next one: of logarithms of bands, colours."""
    return maps[:, :-1] - maps[:, 1:]


def smooth(images: Any) -> Any:
    """Average images ``(batch, band, y, x)`` over 3x3 pixels, the edge mirrored."""
    wide = ops.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="symmetric")
    rows = wide[:, :, :-2] + wide[:, :, 1:-1] + wide[:, :, 2:]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9.0


def _mean_and_deviation(apertures: Any) -> Any:
    """Turn sums in growing apertures, of the maps, their squares and one, into each ring's mean and deviation.

    The difference of two apertures with a linear edge is a ring that reaches linearly into its neighbours.
    Both are ``(batch, map, ring)``.
    """
    sums = steps(apertures)
    maps = sums.shape[1] // 2
    means = sums[:, :-1] / (sums[:, -1:] + 1e-3)
    mean, square = means[:, :maps], means[:, maps:]
    return mean, ops.sqrt(ops.maximum(square - mean * mean, 0.0) + 1e-5)


def _shape(moments: Any) -> Any:
    xx, yy, xy = (moments[:, i] for i in range(3))
    trace, area = xx + yy, ops.maximum(xx * yy - xy * xy, 1e-8)
    ellipticity = ops.sqrt((xx - yy) ** 2 + 4 * xy * xy) / trace
    return ops.stack([ops.log(trace), ops.log(area), ellipticity], axis=-1)


def row_dropout(x: Any, draw: Any, rate: float, *, style: Style) -> Any:
    """Apply dropout, none when `rate` is 0."""
    if not rate:
        return x
    return RowDropout(rate, style.seeds(), always=style.monte_carlo, dtype=style.precision)([x, draw])


def perceptron(x: Any, draw: Any, hidden: Sequence[int], *, dropout: float, style: Style) -> Any:
    """Apply dense layers with GELU, a dropout before each."""
    for width in hidden:
        x = row_dropout(x, draw, dropout, style=style)
        initializer = keras.initializers.GlorotUniform(style.seeds())
        x = layers.Dense(width, activation="gelu", kernel_initializer=initializer, dtype=style.precision)(x)
    return x
