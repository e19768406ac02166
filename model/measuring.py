"""Measuring a network on a part of the split: every member of a group its share, the result on all of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.batches import ordered_batches
from model.definitions import measure_by, of_an_epoch
from model.estimates import bin_edges, estimate
from model.intake import intake_of
from model.machine import Machine
from model.material import Data
from model.pdfs import pdf_metrics, pdf_scores
from model.pixel_measuring import PixelsMeasured, measure_pixels
from model.presets import Preset
from schemas.flags import Part

_SCORES = 3
"""Numbers of `pdf_scores`."""


@dataclass(frozen=True)
class Measured:
    """A part of the split as the network sees it: the mean loss, and of each row ``z`` and the PDF's scores.

    ``scores`` is ``(n, 3)``, or ``(0, 3)`` for a head without a PDF.
    """

    loss: float
    z: NDArray[Any]
    scores: NDArray[Any]

    def metrics(self, labels: NDArray[Any], definition: str) -> dict[str, Any]:
        """Return the metrics against `labels`, and those of the PDFs where there are any."""
        values = measure_by(definition, labels, self.z)
        return values | ({"pdf": pdf_metrics(self.scores)} if len(self.scores) else {})

    def of_an_epoch(self, labels: NDArray[Any], definition: str) -> dict[str, Any]:
        """Return the number that a training's history has beside the loss."""
        return of_an_epoch(definition, labels, self.z)


def measure(
    machine: Machine, data: Data, part: Part, preset: Preset, *, alive: Callable[[], None] = lambda: None
) -> Measured | PixelsMeasured:
    """Measure the rows of a part of the split, in their order; PDFs are scored batch by batch, and not kept.

    Each member of the group measures its own contiguous part; the numbers of all are put together by a sum in
    which every row is other than zero on one member only, so it is exact. `alive` is called for each batch; now and
    then the members wait for each other, so that none is silent for long.
    """
    head, rows, group = preset["head"], data.parts[part], machine.group
    if head["kind"] == "pixel":
        return measure_pixels(machine, data, part, preset, alive=alive)
    z, scores = np.zeros(len(rows.rows)), np.zeros((len(rows.rows), _SCORES))
    total, batch = np.zeros(1), preset["training"]["batch"]
    batches = ordered_batches(
        data.cube,
        rows,
        batch=batch,
        intake=intake_of(preset),
        rank=group.rank,
        members=group.size,
    )
    with batches as own:
        for one, loss, answer in machine.evaluated(own, rows=len(rows.rows), batch=batch, alive=alive):
            total += loss
            place = np.searchsorted(rows.rows, one.rows)
            found = estimate(answer, head)
            z[place] = found.z
            if found.pdf is not None:
                scores[place] = pdf_scores(found.pdf, bin_edges(head), one.labels)
    whole = group.sum(np.concatenate([total, z, scores.ravel()]))
    total, z, flat = np.split(whole, [1, 1 + len(z)])
    has_pdf = head["kind"] == "bins"
    return Measured(
        float(total[0]) / len(rows.rows),
        z.astype(np.float32),
        flat.reshape(-1, _SCORES) if has_pdf else np.empty((0, _SCORES)),
    )
