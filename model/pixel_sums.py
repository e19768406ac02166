"""What sums over apertures are made of; pixels opposite each other, which are equally far out, are taken together."""

from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray


def flat(images: Any) -> Any:
    """Return images ``(batch, band, y, x)`` as ``(batch, band, pixel)``."""
    return ops.reshape(images, (-1, images.shape[1], images.shape[2] * images.shape[3]))


def pairs(side: int) -> NDArray[np.float32]:
    """Return how many pixels each of the first half stands for: two, but for one in the very centre."""
    count = np.full((side * side + 1) // 2, 2, np.float32)
    count[-1] = 2 - side % 2
    return count


def opposite(pixels: Any) -> tuple[Any, Any]:
    """Return the first half of the pixels ``(..., pixel)``, and those on the other side of the centre."""
    half = (pixels.shape[-1] + 1) // 2
    return pixels[..., :half], ops.flip(pixels[..., pixels.shape[-1] - half :], axis=-1)


def counted(count: NDArray[np.float32], pixels: Any) -> Any:
    """Return `count` for each row, ``(batch, 1, pixel)``: summed over an aperture it is the area."""
    return ops.ones_like(pixels[:, :1]) * count


def together(*parts: Any) -> Any:
    """Join ``(batch, map, place)`` tensors to ``(batch, feature)``."""
    whole = ops.concatenate(parts, axis=1)
    return ops.reshape(whole, (-1, whole.shape[1] * whole.shape[2]))


def reach(radii: NDArray[Any], side: int) -> NDArray[np.float32]:
    """Return radii in pixels, and half a pixel more: what is less far out by 1 is in an aperture, with a soft edge."""
    return (radii * (side / 2) + 0.5).astype(np.float32)


def steps(cumulative: Any) -> Any:
    """Return the first value and the differences of those that follow, along the last axis."""
    return ops.concatenate([cumulative[..., :1], cumulative[..., 1:] - cumulative[..., :-1]], axis=-1)
