"""Scatter faint stars and galaxies over the whole sky, by cells of a minute of arc and by seed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_CELLS_PER_DEGREE = 60
_STARS_PER_CELL, _GALAXIES_PER_CELL = 0.7, 2.5
# Above this many cells the pixels are so coarse that faint sources would not be seen.
_MOST_CELLS = 400


@dataclass(frozen=True)
class Source:
    """A faint source: position [degree], g, r, i flux [nanomaggy], and a shape (radius 0 for a star).

    ``shape`` is the half-light radius [arcsec], minor over major axis, position angle [degree].
    """

    ra: float
    dec: float
    flux_gri: tuple[float, float, float]
    shape: tuple[float, float, float]


def faint_sources(seed: int, ra: float, dec: float, radius_deg: float) -> list[Source]:
    """Return the faint sources in the cells that a circle touches.

    Parameters
    ----------
    seed : int
        Seed of the sky.
    ra, dec, radius_deg : float
        The circle [degree].

    Returns
    -------
    list of Source
        Empty for circles so large that faint sources would not be seen.
    """
    if (2 * radius_deg * _CELLS_PER_DEGREE + 1) ** 2 > _MOST_CELLS:
        return []
    found: list[Source] = []
    rows = (np.clip(np.array([dec - radius_deg, dec + radius_deg]), -89.99, 89.99) + 90) * _CELLS_PER_DEGREE
    for row in range(int(rows[0]), int(rows[1]) + 1):
        row_dec = (row + 0.5) / _CELLS_PER_DEGREE - 90
        around = max(int(360 * _CELLS_PER_DEGREE * np.cos(np.radians(row_dec))), 1)
        reach = radius_deg / 360 * around / max(np.cos(np.radians(row_dec)), 1e-3)
        middle = ra / 360 * around
        for cell in range(int(np.floor(middle - reach)), int(np.floor(middle + reach)) + 1):
            found.extend(_of_cell(seed, row, cell % around, around))
    return found


def _of_cell(seed: int, row: int, cell: int, around: int) -> list[Source]:
    rng = np.random.default_rng((seed, row, cell))
    stars, galaxies = rng.poisson((_STARS_PER_CELL, _GALAXIES_PER_CELL)).tolist()
    n = stars + galaxies
    even, normal = rng.random((5, n)), rng.standard_normal((3, n))
    is_star = np.arange(n) < stars
    # Counts rise by a factor 10 in 4 mag (stars) and 2.2 mag (galaxies) down to the survey's limit.
    r = 22.0 + np.log10(even[0] + 1e-9) * np.where(is_star, 4.0, 2.2)
    r = np.maximum(r, np.where(is_star, 16.0, 18.0))
    g, i = r + 0.8 + 0.4 * normal[0], r - 0.3 - 0.2 * normal[1]
    fluxes = 10 ** (0.4 * (22.5 - np.stack([g, r, i], axis=1)))
    radius = np.where(is_star, 0.0, 0.8 * 10 ** (0.11 * (21 - r)) * np.exp(0.3 * normal[2]))
    ra, dec = (cell + even[1]) / around * 360, (row + even[2]) / _CELLS_PER_DEGREE - 90
    shapes = np.stack([radius, 0.3 + 0.7 * even[3], 180 * even[4]], axis=1)
    columns = (ra.tolist(), dec.tolist(), map(tuple, fluxes.tolist()), map(tuple, shapes.tolist()))
    return [Source(*values) for values in zip(*columns, strict=True)]
