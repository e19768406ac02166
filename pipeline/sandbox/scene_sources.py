"""Which sources scenes have: fields as they come by, single windows to learn from, lattices to measure by.

How often classes, sizes, brightnesses and colours come is decided here, so that a network meets all of them; it is
not how often the sky has them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.sandbox.profiles import DE_VAUCOULEURS, EXPONENTIAL
from pipeline.sandbox.scenes import (
    Component,
    Light,
    SceneSource,
    Survey,
    draw_scene,
    signal_to_noise,
)
from schemas.errors import PlanError
from schemas.imaging import SCENE_CLASSES

KINDS = tuple(name for name in SCENE_CLASSES if name != "background")
_WINDOW, _FIELD, _LATTICE = 1, 2, 3
_EMPTY_SHARE = 0.1
"""Share of training windows without a source in their middle."""
_SLOPES = {"spheroid": (3.0, 0.7), "disk": (1.5, 0.7), "irregular": (0.5, 0.6), "point_source": (1.5, 1.2)}
"""Mean and scatter of the colour of each class [magnitude per e-fold of wavelength]: they overlap."""


def training_windows(
    survey: Survey, *, seed: int, start: int, stop: int, side: int = 40
) -> tuple[Light, Light]:
    """Return windows ``(n, y, x, band)`` and their labels ``(n, y, x, class)``, float32.

    Window i is a function of the seed and of i. Nine of ten have a source near their middle, each class in
    turn; all have neighbours as crowded as the survey is.

    Parameters
    ----------
    survey : Survey
        What the windows are seen with.
    seed : int
        Another seed gives other windows.
    start, stop : int
        The windows' numbers, `stop` not included.
    side : int
        Rows and columns of a window.

    Raises
    ------
    PlanError
        There is no window to draw.
    """
    if not 0 <= start < stop or side < 1:
        raise PlanError(
            f"expected windows from 0 or more to a later one, of 1 pixel or more, found {start} to {stop} of "
            f"{side} pixels",
            "ask for one window or more",
        )
    drawn = [_window(survey, seed, number, side) for number in range(start, stop)]
    return np.stack([image for image, _ in drawn]), np.stack([labels for _, labels in drawn])


def _window(survey: Survey, seed: int, number: int, side: int) -> tuple[Light, Light]:
    random = np.random.default_rng([_WINDOW, seed, number])
    around = side // 2
    sources = _scattered(survey, (side + 2 * around, side + 2 * around), random, offset=-around)
    if random.random() >= _EMPTY_SHARE:
        middle = (side - 1) / 2 + random.uniform(-side / 4, side / 4, 2)
        kind = KINDS[number % len(KINDS)]
        sources.append(random_source(survey, kind, (middle[0], middle[1]), random))
    scene = draw_scene(survey, sources, shape=(side, side), seed=[_WINDOW, seed, number])
    return scene.image, scene.labels


def field_sources(survey: Survey, *, shape: tuple[int, int], seed: int) -> list[SceneSource]:
    """Return the sources of a field of `shape` (rows, columns): as crowded as the survey, all classes as often."""
    return _scattered(survey, shape, np.random.default_rng([_FIELD, seed]))


def lattice_sources(
    survey: Survey,
    *,
    shape: tuple[int, int],
    seed: int,
    spacing_pixels: int,
    kinds: Sequence[str] = KINDS,
) -> list[SceneSource]:
    """Return sources that do not touch, to measure completeness by: one in the middle of each cell of a lattice.

    Magnitudes are even over the survey's range, sizes over the logarithm of theirs.

    Parameters
    ----------
    survey : Survey
        What they are seen with.
    shape : tuple of int
        Rows and columns of the field.
    seed : int
        Decides the sources.
    spacing_pixels : int
        Side of a cell.
    kinds : sequence of str
        The classes, in turn.

    Raises
    ------
    PlanError
        A class is no source's, or no cell fits.
    """
    if not set(kinds) <= set(KINDS) or not kinds or not 1 <= spacing_pixels <= min(shape):
        raise PlanError(
            f"expected classes of {', '.join(KINDS)} and a spacing of 1 to {min(shape)} pixels, found "
            f"{', '.join(kinds)} and {spacing_pixels}",
            "choose such",
        )
    random = np.random.default_rng([_LATTICE, seed])
    middles = [
        (y + spacing_pixels / 2, x + spacing_pixels / 2)
        for y in range(0, shape[0] - spacing_pixels + 1, spacing_pixels)
        for x in range(0, shape[1] - spacing_pixels + 1, spacing_pixels)
    ]
    return [
        random_source(survey, kinds[number % len(kinds)], middle, random, even=True)
        for number, middle in enumerate(middles)
    ]


def truth_table(survey: Survey, sources: Sequence[SceneSource]) -> pa.Table:
    """Return what there is, a row a source: ``y``, ``x``, ``class``, ``magnitude``, ``radius_arcsec``, ``snr``."""
    columns: dict[str, list[Any]] = {
        "y": [one.y for one in sources],
        "x": [one.x for one in sources],
        "class": [one.kind for one in sources],
        "magnitude": [one.magnitude for one in sources],
        "radius_arcsec": [one.radius_arcsec for one in sources],
        "snr": [signal_to_noise(survey, one) for one in sources],
    }
    types = {"class": pa.string()}
    return pa.table({name: pa.array(one, types.get(name, pa.float64())) for name, one in columns.items()})


def _scattered(
    survey: Survey, shape: tuple[int, int], random: np.random.Generator, *, offset: int = 0
) -> list[SceneSource]:
    area_arcmin2 = shape[0] * shape[1] * (survey.arcsec_per_pixel / 60) ** 2
    number = random.poisson(survey.sources_per_arcmin2 * area_arcmin2)
    places = random.uniform(-0.5, np.array(shape) - 0.5, (number, 2)) + offset
    kinds = random.integers(len(KINDS), size=number).tolist()
    return [
        random_source(survey, KINDS[kind], (place[0], place[1]), random)
        for kind, place in zip(kinds, places.tolist(), strict=True)
    ]


def random_source(
    survey: Survey,
    kind: str,
    place: tuple[float, float],
    random: np.random.Generator,
    *,
    even: bool = False,
) -> SceneSource:
    """Return a source of a class at a place (y, x) [pixel].

    Parameters
    ----------
    survey : Survey
        Whose magnitudes and sizes it has.
    kind : str
        Its class.
    place : tuple of float
        Its centre.
    random : numpy.random.Generator
        Where all else comes from.
    even : bool
        Whether magnitudes are even over their range; else faint ones are more.
    """
    bright, faint = survey.magnitudes
    drawn = random.random()
    magnitude = faint - (faint - bright) * (drawn if even else drawn**2)
    slope = random.normal(*_SLOPES[kind])
    small, large = survey.radius_arcsec
    radius = float(small * (large / small) ** random.random())
    y, x = float(place[0]), float(place[1])
    if kind == "point_source":
        return SceneSource(y, x, kind, magnitude, slope)
    return SceneSource(y, x, kind, magnitude, slope, radius, _FORMS[kind](radius, random))


def _spheroid(radius: float, random: np.random.Generator) -> tuple[Component, ...]:
    """Return a de Vaucouleurs profile (Sérsic n = 4), moderately flat."""
    shape = (radius, float(random.uniform(0.5, 1.0)), float(random.uniform(0, 180)))
    return (Component(1.0, (0.0, 0.0), DE_VAUCOULEURS, shape),)


def _disk(radius: float, random: np.random.Generator) -> tuple[Component, ...]:
    """Return an exponential profile (Sérsic n = 1), seen at any inclination, 0.2 thick."""
    ratio = np.sqrt(0.2**2 + (1 - 0.2**2) * random.random() ** 2)
    return (Component(1.0, (0.0, 0.0), EXPONENTIAL, (radius, float(ratio), float(random.uniform(0, 180)))),)


def _irregular(radius: float, random: np.random.Generator) -> tuple[Component, ...]:
    """Return four to nine clumps of unequal light, scattered around a faint disk that they do not lie centred in."""
    clumps = int(random.integers(4, 10))
    shift = random.normal(0, 0.25 * radius, 2)
    places = random.normal(0, 0.6 * radius, (clumps, 2)) + shift
    diffuse = float(random.uniform(0.2, 0.4))
    shares: Any = random.dirichlet(np.full(clumps, 1.5)) * (1 - diffuse)
    sizes, ratios = random.uniform(0.12, 0.3, clumps) * radius, random.uniform(0.6, 1.0, clumps)
    angles = random.uniform(0, 180, clumps)
    disk = Component(diffuse, (0.0, 0.0), EXPONENTIAL, (radius, float(random.uniform(0.4, 1)), angles[0]))
    parts = zip(
        shares.tolist(), places.tolist(), sizes.tolist(), ratios.tolist(), angles.tolist(), strict=True
    )
    return (
        disk,
        *(
            Component(share, (place[0], place[1]), EXPONENTIAL, (size, ratio, angle))
            for share, place, size, ratio, angle in parts
        ),
    )


_FORMS = {"spheroid": _spheroid, "disk": _disk, "irregular": _irregular}
