"""The catalogue of a field: where each source is, how bright, and of which class."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_fill_holes, find_objects

from pipeline.fields.mosaic import Mosaic
from pipeline.fields.segmap import UNCLASSIFIED, Segmap, check_flux
from schemas.errors import StoreError

Array = NDArray[Any]


class SourceFlag(IntFlag):
    """Bits of a source's ``flags``; 0 means that nothing is to be said."""

    EDGE = 1
    """It touches pixels without a class, or the mosaic's edge: part of it may be missing."""
    NO_FLUX = 2
    """It has no light above zero in the image: its classes and its centroid are NaN."""


@dataclass(frozen=True)
class _Footprint:
    """A source's pixels: its id, the box around them and a pixel more, and which pixels of the box they are."""

    source_id: int
    box: tuple[slice, slice]
    inside: NDArray[np.bool_]


def measure_sources(
    segmap: Segmap, flux: Array, maps: Array, *, classes: Sequence[str], background: str = "background"
) -> pa.Table:
    """Return the catalogue of a segmentation map, a row a source, by id.

    A source's class is the mean of the pixels' classes weighted by their light, over the source with its holes
    filled, normalised over all classes but the background (Hausen & Robertson 2020). Light below zero
    counts as none (decided here: else a faint source's classes could be negative).

    Parameters
    ----------
    segmap : ndarray, ``(y, x)``
        Ids of sources, 0 the sky, -1 unclassified.
    flux : ndarray, ``(y, x)``
        The image whose light weighs.
    maps : ndarray, ``(y, x, class)``
        Votes or mean probabilities.
    classes : sequence of str
        Names of the maps' classes.
    background : str
        Which of them is no source.

    Returns
    -------
    pyarrow.Table
        ``source_id``, ``y`` and ``x`` of the brightest pixel, ``y_centroid`` and ``x_centroid`` of the light,
        ``area_pixels``, ``flux`` (sum over the source, in the image's unit), one column for each class, ``class``
        (the most probable), ``confidence`` (its probability minus the second's), ``flags`` (`SourceFlag`).

    Raises
    ------
    StoreError
        The arrays do not fit each other, or there is no such class.
    """
    check_flux(segmap, flux)
    if maps.shape != (*segmap.shape, len(classes)) or background not in classes:
        raise StoreError(
            f"expected maps of {(*segmap.shape, len(classes))} with a class {background!r}, found {maps.shape} "
            f"and the classes {', '.join(classes)}",
            "give the maps and classes of this mosaic",
        )
    kept = [number for number, name in enumerate(classes) if name != background]
    names = [classes[number] for number in kept]
    rows = [_measure(one, segmap, flux, maps) for one in _footprints(segmap)]
    shares = np.array([row.pop("mass")[kept] for row in rows]).reshape(len(rows), len(kept))
    with np.errstate(invalid="ignore"):
        shares = shares / shares.sum(axis=1, keepdims=True)
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in _COLUMNS.items()}
    columns |= {name: pa.array(shares[:, place], pa.float64()) for place, name in enumerate(names)}
    best, margin = _top(shares)
    columns["class"] = pa.array([names[one] if one >= 0 else None for one in best.tolist()], pa.string())
    columns["confidence"] = pa.array(margin, pa.float64())
    unknown = ~np.isfinite(shares).all(axis=1)
    flags = np.array([row["flags"] for row in rows], np.int32) | np.where(unknown, SourceFlag.NO_FLUX, 0)
    return pa.table(columns | {"flags": pa.array(flags, pa.int32())})


_COLUMNS = {
    "source_id": pa.int64(),
    "y": pa.int32(),
    "x": pa.int32(),
    "y_centroid": pa.float64(),
    "x_centroid": pa.float64(),
    "area_pixels": pa.int32(),
    "flux": pa.float64(),
}


def _footprints(segmap: Segmap) -> Iterator[_Footprint]:
    for number, box in enumerate(find_objects(np.maximum(segmap, 0)), start=1):
        if box is not None:
            wide = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
            yield _Footprint(number, (wide[0], wide[1]), segmap[wide] == number)


def _measure(source: _Footprint, segmap: Segmap, flux: Array, maps: Array) -> dict[str, Any]:
    box, inside = source.box, source.inside
    corner = np.array([side.start for side in box])
    own = np.where(inside, flux[box], -np.inf)
    peak = np.array(np.unravel_index(own.argmax(), own.shape)) + corner
    area, filled = int(inside.sum()), binary_fill_holes(inside) & (segmap[box] != UNCLASSIFIED)
    light = np.where(filled & np.isfinite(flux[box]), np.maximum(flux[box], 0), 0).astype(np.float64)
    bright = np.where(inside, light, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        centroid = [
            float((bright.sum(axis=1 - axis) @ np.arange(size)) / bright.sum()) + corner[axis]
            for axis, size in enumerate(bright.shape)
        ]
    return {
        "source_id": source.source_id,
        "y": int(peak[0]),
        "x": int(peak[1]),
        "y_centroid": centroid[0],
        "x_centroid": centroid[1],
        "area_pixels": area,
        "flux": float(flux[box][inside].sum(dtype=np.float64)),
        "flags": int(SourceFlag.EDGE) if _at_edge(source, segmap) else 0,
        "mass": (np.nan_to_num(maps[box]) * light[..., None]).sum(axis=(0, 1), dtype=np.float64),
    }


def _at_edge(source: _Footprint, segmap: Segmap) -> bool:
    rows, columns = np.nonzero(source.inside)
    y, x = rows + source.box[0].start, columns + source.box[1].start
    outer = (y == 0) | (x == 0) | (y == segmap.shape[0] - 1) | (x == segmap.shape[1] - 1)
    beside = binary_dilation(source.inside, np.ones((3, 3))) & (segmap[source.box] == UNCLASSIFIED)
    return bool(outer.any() or beside.any())


def _top(shares: Array) -> tuple[NDArray[np.int64], Array]:
    """Return the best class of each row, -1 if unknown, and by how much it leads."""
    known = np.asarray(np.isfinite(shares).all(axis=1))
    ordered = np.sort(np.where(known[:, None], shares, 0), axis=1)
    second = ordered[:, -2] if shares.shape[1] > 1 else np.zeros(len(shares))
    best = np.where(known, np.where(known[:, None], shares, 0).argmax(axis=1), -1)
    return best, np.where(known, ordered[:, -1] - second, np.nan)


def add_sky(catalogue: pa.Table, mosaic: Mosaic) -> pa.Table:
    """Return the catalogue with ``ra`` and ``dec`` [degree] of the centroids, NaN where the mosaic has no WCS."""
    y, x = (catalogue[name].to_numpy() for name in ("y_centroid", "x_centroid"))
    ra, dec = mosaic.sky(y, x)
    return catalogue.append_column("ra", pa.array(ra)).append_column("dec", pa.array(dec))
