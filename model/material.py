"""What is learnt from: the usable rows of a cube, or a clear word on why there are none.

No TensorFlow here.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.cubes import Cube, LabelledRows, labelled_rows, open_cube
from model.definitions import check_name
from model.intake import intake_of
from model.jobs import TrainingJob
from model.presets import Preset
from schemas import arrays
from schemas.errors import ModelError
from schemas.flags import Part

LEARNING = 1
"""Raised when the same job would be learnt in another way, so that no older checkpoint is taken up."""
MOST_LEFT_OUT = 0.01
"""Share of labels that may lie outside the bins of a PDF head: they are left out, and counted."""
MOST_LACKING = 0.5
"""Share of the labelled rows that may lack a feature, decided here: the rest still is most of the sample."""


@dataclass(frozen=True)
class Data:
    """What is learnt from: the cube and the usable rows of each part of the split."""

    cube: Cube
    parts: Mapping[Part, LabelledRows]
    left_out: int


def gather(job: TrainingJob, preset: Preset, *, members: int = 1) -> Data:
    """Open the cube, choose the rows and weigh them, or say why there is nothing to learn from.

    The weight of a training row is the value of ``job.weight_column``, where one is named, times the inverse
    frequency of its label, where ``training.balance`` is "labels"; their mean is 1. Validation and test rows
    weigh 1, so that what is measured does not depend on how was learnt.

    Parameters
    ----------
    job : TrainingJob
        Names the cube and the column of weights.
    preset : Preset
        Says which labels fit the head, the batch, and how labels are balanced.
    members : int
        How many trainers learn together.

    Raises
    ------
    ModelError
        There are no rows, or too few, or labels or weights that cannot be learnt from.
    StoreError
        The cube cannot be read.
    """
    check_name(job.definition)
    cube = open_cube(job.cube)
    parts, left_out = _with_vectors(labelled_rows(cube), preset, cube)
    if preset["head"]["kind"] == "bins":
        parts, outside = _inside_bins(parts, preset, cube)
        left_out += outside
    _check_labels(parts, preset, cube)
    for part in (Part.TRAIN, Part.VALIDATION):
        if not len(parts[part].rows):
            raise ModelError(
                f"{cube.path} has no usable {part.name.lower()} rows: none is fetched and labelled",
                "select more labelled objects, or run `skymill retry` if their cutouts failed",
            )
    check_training_rows(parts[Part.TRAIN], preset, cube, members)
    weights = training_weights(parts[Part.TRAIN], preset, cube, job.weight_column)
    parts[Part.TRAIN] = replace(parts[Part.TRAIN], weights=weights)
    return Data(cube, parts, left_out)


def _with_vectors(
    parts: Mapping[Part, LabelledRows], preset: Preset, cube: Cube
) -> tuple[dict[Part, LabelledRows], int]:
    """Leave out the rows of whose vector a feature is not finite, and say how many these are.

    Raises
    ------
    ModelError
        A feature is not finite in any row, or more than `MOST_LACKING` of the labelled rows lack one.
    """
    vector = intake_of(preset).vector
    if vector is None:
        return dict(parts), 0
    holes = preset["network"]["kind"] == "forest"  # whose trees have a side for what is missing
    usable = np.zeros(cube.rows, bool)
    lacking = np.zeros(vector.width, np.int64)
    labelled = np.zeros(cube.rows, bool)
    labelled[np.concatenate([rows.rows for rows in parts.values()])] = True
    for start in range(0, cube.rows, cube.rows_per_block):
        stop = min(start + cube.rows_per_block, cube.rows)
        finite = np.isfinite(cube.vectors(vector, start, stop))
        usable[start:stop] = finite.any(axis=1) if holes else finite.all(axis=1)
        lacking += (~finite[labelled[start:stop]]).sum(axis=0)
    _check_lost(lacking, labelled, usable, vector.features, cube)
    kept = {part: rows.where(usable[rows.rows]) for part, rows in parts.items()}
    return kept, sum(len(parts[part].rows) - len(kept[part].rows) for part in parts)


def _check_lost(
    lacking: NDArray[np.int64],
    labelled: NDArray[np.bool_],
    usable: NDArray[np.bool_],
    features: Sequence[str],
    cube: Cube,
) -> None:
    """Refuse a sample most of which lacks a feature, and name those that are missing most often."""
    total = int(labelled.sum())
    lost = total - int((labelled & usable).sum())
    if not total or (lost <= MOST_LACKING * total and lacking.max() < total):
        return
    worst = np.argsort(-lacking, kind="stable")[:5]
    said = ", ".join(f"{features[number]} in {lacking[number]}" for number in worst if lacking[number])
    raise ModelError(
        f"{cube.path}: {lost} of {total} labelled rows lack a feature of the preset (not finite: {said})",
        "select columns with values in the sample's SQL, or take another preset",
    )


def _check_labels(parts: Mapping[Part, LabelledRows], preset: Preset, cube: Cube) -> None:
    """Refuse labels that the head cannot say, and a class that has no example to learn from."""
    kind = preset["head"]["kind"]
    if kind not in ("binary", "sigmoid"):
        return
    labels = np.concatenate([rows.labels for rows in parts.values()])
    wrong = int((~np.isin(labels, (0, 1))).sum() if kind == "binary" else ((labels < 0) | (labels > 1)).sum())
    wanted = "0 or 1" if kind == "binary" else "between 0 and 1"
    if wrong:
        raise ModelError(
            f"{wrong} of {len(labels)} labels of {cube.path} are not {wanted}, as head {kind!r} wants them",
            "name such a column as target.column, or set model.overrides.head.kind",
        )
    learnt = parts[Part.TRAIN].labels
    if kind == "binary" and len(np.unique(learnt)) < 2 <= len(learnt):
        raise ModelError(
            f"all {len(learnt)} training rows of {cube.path} are of class {learnt[0]:g}: the other has no example",
            "select objects of both classes",
        )


def check_training_rows(train: LabelledRows, preset: Preset, cube: Cube, members: int) -> None:
    """Refuse too few training rows for the group or the batch, and labels that are all equal."""
    count, batch = len(train.rows), preset["training"]["batch"]
    if count < members:
        raise ModelError(
            f"{cube.path} has {count} training rows for {members} workers that train",
            f"let at most {count} workers take part (cluster.workers, or those that are at cluster.address), "
            "or select more labelled objects",
        )
    if batch < 1:
        raise ModelError(f"training.batch: expected at least 1, found {batch}", "set training.batch to 64")
    if count < batch:
        raise ModelError(
            f"a batch of {batch} is larger than the {count} training rows of {cube.path}",
            f"set training.batch to at most {count}, or select more labelled objects",
        )
    if preset["head"]["kind"] != "pixel" and (train.labels == train.labels[0]).all():
        raise ModelError(
            f"the labels of all {count} training rows of {cube.path} are {train.labels[0]:g}: "
            "there is nothing to tell apart",
            "check target.column, and select objects with different labels",
        )


def training_weights(train: LabelledRows, preset: Preset, cube: Cube, column: str) -> NDArray[np.float32]:
    """Return what each training row counts in the loss, ``(n,)``; the mean is 1."""
    weights = _column(train, cube, column) if column else np.ones(len(train.rows))
    training = preset["training"]
    if training["balance"] == "labels":
        weights = weights * _balance(train.labels, training["balance_bins"])
    elif training["balance"] != "none":
        raise ModelError(
            f"training.balance: expected 'none' or 'labels', found {training['balance']!r}",
            "set training.balance to one of them",
        )
    weights = weights / weights.max()  # so that no sum is too large
    return (weights / weights.mean()).astype(np.float32)


def _column(train: LabelledRows, cube: Cube, column: str) -> NDArray[np.float64]:
    """Return the sample's column of weights, of the training rows."""
    prefix = arrays.FEATURE_PREFIX
    if prefix + column not in cube.group:
        raise ModelError(
            f"training.weight_column: {cube.path} has no numeric column {column!r}",
            f"name one of its columns: {', '.join(cube.columns)}"
            if cube.columns
            else "select it in the sample's SQL",
        )
    weights = cube.read(prefix + column)[train.rows].astype(np.float64)
    faults = {
        "not finite": int((~np.isfinite(weights)).sum()),
        "negative": int((weights < 0).sum()),
    }
    for fault, count in faults.items():
        if count:
            raise ModelError(
                f"training.weight_column: {count} of {len(weights)} weights in {column!r} are {fault}",
                "select finite weights of at least 0 in the sample's SQL, and leave out rows without one",
            )
    if not weights.any():
        raise ModelError(
            f"training.weight_column: all {len(weights)} weights in {column!r} are 0",
            "give the rows to learn from a weight above 0",
        )
    return weights


