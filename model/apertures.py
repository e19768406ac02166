"""Aperture photometry as layers: linear light, fluxes in apertures, growth curves, and texture on several scales.

The levels of a colour JPEG are no fluxes: they are stretched, so that the sum of many is not the sum of their light.
Here the stretch is undone before light is added up. All is computed in float32, in lengths of half the image's side.
Which numbers are measured, and what each of them is worth, is in docs/decisions/0017-the-aperture-preset.md.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from model.blocks import Halve, difference, ellipse_radius, half_sides, moments, smooth, window
from model.pixel_sums import counted, flat, opposite, pairs, reach, steps, together

SOFTENING = 8.0
"""Softening Q of the stretch asinh(Q I) / Q of SkyServer's JPEGs.

Measured: with 8 the light in a radius of 8 or 11 arcsec scatters least around the catalogued Petrosian magnitudes.
"""
_FLOOR = 0.002
"""Added to linear light before a logarithm: about its noise."""
_RADII = (0.08, 0.13, 0.19, 0.26, 0.34, 0.43, 0.54, 0.67, 0.82, 0.97)
_STEPS = np.linspace(0.025, 1.25, 40, dtype=np.float32)
"""Radii of the apertures of a growth curve."""
_SHARES = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)
"""Shares of the light whose radii are measured."""
_HALF, _LAST = _SHARES.index(0.5), len(_SHARES) - 1
_OF_BANDS = [_SHARES.index(share) for share in (0.2, 0.5, 0.8)]
_PLACES = np.array([0.15, 0.3, 0.5, 0.75, 1, 1.35, 1.75, 2.2, 2.7], np.float32)
"""Where the surface brightness is measured, in half-light radii."""
_SCALES = (3, 7, 15)
"""Sides, in pixels, of the averages between which texture is measured."""
_SKY_FROM = 0.95
"""Pixels further out than this show the sky."""
_HALVINGS = 16


def photometry(images: Sequence[Any], maps: Any, *, measures: Sequence[str], rings: int) -> list[Any]:
    """Return the features of what `measures` names, each ``(batch, feature)``.

    Parameters
    ----------
    images : sequence
        Levels ``(batch, band, y, x)``: as stored, then each averaged 2x2 from the one before.
    maps : tensor
        What `InputMaps` makes of the last of them, the brightnesses first.
    measures : sequence of str
        Some of ``apertures``, ``growth`` and ``texture``.
    rings : int
        Number of rings that texture is measured in.
    """
    bands = images[0].shape[1]
    radius, found = EllipseRadius(bands)(maps), list[Any]()
    if {"apertures", "growth"} & set(measures):
        light = LinearLight()(images[0])
        for _ in images[1:]:
            light = Halve()(light)
        sky = SkyLevel()(light)
    if "apertures" in measures:
        found.append(ApertureLight()([light, sky, radius]))
    if "growth" in measures:
        found.append(GrowthCurve()([light, sky, radius]))
    if "texture" in measures:
        found.append(Texture(rings, bands)([images[-2:][0], maps, radius]))
    return found


class LinearLight(layers.Layer):
    """Undo the stretch of a colour JPEG: levels, 0 to 255, of ``(batch, band, y, x)`` to light.

    Lupton et al. 2004 (PASP 116, 133): the bands' mean is stretched, and each band keeps its ratio to it.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)

    def call(self, images: Any) -> Any:
        """Return the light, linear in flux, in arbitrary units."""
        unit = ops.cast(images, self.compute_dtype) / 255.0
        mean = ops.mean(unit, axis=1, keepdims=True)
        grown = ops.exp(SOFTENING * mean)
        return unit * ((grown - 1.0 / grown) / (2 * SOFTENING) / ops.maximum(mean, 1e-3))


