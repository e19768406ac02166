"""Labels that a head cannot answer with, found in a sample's rows before their images are had."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipeline.training import presets_of
from schemas.arrays import LABEL
from schemas.config import RunFile
from schemas.errors import ModelError
from schemas.records import Receipt

WANTED = {"binary": "0 or 1", "sigmoid": "between 0 and 1"}
"""By the kind of head: which labels it can answer with."""


def check_labels(run_file: RunFile, fixed: Receipt) -> None:
    """Refuse labels of the training sample, whose rows are those of `fixed`, that the head cannot say.

    Raises
    ------
    ModelError
        Naming how many, and the first of them; or if yes or no is asked for and all answers are the same.
    """
    kinds = {preset["head"]["kind"] for preset in presets_of(run_file)}
    paths = [Path(product.final) for product in fixed.products]
    if not kinds & set(WANTED) or not all(path.exists() for path in paths):
        return
    labels = np.concatenate(
        [pq.read_table(path, columns=[LABEL.name])[LABEL.name].to_numpy() for path in paths]
    )
    labels = labels[np.isfinite(labels)]
    for kind in sorted(kinds & set(WANTED)):
        good = np.isin(labels, (0, 1)) if kind == "binary" else (labels >= 0) & (labels <= 1)
        if not good.all():
            raise ModelError(
                f"target.column: {int((~good).sum())} of {len(labels)} labels in {run_file.target.column!r} are not "
                f"{WANTED[kind]}, as head {kind!r} wants them; the first is {labels[~good][0]:g}",
                "name such a column as target.column, or set model.overrides.head.kind",
            )
        if kind == "binary" and len(np.unique(labels)) == 1:
            raise ModelError(
                f"target.column: all {len(labels)} labels in {run_file.target.column!r} are {labels[0]:g}: the other "
                "class has no example",
                "select objects of both classes",
            )
