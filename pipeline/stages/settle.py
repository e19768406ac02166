"""Settle a row of a block: put what its image turned out to be into the block's arrays."""

import numpy as np

from pipeline.sources.images import Place
from pipeline.sources.verdicts import Verdict
from pipeline.stores.cube import BlockRows
from schemas.errors import StoreError


def place_of(rows: BlockRows, row: int) -> Place:
    """Return what a source of images is told of a row."""
    columns = {name: float(values[row]) for name, values in rows.columns.items()}
    return {"ra": float(rows.ra[row]), "dec": float(rows.dec[row])} | columns


def settle(rows: BlockRows, row: int, verdict: Verdict, details: dict[int, str]) -> None:
    """Write a row's status, image and digest in place; why it has no image goes to `details`.

    Raises
    ------
    StoreError
        If the image is not of the cube's type and shape: numpy would convert or repeat it.
    """
    rows.status[row] = verdict.status
    if verdict.pixels is None:
        rows.image[row] = np.nan if rows.image.dtype.kind == "f" else 0
        rows.digest[row] = 0
        if rows.target is not None:
            rows.target[row] = np.nan
        details[row] = verdict.detail
        return
    expected, found = (rows.image.dtype, rows.image.shape[1:]), (verdict.pixels.dtype, verdict.pixels.shape)
    if found != expected:
        raise StoreError(
            f"expected images of {expected[0]} {expected[1]} for this cube, found {found[0]} {found[1]}",
            "give the run the [images] and [cube] that its cube was made with, or another `name`",
        )
    if rows.target is not None:
        rows.target[row] = verdict.target
    rows.image[row] = verdict.pixels
    rows.digest[row] = np.frombuffer(verdict.digest, np.uint8)