def _balance(labels: NDArray[np.float32], bins: int) -> NDArray[np.float64]:
    """Return the inverse of how many labels share each one's class.

    A class is a distinct label where there are at most `bins` of them, else one of `bins` equal parts of the
    range of all labels.
    """
    if bins < 1:
        raise ModelError(
            f"training.balance_bins: expected at least 1, found {bins}", "set training.balance_bins to 20"
        )
    distinct, classes = np.unique(labels, return_inverse=True)
    if len(distinct) > bins:
        low, high = np.float64(distinct[0]), np.float64(distinct[-1])
        classes = np.minimum((labels - low) / (high - low) * bins, bins - 1).astype(np.int64)
    return 1 / np.bincount(classes)[classes]


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


def job_digest(
    job: TrainingJob, preset: Preset, data: Data, *, versions: Mapping[str, str], donors: Sequence[str] = ()
) -> str:
    """Return a digest of everything that decides the result: preset, seed, geometry, rows,
    labels, weights, pixels, and what it begins with: the digests of the bundles `donors`.

    Pixels enter through the stored digests of the cutouts, where the cube has them; `versions` are those of the
    libraries that compute.
    """
    whole = hashlib.sha256(preset.digest.encode())
    settings = [LEARNING, job.seed, data.cube.geometry.as_dict(), data.cube.rows_per_block, dict(versions)]
    whole.update(json.dumps([*settings, *donors], sort_keys=True).encode())
    digests = data.cube.read(arrays.DIGEST.name) if arrays.DIGEST.name in data.cube.group else None
    for part, rows in sorted(data.parts.items()):
        whole.update(f"{part}:{len(rows.rows)}".encode() + rows.rows.tobytes() + rows.labels.tobytes())
        whole.update(rows.weights.tobytes())
        if digests is not None:
            whole.update(digests[rows.rows].tobytes())
    if vector := intake_of(preset).vector:
        for start in range(0, data.cube.rows, data.cube.rows_per_block):
            stop = min(start + data.cube.rows_per_block, data.cube.rows)
            whole.update(data.cube.vectors(vector, start, stop).tobytes())
    return whole.hexdigest()


def counts(data: Data) -> dict[str, int]:
    """Return the number of rows of each part, and how many were left out."""
    return {
        **{part.name.lower(): len(rows.rows) for part, rows in data.parts.items()},
        "left_out": data.left_out,
    }
