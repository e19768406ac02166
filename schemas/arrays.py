"""The arrays of a cube: names, types, dimensions, units and what they hold.

All arrays share the dimension ``row``. A block is ``rows_per_block`` consecutive rows and is one shard
of every array, so that two workers never write to one file.
"""

from dataclasses import dataclass
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
"""In the order in which a block's shards are placed: a status vouches for pixels and digest, so it comes last."""
PLANNED = (ID, RA, DEC, LABEL, SPLIT)

FEATURE_PREFIX = "feature_"
"""The sample's other numeric columns follow as ``feature_<column>`` (float64)."""