class SkyLevel(layers.Layer):
    """The median of each band's pixels in the corners, ``(batch, band, 1)``: so far out there is mostly sky.

    It is found by halving an interval, from 0 to twice the mean, which for light cannot be below the median. Sorting
    the pixels would take the runtimes several times as long as all the rest.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)

    def build(self, input_shape: Any) -> None:
        """Find the pixels in the corners."""
        x, y = half_sides(input_shape[-1])
        self._corners = np.flatnonzero(np.hypot(x, y) > _SKY_FROM)
        self.built = True

    def call(self, light: Any) -> Any:
        """Return the medians of ``(batch, band, y, x)``."""
        pixels = ops.take(flat(light), self._corners, axis=-1)
        high = 2 * ops.mean(ops.maximum(pixels, 0.0), axis=-1, keepdims=True)
        low = ops.zeros_like(high)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            darker = ops.mean(ops.cast(pixels < middle, self.compute_dtype), axis=-1, keepdims=True)
            low, high = ops.where(darker < 0.5, middle, low), ops.where(darker < 0.5, high, middle)
        return (low + high) / 2


class EllipseRadius(layers.Layer):
    """How far out each pixel is, ``(batch, pixel)``, counted along the galaxy's ellipse at equal area.

    Of the pixels that lie opposite each other, which are equally far out, the first one's radius is given.

    Parameters
    ----------
    bands : int
        The first `bands` maps are brightnesses; the second moments of their mean, near the centre, are the ellipse.
    """

    def __init__(self, bands: int, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.bands = bands

    def build(self, input_shape: Any) -> None:
        """Lay out the coordinates."""
        self._quadratic, self._window = window(input_shape[-1])
        self.built = True

    def call(self, maps: Any) -> Any:
        """Return the radii in ``maps`` ``(batch, map, y, x)``."""
        light = ops.mean(flat(maps[:, : self.bands]), axis=1)
        shape = moments(light, self._quadratic, self._window)
        return ellipse_radius(shape, self._quadratic[: (len(self._quadratic) + 1) // 2])


class ApertureLight(layers.Layer):
    """Mean light within ten radii and between them, round and elliptical, as logarithms, and their colours."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)

    def build(self, input_shape: Any) -> None:
        """Lay out the round apertures."""
        side = input_shape[0][-1]
        self._reach = reach(np.array(_RADII), side)
        radius = np.hypot(*half_sides(side))[: (side * side + 1) // 2]
        self._round = np.clip(self._reach - radius[:, None] * (side / 2), 0, 1).astype(np.float32)
        self._count = pairs(side)
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Return the features of light ``(batch, band, y, x)``, sky ``(batch, band, 1)`` and radii of pixels."""
        light, sky, radius = inputs
        first, second = opposite(flat(light) - sky)
        elliptical = ops.clip(self._reach - (radius * (light.shape[-1] / 2))[..., None], 0.0, 1.0)
        pixels = ops.concatenate([(first + second) * (self._count / 2), counted(self._count, first)], axis=1)
        apertures = ops.matmul(pixels, self._round), ops.matmul(pixels, elliptical)
        return ops.concatenate([self._logarithms(sums[:, :-1], sums[:, -1:]) for sums in apertures], axis=-1)

    def _logarithms(self, flux: Any, area: Any) -> Any:
        within = ops.log(ops.maximum(flux, 0.0) / (area + 1e-3) + _FLOOR / 4)
        between = ops.log(ops.maximum(steps(flux) / (steps(area) + 1e-3), 0.0) + _FLOOR)
        return together(within, difference(within), between, difference(between))


class GrowthCurve(layers.Layer):
    """How the light grows with the radius: radii of shares of it, total, colours, and profile in half-light radii.

    Light that has no counterpart on the other side of the centre is another object's, and is left out. A curve is
    made monotone before radii are read off it, linearly between its 40 apertures.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)

    def build(self, input_shape: Any) -> None:
        """Lay out the apertures."""
        self._reach = reach(_STEPS, input_shape[0][-1])
        self._radii = np.concatenate([[0], _STEPS]).astype(np.float32)
        self._middles = np.concatenate([_STEPS[:1] / 2, (_STEPS[1:] + _STEPS[:-1]) / 2]).astype(np.float32)
        count = len(_STEPS)
        self._later = np.where(np.tri(count, dtype=bool), 0, -1e9).astype(np.float32)
        self._ramp = (np.arange(count) * 1e-6).astype(np.float32)
        self._count = pairs(input_shape[0][-1])
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Return the features of light ``(batch, band, y, x)``, sky ``(batch, band, 1)`` and radii of pixels."""
        light, sky, radius = inputs
        first, second = opposite(flat(light) - sky)
        pixels = ops.concatenate(
            [ops.minimum(first, second) * self._count, counted(self._count, first)], axis=1
        )
        apertures = ops.clip(self._reach - (radius * (light.shape[-1] / 2))[..., None], 0.0, 1.0)
        sums = ops.matmul(pixels, apertures)
        flux, area = sums[:, :-1], sums[:, -1:]
        flux = ops.concatenate([flux, ops.sum(flux, 1, keepdims=True)], axis=1)
        total = ops.maximum(ops.max(flux, axis=-1), 1e-2)
        reached = self._radii_of(flux / total[..., None])
        sizes, totals = ops.log(ops.maximum(reached, 0.005)), ops.log(total)
        whole, half = sizes[:, -1], sizes[:, -1, _HALF : _HALF + 1]
        compared = [sizes[:, :-1, share] - sizes[:, -1:, share] for share in _OF_BANDS]
        zones = _colours_of_zones(flux[:, :-1], reached[:, -1, _HALF], reached[:, -1, _LAST], self._radii)
        profile = self._profile(flux, area, reached[:, -1, _HALF])
        scalars = [totals, difference(totals[:, :-1]), totals[:, -1:] - 2 * half, zones]
        background = ops.log(ops.maximum(sky[..., 0], 0.0) + _FLOOR)
        return ops.concatenate([whole, whole - half, *compared, *scalars, profile, background], axis=-1)

    def _radii_of(self, shares: Any) -> Any:
        """Return the radii of `_SHARES`, ``(batch, curve, share)``, of curves that end near 1."""
        grown = ops.max(shares[..., None, :] + self._later, axis=-1) + self._ramp
        knots = ops.concatenate([ops.zeros_like(grown[..., :1]), grown], axis=-1)
        lower, upper = knots[..., None, :-1], knots[..., None, 1:]
        wanted = np.array(_SHARES, np.float32)[:, None]
        passed = ops.clip((wanted - lower) / ops.maximum(upper - lower, 1e-7), 0.0, 1.0)
        return ops.sum(passed * np.diff(self._radii), axis=-1)

    def _profile(self, flux: Any, area: Any, half: Any) -> Any:
        """Return the logarithms of the surface brightness at `_PLACES` times the half-light radius, and its colours."""
        brightness = steps(flux) / ops.maximum(steps(area), 0.1)
        passed = _passed(half[:, None] * _PLACES, self._middles)
        change = brightness[..., 1:] - brightness[..., :-1]
        found = brightness[..., :1] + ops.matmul(change, ops.swapaxes(passed, 1, 2))
        logarithm = ops.log(ops.maximum(found, 0.0) + _FLOOR)
        return together(logarithm, difference(logarithm[:, :-1]))


class Texture(layers.Layer):
    """How lumpy a galaxy is in elliptical rings, on four scales: logarithms of the root of mean squares.

    The finest scale is what a 3x3 average takes away, of images twice as fine as the maps where there are such; the
    others are what is between the averages of `_SCALES` pixels' side, of the maps. What the 3x3 average takes away of
    the maps' brightnesses is measured by `RadialProfile`, and not once more.

    Parameters
    ----------
    rings, bands : int
        As those of `RadialProfile`.
    """

    def __init__(self, rings: int, bands: int, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.rings, self.bands = rings, bands

    def build(self, input_shape: Any) -> None:
        """Lay out the rings, and the averages as matrices."""
        side = input_shape[1][-1]
        self._reach = np.arange(1, self.rings + 1, dtype=np.float32) + 0.5
        self._averages = [_average(side, width) for width in _SCALES]
        self._count = pairs(side)
        self._halve = Halve() if input_shape[0][-1] >= 2 * side else None
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Return the features of finer levels, maps and the radii of the maps' pixels."""
        fine, maps, radius = inputs
        fine = ops.cast(fine, self.compute_dtype) / 255.0
        finest = (fine - smooth(fine)) ** 2
        averaged = [maps, *(ops.matmul(matrix, ops.matmul(maps, matrix.T)) for matrix in self._averages)]
        between = [(larger - smaller) ** 2 for larger, smaller in pairwise(averaged)]
        squares = [self._halve(finest) if self._halve else finest, between[0][:, self.bands :], *between[1:]]
        apertures = ops.clip(self._reach - (radius * self.rings)[..., None], 0.0, 1.0)
        first, second = opposite(flat(ops.concatenate(squares, axis=1)))
        pixels = ops.concatenate([(first + second) * (self._count / 2), counted(self._count, first)], axis=1)
        sums = steps(ops.matmul(pixels, apertures))
        return together(0.5 * ops.log(ops.maximum(sums[:, :-1] / (sums[:, -1:] + 1e-3), 0.0) + 1e-5))


def _passed(places: Any, knots: NDArray[np.float32]) -> Any:
    """Return which part of each interval of `knots` lies before each place; linear interpolation as a product."""
    return ops.clip((places[..., None] - knots[:-1]) / np.diff(knots), 0.0, 1.0)


def _colours_of_zones(flux: Any, inner: Any, outer: Any, radii: NDArray[np.float32]) -> Any:
    """Return the colours of the light within the radius `inner`, and of that between it and `outer`."""
    passed = _passed(ops.stack([inner, outer], axis=-1), radii)
    cumulative = ops.matmul(steps(flux), ops.swapaxes(passed, 1, 2))
    return together(difference(ops.log(ops.maximum(steps(cumulative), 0.01))))


def _average(side: int, width: int) -> NDArray[np.float32]:
    """Return the matrix that averages over `width` places of an axis, what lies beyond its ends mirrored."""
    places = np.arange(side)[:, None] + np.arange(width) - width // 2
    places = places % (2 * side)
    places = np.where(places < side, places, 2 * side - 1 - places)
    matrix = np.zeros((side, side))
    np.add.at(matrix, (np.arange(side)[:, None], places), 1 / width)
    return matrix.astype(np.float32)
