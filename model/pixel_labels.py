"""Labels of pixels: a probability of each class in each pixel, and how rare a class is. NumPy only."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ModelError

Array = NDArray[Any]

_UNIT = 1 << 24
"""Probabilities are summed as multiples of 1 / this: whole numbers, whose sum is the same in any order."""
_TOLERANCE = 0.01
"""How far the probabilities of a pixel may sum up from 1; labels may be stored in half precision."""


def class_masses(chunks: Iterable[Array], classes: Sequence[str]) -> NDArray[np.float64]:
    """Return, ``(class,)``, the mean over all pixels of the dominant class's probability, 0 where it is another.

    It is the number whose inverse weighs a pixel of that class. It does not depend on how the labels are cut
    into chunks, nor on their order, to the last bit.

    Parameters
    ----------
    chunks : iterable of ndarray, ``(..., class)``
        The labels of all training pixels.
    classes : sequence of str
        The classes' names.

    Raises
    ------
    ModelError
        A label is not a probability vector over `classes`, or a class dominates no pixel.
    """
    sums, pixels = [0] * len(classes), 0
    for chunk in chunks:
        check_labels(chunk, classes)
        labels = chunk.reshape(-1, len(classes))
        mass = np.rint(labels.max(axis=1).astype(np.float64) * _UNIT)
        found = np.bincount(labels.argmax(axis=1), weights=mass, minlength=len(classes))
        sums = [total + int(value) for total, value in zip(sums, found, strict=True)]
        pixels += len(labels)
    if missing := [name for name, total in zip(classes, sums, strict=True) if not total]:
        raise ModelError(
            f"the class {missing[0]!r} has no example: of {pixels} training pixels none belongs to "
            f"{', '.join(missing)}",
            "add training images that show it, or leave the class out",
        )
    return np.array([total / _UNIT / pixels for total in sums])


def check_labels(labels: Array, classes: Sequence[str]) -> None:
    """Refuse labels that are not a probability vector over `classes` in each pixel.

    Raises
    ------
    ModelError
        Naming the first pixel that is wrong.
    """
    if labels.shape[-1] != len(classes):
        raise ModelError(
            f"expected labels of {len(classes)} classes ({', '.join(classes)}), found {labels.shape[-1]}",
            "give the classes in the order and number of the labels' last axis",
        )
    total = labels.sum(axis=-1, dtype=np.float64)
    wrong = ~(np.abs(total - 1) <= _TOLERANCE) | (labels < 0).any(axis=-1)
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0].tolist())
        raise ModelError(
            f"a label is a probability vector: expected values from 0 that sum up to 1, found "
            f"{np.asarray(labels[place]).tolist()} at {place}",
            "normalise the labels of each pixel; a pixel without a source is background",
        )
