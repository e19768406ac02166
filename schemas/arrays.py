"""The arrays of a cube: names, types, dimensions, units and what they hold.

All arrays share the dimension ``row``. A block is ``rows_per_block`` consecutive rows and is one shard
of every array, so that two workers never write to one file.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from schemas.flags import Part, Status

DIGEST_BYTES = 16
"""Length of the stored digest of a cutout's body: the first 16 bytes of its SHA-256."""


@dataclass(frozen=True)
class ArraySpec:
    """One array of the cube.

    ``dims`` names the dimensions; a ``unit`` of "" is that of a plain number.
    """

    name: str
    dtype: str
    dims: tuple[str, ...]
    description: str
    unit: str = ""
    ucd: str = ""
    fill_value: Any = 0


IMAGE = ArraySpec(
    "image",
    "uint8",
    ("row", "y", "x", "band"),
    "brightness levels 0 to 255 of the cutout as served, a stretched JPEG, decoded; north is up",
)
LEVEL, NANOMAGGY, SIGMA = "level", "nanomaggy", "sigma"
"""Units of a pixel: of a JPEG, of FITS images, and of a signal, whose noise is 1. A cube says its own in the attribute
``unit``."""
FLUX = replace(
    IMAGE,
    dtype="float32",
    description="flux in each pixel as served, per pixel of the survey's own size (W1 and W2: in the Vega system, "
    "22.5 mag is 1), or a difference of two bands; north is up; NaN where there is no image",
    unit=NANOMAGGY,
    fill_value=np.nan,
)
"""What stands in the place of `IMAGE` in a cube of FITS images."""
SIGNAL = replace(
    IMAGE,
    dtype="float32",
    dims=("row", "sample", "band"),
    description="whitened strain without noise, which would be independent and of unit variance in every sample; "
    "0 where there is no signal, NaN where none could be computed",
    unit=SIGMA,
)
"""What stands in its place in a cube of signals; the silent ones take no room on the disk."""
COUNT = "count"
"""The unit of a mosaic, whatever that is, and of the CSST mock."""
WINDOW = replace(
    FLUX, description="flux in each pixel, as its source has it; NaN where there is no image", unit=COUNT
)
"""What stands in its place in a cube of windows of mosaics."""
TARGET = ArraySpec(
    "target",
    "float32",
    ("row", "y", "x", "class"),
    "probability of each class in each pixel, which sum up to 1; NaN where there is no image",
    fill_value=np.nan,
)
"""What is learnt pixel by pixel; only cubes for such networks have it."""
STATUS = ArraySpec(
    "status",
    "uint8",
    ("row",),
    "outcome of the cutout: " + ", ".join(f"{s.value} {s.reason}" for s in Status),
    fill_value=int(Status.PENDING),
)
DIGEST = ArraySpec(
    "digest", "uint8", ("row", "digest_byte"), "first 16 bytes of the SHA-256 of the body as served"
)
SPLIT = ArraySpec(
    "split",
    "uint8",
    ("row",),
    "part of the split: " + ", ".join(f"{p.value} {p.name.lower()}" for p in Part),
    fill_value=int(Part.UNLABELLED),
)
ID = ArraySpec("id", "uint64", ("row",), "the sample's key, never a float", "", "meta.id;meta.main")
RA = ArraySpec("ra", "float64", ("row",), "right ascension, J2000", "deg", "pos.eq.ra;meta.main", np.nan)
DEC = ArraySpec("dec", "float64", ("row",), "declination, J2000", "deg", "pos.eq.dec;meta.main", np.nan)
LABEL = ArraySpec("label", "float32", ("row",), "the target to learn; NaN where unknown", fill_value=np.nan)

FETCHED = (IMAGE, DIGEST, STATUS)
"""In the order in which a block's shards are placed: a status vouches for pixels and digest, so it comes last.

A `TARGET` is fetched too where a cube has one, and is placed first.
"""
PLANNED = (ID, RA, DEC, LABEL, SPLIT)

FEATURE_PREFIX = "feature_"
"""The sample's other numeric columns follow as ``feature_<column>`` (float64)."""


def fetched_arrays(unit: str, *, target: bool = False) -> tuple[ArraySpec, ...]:
    """Return `FETCHED` as a cube has it whose pixels are in `unit`, and may have classes to learn."""
    image = {NANOMAGGY: FLUX, SIGMA: SIGNAL, COUNT: WINDOW}.get(unit, IMAGE)
    fetched = (*((TARGET,) if target else ()), *FETCHED)
    return tuple(image if array is IMAGE else array for array in fetched)
