"""What a network of pixel classes learns from: labels of the classes it tells, and how rare each class is."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.cubes import Cube
from model.material import Data
from model.pixel_labels import class_masses
from model.presets import Preset
from schemas import arrays
from schemas.errors import ModelError
from schemas.flags import Part


def check_target(preset: Preset, cube: Cube) -> None:
    """Refuse a cube that has no labels of these classes, in this order.

    Raises
    ------
    ModelError
        Naming the classes there are.
    """
    said: Any = cube.group.attrs.get("classes", [])
    found = [str(name) for name in said] if arrays.TARGET.name in cube.group else []
    wanted = list(preset["head"]["classes"])
    if found != wanted:
        raise ModelError(
            f"{cube.path}: preset {preset.name!r} learns the classes {', '.join(wanted)} of pixels, and the cube has "
            f"{'those of ' + ', '.join(found) if found else 'no labels of pixels'}",
            "set images.source to 'scenes' or 'mosaic', and head.classes to the classes of the labels",
        )


def weighed(preset: Preset, data: Data) -> Preset:
    """Return the preset with the mass of each class, counted on the training rows unless it has them already.

    So what decides how pixels weigh is a part of the preset, and of all digests made of it. A preset that tells no
    classes of pixels is returned as it is.

    Raises
    ------
    ModelError
        The cube has labels of other classes, a label is not a probability vector, or a class has no example.
    StoreError
        The labels cannot be read.
    """
    if preset["head"]["kind"] != "pixel":
        return preset
    check_target(preset, data.cube)
    if preset["loss"]["masses"]:
        return preset
    found = class_masses(_labels(data.cube, data.parts[Part.TRAIN].rows), preset["head"]["classes"])
    loss = {**preset["loss"], "masses": found.tolist()}
    return replace(preset, sections={**preset.sections, "loss": loss})


def _labels(cube: Cube, rows: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
    """Yield the labels of some rows, a chunk's at a time."""
    step = cube.rows_per_chunk
    for chunk in np.unique(rows // step).tolist():
        first, last = chunk * step, min((chunk + 1) * step, cube.rows)
        chosen = rows[(rows >= first) & (rows < last)] - first
        yield cube.read(arrays.TARGET.name, first, last)[chosen]
