"""Scenes by bands and number: the table of the windows that are learnt from, a window of it, and whole fields."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.sandbox.scene_sources import (
    KINDS,
    field_sources,
    lattice_sources,
    training_windows,
    truth_table,
)
from pipeline.sandbox.scenes import CANDELS, HSC, Light, Survey, draw_scene
from schemas.imaging import SCENE_CLASSES

SURVEYS = (CANDELS, HSC)
WINDOWS = 40_000
"""Rows of the table; any number can be drawn, but so many are more than a network of this size wants."""
CENTRE_DEG = (53.1228, -27.8051)
"""Of GOODS-S, about which windows and scenes are said to lie; nothing else of that field is in them."""
_NOISE_OF = ("field", "lattice", "noise")
"""Scenes of one seed have each its own noise, decided by their place here."""
_STEP_DEG = 1 / 60
"""Between windows: no two are taken for one target."""


def survey_of(bands: Sequence[str]) -> Survey:
    """Return the survey that has all of these bands."""
    return next(survey for survey in SURVEYS if set(bands) <= set(survey.bands))


def scene_window_table() -> pa.Table:
    """Return the table ``SceneWindows``, a row a window.

    ``windowid`` and ``number``, the same; ``ra``, ``dec`` [degree], which are made up; and ``kind``, the number of the
    class that the window has in its middle (one in ten is left without a source there).
    """
    number = np.arange(WINDOWS)
    side = int(np.ceil(np.sqrt(WINDOWS)))
    dec = CENTRE_DEG[1] + (number // side - side / 2) * _STEP_DEG
    ra = CENTRE_DEG[0] + (number % side - side / 2) * _STEP_DEG / np.cos(np.radians(dec))
    return pa.table(
        {
            "windowid": pa.array(number, pa.int64()),
            "ra": pa.array(ra % 360),
            "dec": pa.array(dec),
            "number": pa.array(number, pa.int64()),
            "kind": pa.array(number % len(KINDS), pa.int32()),
        }
    )


def draw_window(
    number: int, *, seed: int, side: int, bands: Sequence[str], classes: Sequence[str]
) -> tuple[Light, Light]:
    """Return a window ``(y, x, band)`` in these bands and its labels ``(y, x, class)`` in the order of these classes.

    What belongs to a source is decided by the light in all bands of the survey, whichever of them are asked for.
    """
    survey = survey_of(bands)
    images, labels = training_windows(survey, seed=seed, start=number, stop=number + 1, side=side)
    return images[0][..., _places(survey, bands)], _in_order(labels[0], classes)


@dataclass(frozen=True)
class DrawnField:
    """A field: its image ``(y, x, band)``, and what there is in it."""

    image: Light
    truth: pa.Table


def draw_field(
    scene: str, *, shape: tuple[int, int], seed: int, bands: Sequence[str], spacing_pixels: int
) -> DrawnField:
    """Draw a field as the survey of these bands would see it.

    Parameters
    ----------
    scene : str
        ``field`` (as crowded as the survey), ``lattice`` (sources that do not touch), or ``noise``.
    shape : tuple of int
        Rows and columns.
    seed : int
        Decides sources and noise.
    bands : sequence of str
        Bands of one survey.
    spacing_pixels : int
        Side of a cell of the lattice.

    Raises
    ------
    PlanError
        No cell of the lattice fits.
    """
    survey = survey_of(bands)
    sources = []
    if scene == "field":
        sources = field_sources(survey, shape=shape, seed=seed)
    elif scene == "lattice":
        sources = lattice_sources(survey, shape=shape, seed=seed, spacing_pixels=spacing_pixels)
    drawn = draw_scene(survey, sources, shape=shape, seed=[seed, _NOISE_OF.index(scene)])
    return DrawnField(drawn.image[..., _places(survey, bands)], truth_table(survey, sources))


def _places(survey: Survey, bands: Sequence[str]) -> list[int]:
    return [survey.bands.index(band) for band in bands]


def _in_order(labels: Light, classes: Sequence[str]) -> NDArray[np.float32]:
    return np.ascontiguousarray(labels[..., [SCENE_CLASSES.index(name) for name in classes]])
