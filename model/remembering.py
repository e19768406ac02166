"""Features that do not change while a network learns: measured of each row once, then taken from memory.

A network whose first layers have no weights says the same of an image in every epoch. Each row is measured by itself,
so that what is found does not depend on its batch, and an interrupted training ends with the same weights.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from model.batches import Batch
from model.presets import Preset

MOST_BYTES = 1 << 30
"""Memory that may be taken by one process; rows beyond it are measured each time."""


def is_remembered(preset: Preset) -> bool:
    """Say whether a network of `preset` measures the same of a row in every epoch, and is to remember it.

    `light`'s rings alone are measured as fast as they are remembered.
    """
    return "measures" in preset["network"] and not preset["input"]["symmetries"]


def cut(network: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Cut a network before its first layer with weights: from the image to the features, and from there to the output.

    The second one takes the features as its ``vector``, and has all of the network's own layers with weights.
    """
    image, draw = network.inputs
    features = next(layer for layer in network.layers if layer.weights).input
    vector = keras.Input(features.shape[1:], name="vector")
    given = keras.Input((), name="draw", dtype=draw.dtype)
    rest = keras.Model([features, draw], network.output)
    return keras.Model([image], features), keras.Model([vector, given], rest([vector, given]))


class Memory:
    """What was measured of each row.

    Parameters
    ----------
    measure : callable
        Of the inputs, a list, to the features ``(batch, feature)``.
    most_bytes : int
        How much is remembered.
    """

    def __init__(self, measure: Callable[[list[Any]], NDArray[Any]], *, most_bytes: int = MOST_BYTES) -> None:
        self._measure, self._left = measure, most_bytes
        self._known: dict[int, NDArray[np.float32]] = {}

    def before(self, step: Callable[[Batch], Any]) -> Callable[[Batch], Any]:
        """Return `step` of a network that takes features, as a step that takes images."""
        return lambda batch: step(self._measured(batch))

    def _measured(self, batch: Batch) -> Batch:
        pairs = zip(batch.rows.tolist(), batch.images, strict=True)
        rows = [self._of_row(row, image) for row, image in pairs]
        features = np.stack(rows) if rows else self._measure([batch.images])
        return replace(batch, content=(np.empty((len(rows), 0), np.uint8), features))

    def _of_row(self, row: int, image: NDArray[Any]) -> NDArray[np.float32]:
        if row in self._known:
            return self._known[row]
        features = np.array(self._measure([image[None]])[0], np.float32)
        if features.nbytes <= self._left:
            self._known[row], self._left = features, self._left - features.nbytes
        return features
