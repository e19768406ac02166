"""Make a picture smaller: each pixel is the mean of the area it covers."""

from functools import cache

import numpy as np
from numpy.typing import NDArray


def reduced(image: NDArray[np.uint8], pixels: int) -> NDArray[np.uint8]:
    """Return a picture ``(y, x, band)`` of `pixels` a side, rounded to whole levels.

    A pixel that the new grid cuts counts by the share of its area on either side, so that the sum of the light stays.

    Examples
    --------
    >>> reduced(np.array([[[0], [30], [60]]] * 3, np.uint8), 2)[0].ravel().tolist()
    [10, 50]
    """
    shares = _shares(len(image), pixels)
    rows = np.tensordot(shares, image.astype(np.float32), axes=(1, 0))
    means = np.tensordot(shares, rows, axes=(1, 1)).transpose(1, 0, 2)
    return np.ascontiguousarray(np.rint(means).astype(np.uint8))


@cache
def _shares(large: int, small: int) -> NDArray[np.float32]:
    """Return how much of each of `small` pixels is each of `large` ones, ``(small, large)``; rows sum up to 1."""
    edges = np.arange(small + 1) * (large / small)
    low, high = edges[:-1, None], edges[1:, None]
    left = np.arange(large)[None, :]
    overlap = np.clip(np.minimum(high, left + 1) - np.maximum(low, left), 0, None)
    return (overlap * (small / large)).astype(np.float32)
