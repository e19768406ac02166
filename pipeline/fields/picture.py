"""The classes of a field's pixels as colours."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import hsv_to_rgb
from numpy.typing import NDArray

from schemas.errors import StoreError

HUES: Mapping[str, float] = {"spheroid": 0.0, "disk": 0.7, "irregular": 0.3, "point_source": 0.18}
"""Red, blue, green and yellow: the hues of Morpheus (Hausen & Robertson 2020)."""


def colour_picture(
    maps: NDArray[Any],
    *,
    classes: Sequence[str],
    background: str = "background",
    hues: Mapping[str, float] = HUES,
) -> NDArray[np.uint8]:
    """Return ``(y, x, 3)`` RGB: hue the most probable class, saturation its lead, value how little it is sky.

    Pixels without a class are black.

    Parameters
    ----------
    maps : ndarray, ``(y, x, class)``
        Votes or mean probabilities, NaN where there are none.
    classes : sequence of str
        Names of the maps' classes.
    background : str
        Which of them is no source.
    hues : mapping
        The hue, 0 to 1, of each class that is a source.

    Raises
    ------
    StoreError
        A class has no hue, or the maps have other classes.
    """
    sources = [name for name in classes if name != background]
    if missing := [name for name in sources if name not in hues]:
        raise StoreError(f"there is no colour for the class {missing[0]!r}", "give a hue for each class")
    if maps.shape[-1] != len(classes) or background not in classes:
        raise StoreError(
            f"expected maps of {len(classes)} classes with {background!r} among them, found {maps.shape[-1]} of "
            f"{', '.join(classes)}",
            "give the classes of these maps",
        )
    known = np.isfinite(maps).all(axis=-1)
    shown = np.where(known[..., None], maps, 0)
    found = shown[..., [classes.index(name) for name in sources]]
    ordered = np.sort(found, axis=-1)
    second = ordered[..., -2] if len(sources) > 1 else np.zeros(known.shape)
    hue = np.array([hues[name] for name in sources])[found.argmax(axis=-1)]
    value = np.where(known, 1 - shown[..., classes.index(background)], 0)
    parts = np.stack([hue, ordered[..., -1] - second, value], axis=-1)
    return np.round(hsv_to_rgb(np.clip(parts, 0, 1)) * 255).astype(np.uint8)
