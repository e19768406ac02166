"""Read what a report shows of a cube: positions by outcome, and a magnitude."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline.report.facts import SampleFacts
from pipeline.report.predictions import Cloud
from pipeline.report.sampling import Reservoir
from schemas.arrays import DEC, FEATURE_PREFIX, RA, STATUS
from schemas.errors import StoreError
from schemas.flags import Status

MAX_SKY_POINTS = 20_000
"""Most positions that are drawn on the sky, of fetched and of failed galaxies each."""
MIN_FAILED = 500
"""Failures that are drawn even if their share would be fewer."""
SLICE_ROWS = 262_144

_MAGNITUDE = re.compile(
    r"(^|_|model|petro|psf|fiber2?|cmodel)mag(_|$)|^dered_|^(petro|model)?_?r$", re.IGNORECASE
)
_NOT_A_MAGNITUDE = re.compile(r"err|ext", re.IGNORECASE)


@dataclass(frozen=True)
class Sky:
    """Positions [deg] that are drawn, of ``total`` that there are."""

    total: int
    ra: NDArray[Any]
    dec: NDArray[Any]


def open_cube(path: Path | None) -> Any | None:
    """Return the Zarr group at `path` for reading, None if there is none."""
    if path is None or not path.exists():
        return None
    return zarr.open_group(path, mode="r")


def _read(array: Any, rows: slice | int) -> NDArray[Any]:
    """Return some rows of an array of a cube.

    Raises
    ------
    StoreError
        If they are damaged.
    """
    try:
        return np.asarray(array[rows])
    except (OSError, ValueError) as error:
        raise StoreError(
            f"the cube at {array.store_path} cannot be read: {error}", "run `skymill verify --repair`"
        ) from error


def sky_positions(paths: Sequence[Path | None], *, seed: int) -> dict[str, Sky]:
    """Return where galaxies were fetched and where they failed, over all cubes.

    The arrays are read in slices; galaxies no one has asked for yet are left out. Failures are thinned as much
    as the fetched are, so that the map shows their share, but not below `MIN_FAILED` (rare ones must be seen).
    """
    fetched, failed = Reservoir(MAX_SKY_POINTS, seed=seed), Reservoir(MAX_SKY_POINTS, seed=seed)
    for path in paths:
        cube = open_cube(path)
        if cube is None:
            continue
        for start in range(0, cube[STATUS.name].shape[0], SLICE_ROWS):
            rows = slice(start, start + SLICE_ROWS)
            status, ra, dec = (_read(cube[spec.name], rows) for spec in (STATUS, RA, DEC))
            placed = np.isfinite(ra) & np.isfinite(dec)
            for kept, chosen in (
                (fetched, status == Status.OK),
                (failed, status >= Status.OUTSIDE_FOOTPRINT),
            ):
                kept.add({"ra": ra[chosen & placed], "dec": dec[chosen & placed]})
    found = {"fetched": _sky(fetched, MAX_SKY_POINTS, seed=seed)}
    share = len(found["fetched"].ra) / fetched.seen if fetched.seen else 1.0
    found["failed"] = _sky(failed, max(MIN_FAILED, round(share * failed.seen)), seed=seed)
    return found


def _sky(kept: Reservoir, most: int, *, seed: int) -> Sky:
    columns = kept.columns or {"ra": np.empty(0), "dec": np.empty(0)}
    order = np.random.default_rng(seed).permutation(len(columns["ra"]))[:most]
    return Sky(kept.seen, columns["ra"][order], columns["dec"][order])


def magnitude_column(names: Sequence[str]) -> str | None:
    """Return the feature that looks like a magnitude, the r band's first; None if there is none.

    >>> magnitude_column(["plate", "modelMag_g", "modelMag_r", "modelMagErr_r"])
    'modelMag_r'
    """
    like = [name for name in names if is_magnitude(name)]
    like.sort(key=lambda name: (not name.lower().endswith("r"), name))
    return like[0] if like else None


def magnitudes(cloud: Cloud, samples: Sequence[SampleFacts]) -> tuple[str, NDArray[np.float64]]:
    """Return the name of a magnitude and its values [mag] for `cloud`; NaN where unknown."""
    values = np.full(len(cloud), np.nan)
    name = ""
    for index, sample in enumerate(samples):
        mine = np.flatnonzero(cloud.sample == index)
        cube = open_cube(sample.cube) if len(mine) else None
        if cube is None:
            continue
        features = [
            key[len(FEATURE_PREFIX) :] for key in sorted(cube.array_keys()) if key.startswith(FEATURE_PREFIX)
        ]
        column = magnitude_column(features)
        if column is None:
            continue
        name = name or column
        values[mine] = _pick(cube[FEATURE_PREFIX + column], cloud.row[mine])
    values[~((values > 0) & (values < 40))] = np.nan  # surveys write -9999 where nothing was measured
    return (name, values) if np.isfinite(values).any() else ("", values)


def column_values(cloud: Cloud, samples: Sequence[SampleFacts], column: str) -> NDArray[np.float64] | None:
    """Return a feature's values for `cloud`, NaN where unknown; None if no cube has such a feature.

    Capitals of its name do not count.
    """
    values, found = np.full(len(cloud), np.nan), False
    for index, sample in enumerate(samples):
        cube = open_cube(sample.cube)
        names = () if cube is None else cube.array_keys()
        spelt = {name.lower(): name for name in names if name.startswith(FEATURE_PREFIX)}
        name = spelt.get((FEATURE_PREFIX + column).lower())
        if cube is None or name is None:
            continue
        mine, found = np.flatnonzero(cloud.sample == index), True
        values[mine] = _pick(cube[name], cloud.row[mine])
    return values if found else None


def is_magnitude(name: str) -> bool:
    """Whether a column looks like a magnitude.

    >>> is_magnitude("petroMag_r"), is_magnitude("petroR50_r")
    (True, False)
    """
    return bool(_MAGNITUDE.search(name) and not _NOT_A_MAGNITUDE.search(name))


def _pick(array: Any, rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return some elements of a long one-dimensional array, read in slices."""
    picked = np.empty(len(rows))
    for start in range(0, array.shape[0], SLICE_ROWS):
        inside = (rows >= start) & (rows < start + SLICE_ROWS)
        if inside.any():
            picked[inside] = _read(array, slice(start, start + SLICE_ROWS))[rows[inside] - start]
    return picked
