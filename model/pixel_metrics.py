"""How good pixel classes are: counts that are summed up window by window, whoever measured them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

IOU_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""At which background probabilities Morpheus (Hausen & Robertson 2020) measures its intersection over union."""


class PixelCounts:
    """Whole numbers, from which every measure is made: they add up exactly, in any order and number of shares.

    Parameters
    ----------
    classes : sequence of str
        The classes' names.
    background : int
        Which of them is the background.
    """

    def __init__(self, classes: Sequence[str], *, background: int) -> None:
        self.classes, self.background = tuple(classes), background
        self.confusion = np.zeros((len(classes), len(classes)), np.int64)
        """Pixels by the dominant class of the label (row) and of the network (column)."""
        self.sky = np.zeros((len(IOU_THRESHOLDS), 2, 2), np.int64)
        """Pixels by threshold, label (0 source, 1 background) and sigmoid(background logit) above it."""

    def add(self, labels: Array, logits: Array) -> None:
        """Count the pixels of labels and logits ``(..., class)``."""
        width = len(self.classes)
        pairs = labels.argmax(axis=-1).ravel() * width + logits.argmax(axis=-1).ravel()
        self.confusion += np.bincount(pairs, minlength=width**2).reshape(width, width)
        truth = (labels[..., self.background] > 0.5).ravel()
        logit = logits[..., self.background].ravel()
        for count, threshold in zip(self.sky, IOU_THRESHOLDS, strict=True):
            above = logit > np.log(threshold / (1 - threshold))
            count += np.bincount(2 * truth + above, minlength=4).reshape(2, 2)

    def metrics(self) -> dict[str, float]:
        """Return ``accuracy``, ``accuracy_<class>``, and ``iou_<threshold>``: the mean of background's and sources'.

        What cannot be said, as of a class without a pixel, is NaN.
        """
        diagonal, labelled = np.diagonal(self.confusion), self.confusion.sum(axis=1)
        found = {"accuracy": _share(int(diagonal.sum()), int(labelled.sum()))}
        for name, right, total in zip(self.classes, diagonal, labelled, strict=True):
            found[f"accuracy_{name}"] = _share(int(right), int(total))
        for threshold, count in zip(IOU_THRESHOLDS, self.sky, strict=True):
            wrong = int(count[0, 1] + count[1, 0])
            each = [_share(int(count[k, k]), int(count[k, k]) + wrong) for k in (0, 1)]
            found[f"iou_{threshold:g}"] = float(np.mean(each))
        return found


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
