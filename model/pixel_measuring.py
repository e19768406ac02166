"""Measuring a network of pixel classes on a part of the split: every member of a group its share, counts on all."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.batches import ordered_batches
from model.intake import learning_intake_of
from model.machine import Machine
from model.material import Data
from model.pixel_metrics import PixelCounts
from model.presets import Preset
from schemas.flags import Part

_LEAST = 1e-7
"""Probabilities are kept this far from 0 and 1, where their logit is infinite."""
TEXT = (
    "pixels by the most probable class; iou: the mean of background's and sources', a pixel being background where "
    "its probability is above the threshold"
)


@dataclass(frozen=True)
class PixelsMeasured:
    """A part of the split as the network sees it: the mean loss, and counts of pixels."""

    loss: float
    counts: PixelCounts

    def of_an_epoch(self, labels: NDArray[Any], definition: str) -> dict[str, float]:
        """Return the number that a training's history has beside the loss."""
        del labels, definition
        return {"val_accuracy": self.counts.metrics()["accuracy"]}

    def metrics(self, labels: NDArray[Any], definition: str) -> dict[str, Any]:
        """Return the metrics of `model.pixel_metrics`, and which class (row) was taken for which (column)."""
        del definition
        counts = self.counts
        facts = {"definition": "pixels", "text": TEXT, "n": len(labels), "classes": list(counts.classes)}
        found = {name: value if np.isfinite(value) else None for name, value in counts.metrics().items()}
        return {**facts, **found, "confusion": counts.confusion.tolist()}


def measure_pixels(
    machine: Machine, data: Data, part: Part, preset: Preset, *, alive: Callable[[], None] = lambda: None
) -> PixelsMeasured:
    """Measure the rows of a part of the split.

    Members measure their own contiguous parts; counts are whole numbers, so their sum is exact. The background's
    probability is that of the softmax, as in the maps, where Hausen & Robertson (2020) took the sigmoid of its logit.

    Parameters
    ----------
    machine, data, part, preset
        As for `model.measuring.measure`.
    alive : callable
        Called for each batch.
    """
    head, rows, group = preset["head"], data.parts[part], machine.group
    counts = PixelCounts(head["classes"], background=list(head["classes"]).index(head["background"]))
    total, batch = np.zeros(1), preset["training"]["batch"]
    intake = learning_intake_of(preset)
    batches = ordered_batches(
        data.cube, rows, batch=batch, intake=intake, rank=group.rank, members=group.size
    )
    with batches as own:
        for one, loss, answer in machine.evaluated(own, rows=len(rows.rows), batch=batch, alive=alive):
            total += loss
            maps = np.clip(np.asarray(answer, np.float64).reshape(one.labels.shape), _LEAST, 1 - _LEAST)
            counts.add(one.labels, np.log(maps / (1 - maps)))
    found = [group.sum(values) for values in (total, counts.confusion, counts.sky)]
    counts.confusion, counts.sky = found[1], found[2]
    return PixelsMeasured(float(found[0][0]) / len(rows.rows), counts)
