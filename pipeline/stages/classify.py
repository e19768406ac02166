"""Classify: one task a tile of a field; its windows and their surroundings are read, its votes are one chunk a map."""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cluster.work import whoami
from model.classifying import network_of
from model.predictor import predictor_for
from model.votes import classify_tile
from model.windows import Region
from pipeline.fields.layout import Layout
from pipeline.fields.mosaic import Mosaic
from pipeline.fields.results import create_results, tile_files, write_tile
from pipeline.stages.infer import threads_of_worker
from pipeline.stores.staging import Staging, disk_errors, seal
from schemas.errors import ModelError
from schemas.records import Receipt


def classify(
    *,
    mosaic: Mosaic,
    layout: Layout,
    tile: Region,
    bundles: Sequence[str],
    passes: int,
    engine: str,
    maps: str,
    staging: Staging,
) -> Receipt:
    """Classify the pixels of a tile, and stage its chunks.

    Parameters
    ----------
    mosaic : Mosaic
        The field; only the tile and its surroundings are read.
    layout : Layout
        Windows, classes and votes of the whole field.
    tile : Region
        Whose pixels.
    bundles : sequence of str
        Folders of one or more trained networks, which classify together.
    passes, engine
        As for `pipeline.stages.infer.infer_block`.
    maps : str
        The field's maps, where the chunks belong.
    staging : Staging
        Where to put them.

    Raises
    ------
    ModelError
        If a bundle is damaged, or tells other classes or of other windows.
    StoreError
        If the mosaic cannot be read, or the chunks cannot be written.
    """
    begun = time.monotonic()
    windows = layout.windows
    predictor = predictor_for(
        tuple(bundles), passes=passes, engine=engine, batch=windows.batch, threads=threads_of_worker()
    )
    found, side = predictor.geometry, windows.side
    if tuple(predictor.head["classes"]) != layout.classes or found.whole != (side, side, len(mosaic.bands)):
        raise ModelError(
            f"the bundle {bundles[0]} tells {', '.join(predictor.head['classes'])} in windows {found.whole}, expected "
            f"{', '.join(layout.classes)} in windows {(side, side, len(mosaic.bands))}",
            "train with the images and classes of this run file",
        )
    votes = classify_tile(
        mosaic,
        network_of(predictor),
        windows=windows,
        tile=tile,
        classes=len(layout.classes),
        kinds=layout.votes,
    )
    content = hashlib.sha256()
    for name in sorted(votes):
        content.update(np.ascontiguousarray(votes[name]).data)
    with staging.opened() as folder, disk_errors(folder):
        staged = folder / Path(maps).name
        group = create_results(staged, windows, classes=layout.classes, kinds=layout.votes, tile=layout.tile)
        write_tile(group, tile, votes)
        names = [name for name in tile_files(group, tile) if (staged / name).is_file()]
        products = tuple(seal(staged / name, Path(maps, name)) for name in names)
    return Receipt(
        rows=int((votes["n"] > 0).sum()),
        bytes=sum(product.bytes for product in products),
        seconds=time.monotonic() - begun,
        digest=content.hexdigest(),
        products=products,
        facts={"windows": windows.computed(tile)},
        worker=whoami(),
    )
