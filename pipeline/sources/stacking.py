"""Put the images of some filters together as the bands of a cube."""

from collections.abc import Mapping, Sequence

import numpy as np

from schemas.imaging import parts_of


def stack(images: Mapping[str, np.ndarray], bands: Sequence[str]) -> np.ndarray:
    """Return the bands of a cube ``(y, x, band)``, float32: filters as they are, and differences of two.

    Parameters
    ----------
    images : mapping of str to numpy.ndarray
        The image of each filter ``(y, x)``, float32.
    bands : sequence of str
        As in `schemas.imaging`.

    Examples
    --------
    >>> g, r = np.full((1, 1), 3, np.float32), np.full((1, 1), 1, np.float32)
    >>> stack({"g": g, "r": r}, ["r", "g-r"]).tolist()
    [[[1.0, 2.0]]]
    """
    planes = []
    for band in bands:
        first, *second = (images[part] for part in parts_of(band))
        planes.append(first - second[0] if second else first)
    return np.stack(planes, axis=-1).astype(np.float32, copy=False)
