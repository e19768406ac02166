"""What is learnt from: the usable rows of a cube, or a clear word on why there are none.

No TensorFlow here.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from model.cubes import Cube, LabelledRows, labelled_rows, open_cube
from model.jobs import TrainingJob
from model.metrics import DEFINITIONS, photoz_metrics
from model.presets import Preset
from schemas import arrays
from schemas.errors import ModelError
from schemas.flags import Part

MOST_LEFT_OUT = 0.01
"""Share of labels that may lie outside the bins of a PDF head: they are left out, and counted."""


@dataclass(frozen=True)
class Data:
    """What is learnt from: the cube and the usable rows of each part of the split."""

    cube: Cube
    parts: Mapping[Part, LabelledRows]
    left_out: int


def gather(job: TrainingJob, preset: Preset) -> Data:
    """Open the cube and choose the rows, or say why there is nothing to learn from."""
    if job.definition not in DEFINITIONS:
        photoz_metrics(np.zeros(1), np.zeros(1), definition=job.definition)
    cube = open_cube(job.cube)
    parts = labelled_rows(cube)
    left_out = 0
    if preset["head"]["kind"] == "bins":
        parts, left_out = _inside_bins(parts, preset, cube)
    for part in (Part.TRAIN, Part.VALIDATION):
        if not len(parts[part].rows):
            raise ModelError(
                f"{cube.path} has no usable {part.name.lower()} rows: none is fetched and labelled",
                "select more labelled objects, or run `skymill retry` if their cutouts failed",
            )
    return Data(cube, parts, left_out)


def _inside_bins(
    parts: Mapping[Part, LabelledRows], preset: Preset, cube: Cube
) -> tuple[dict[Part, LabelledRows], int]:
    """Leave out labels outside the PDF's range when they are few; the test part keeps all of its own."""
    head = preset["head"]
    inside = {
        part: rows if part is Part.TEST else rows.within(head["z_min"], head["z_max"])
        for part, rows in parts.items()
    }
    total = sum(len(rows.rows) for rows in parts.values())
    left_out = total - sum(len(rows.rows) for rows in inside.values())
    if left_out > MOST_LEFT_OUT * total:
        labels = np.concatenate([rows.labels for rows in parts.values()])
        raise ModelError(
            f"{left_out} of {total} labels of {cube.path} lie outside the PDF's range of "
            f"{head['z_min']:g} to {head['z_max']:g} (labels: {labels.min():.4g} to {labels.max():.4g})",
            f"set model.overrides.head.z_max to {math.ceil(labels.max() * 10 + 0.5) / 10:g} "
            f"and z_min to {min(0.0, math.floor(labels.min() * 10) / 10):g}",
        )
    return inside, left_out


def job_digest(job: TrainingJob, preset: Preset, data: Data, *, versions: Mapping[str, str]) -> str:
    """Return a digest of everything that decides the weights: preset, seed, geometry, rows, labels, pixels.

    Pixels enter through the stored digests of the cutouts, where the cube has them; `versions` are those of the
    libraries that compute.
    """
    whole = hashlib.sha256(preset.digest.encode())
    settings = [job.seed, data.cube.geometry.as_dict(), data.cube.rows_per_block, dict(versions)]
    whole.update(json.dumps(settings, sort_keys=True).encode())
    digests = data.cube.read(arrays.DIGEST.name) if arrays.DIGEST.name in data.cube.group else None
    for part, rows in sorted(data.parts.items()):
        whole.update(f"{part}:{len(rows.rows)}".encode() + rows.rows.tobytes() + rows.labels.tobytes())
        if digests is not None:
            whole.update(digests[rows.rows].tobytes())
    return whole.hexdigest()


def counts(data: Data) -> dict[str, int]:
    """Return the number of rows of each part, and how many were left out."""
    return {
        **{part.name.lower(): len(rows.rows) for part, rows in data.parts.items()},
        "left_out": data.left_out,
    }
