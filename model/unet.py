"""The U-Net of Morpheus: from the pixels of a window to what each of them belongs to.

The network is that of Hausen & Robertson (2020, ApJS 248, 20), for any bands, classes, widths and depths.
"""

from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from model.blocks import Style, row_dropout
from model.unet_shape import UNetShape

_STEPS = 1024
"""TensorFlow 1 tabulates the cubic kernel in steps of this fraction of a pixel, and takes the nearest entry."""
_SHARPNESS = -0.75
"""The free parameter of Keys' (1981) cubic kernel in TensorFlow 1; its successor has -0.5."""


class StandardiseWindow(layers.Layer):
    """Bring each window to mean 0 and deviation 1, jointly over its pixels and bands: colours are kept.

    ``(x - mean) / max(deviation, 1 / sqrt(N))`` with N values in the window (y, x, band), as Morpheus does
    before its network, and ``tf.image.per_image_standardization``. Always in float32. In a unit in which the noise
    is below that floor, faint windows stay faint: learn from images in the unit of those to be classified.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)

    def call(self, windows: Any) -> Any:
        """Return `windows` ``(batch, y, x, band)`` standardised."""
        x = ops.cast(windows, self.compute_dtype)
        x = x - ops.mean(x, axis=(1, 2, 3), keepdims=True)
        deviation = ops.sqrt(ops.mean(x * x, axis=(1, 2, 3), keepdims=True))
        return x / ops.maximum(deviation, float(1 / np.sqrt(np.prod(x.shape[1:]))))


class BicubicTwice(layers.Layer):
    """Enlarge images ``(batch, y, x, channel)`` to twice their sides, bicubically, corners staying corners.

    It gives what ``tf.compat.v1.image.resize(..., BICUBIC, align_corners=True)`` gives, as two products with
    fixed matrices, in any framework.
    """

    def build(self, input_shape: Any) -> None:
        """Make the matrices of rows and columns."""
        self._rows, self._columns = (enlargement(side) for side in input_shape[1:3])
        self.built = True

    def call(self, images: Any) -> Any:
        """Return ``(batch, 2 * y, 2 * x, channel)``."""
        _, height, width, channels = images.shape
        rows, columns = (
            ops.convert_to_tensor(matrix, self.compute_dtype) for matrix in (self._rows, self._columns)
        )
        tall = ops.matmul(rows, ops.reshape(images, (-1, height, width * channels)))
        return ops.matmul(columns, ops.reshape(tall, (-1, 2 * height, width, channels)))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the enlarged images."""
        batch, height, width, channels = input_shape
        return (batch, 2 * height, 2 * width, channels)


def enlargement(side: int) -> NDArray[np.float32]:
    """Return the matrix ``(2 * side, side)`` that interpolates a row of `side` pixels to twice as many.

    Keys' cubic convolution (1981, IEEE ASSP 29, 1153) with a = -0.75, the kernel tabulated in 1024 steps, pixels
    beyond the edge taken as those at the edge, first and last pixel kept: TensorFlow 1's arithmetic, which
    published weights were trained with.

    >>> enlargement(3)[[0, -1]].tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    scale = np.float32(side - 1) / np.float32(2 * side - 1)
    matrix = np.zeros((2 * side, side))
    for target in range(2 * side):
        place = scale * np.float32(target)
        left = int(place)
        offset = round(float(place - np.float32(left)) * _STEPS) / _STEPS
        for tap in range(-1, 3):
            matrix[target, min(max(left + tap, 0), side - 1)] += _cubic(abs(tap - offset))
    return matrix.astype(np.float32)


def _cubic(distance: float) -> float:
    """Return Keys' kernel at a distance [pixel]."""
    a = _SHARPNESS
    if distance <= 1:
        return ((a + 2) * distance - (a + 3)) * distance**2 + 1
    if distance <= 2:
        return ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return 0.0


def unet(pixels: Any, draw: Any, shape: UNetShape, *, style: Style) -> Any:
    """Return the logits ``(batch, y, x, class)`` of each pixel, float32.

    An operation is batch normalisation, 3x3 convolution with ReLU, dropout. Each level down ends with max
    pooling; each level up begins with bicubic enlargement and what the level across had before its pooling. For
    windows 40x40x4 and the default shape the network has 76,181 variables, 75,421 of them trainable.

    Parameters
    ----------
    pixels : KerasTensor, ``(batch, y, x, band)``
        Windows, standardised (`StandardiseWindow`).
    draw : KerasTensor, ``(batch,)``
        Of each window the int32 that decides its dropout.
    shape : UNetShape
        Levels, filters, classes.
    style : Style
        Seeds, precision, and whether batch normalisation is synchronized.

    Raises
    ------
    ModelError
        The windows cannot be halved as often as there are levels.
    """
    shape.check((pixels.shape[1], pixels.shape[2]))
    down, middle, up = shape.operations
    x, across = pixels, []
    for filters in shape.down:
        x = _level(x, draw, filters, down, dropout=shape.dropout, style=style)
        across.append(x)
        x = layers.MaxPooling2D(dtype=style.precision)(x)
    x = _level(x, draw, shape.bottleneck, middle, dropout=shape.dropout, style=style)
    for filters, level in zip(shape.up, reversed(across), strict=True):
        x = BicubicTwice(dtype=style.precision)(x)
        x = layers.Concatenate(dtype=style.precision)([x, level])
        x = _level(x, draw, filters, up, dropout=shape.dropout, style=style)
    return _convolution(shape.classes, style, dtype="float32")(x)


def _level(x: Any, draw: Any, filters: int, operations: int, *, dropout: float, style: Style) -> Any:
    for _ in range(operations):
        x = layers.BatchNormalization(synchronized=style.synchronized, dtype=style.precision)(x)
        x = _convolution(filters, style, dtype=style.precision, activation="relu")(x)
        x = row_dropout(x, draw, dropout, style=style)
    return x


def _convolution(filters: int, style: Style, **settings: Any) -> Any:
    initializer = keras.initializers.VarianceScaling(seed=style.seeds())
    return layers.Conv2D(filters, 3, padding="same", kernel_initializer=initializer, **settings)
