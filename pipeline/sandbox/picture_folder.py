"""A folder of labelled pictures as a recorded sky: ``catalog.csv`` with ``objID`` and ``file``, and ``jpeg/``.

Such collections, as those of Galaxy Zoo's classes, have neither positions nor one scale. Positions are made up, half a
degree apart, so that SQL and the cutout service can name a picture; the scale is said to be SDSS's own, whatever it is.
"""

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from PIL import Image

from schemas.errors import StoreError
from schemas.imaging import FRAME_ARCSEC

CATALOGUE = "catalog.csv"
_STEP_DEG = 0.5
_RING = 720  # pictures on a circle of constant declination


def is_picture_folder(folder: Path) -> bool:
    """Say whether a folder holds labelled pictures, and not a recorded sky of its own."""
    return (folder / CATALOGUE).is_file() and not (folder / "cutouts.csv").exists()


def read_pictures(folder: Path) -> tuple[pa.Table, pa.Table]:
    """Return the rows of ``photoobj.csv`` and of ``cutouts.csv`` that stand for a folder of labelled pictures.

    Raises
    ------
    StoreError
        If a column or a picture is missing, or a picture cannot be read.
    """
    path = folder / CATALOGUE
    try:
        with path.open(newline="") as lines:
            names = next(csv.reader(lines), [])
        options = pacsv.ConvertOptions(column_types={"objID": pa.int64(), "file": pa.string()})
        table = pacsv.read_csv(path, convert_options=options)
    except (OSError, pa.ArrowException) as fault:
        raise StoreError(f"the pictures' {path.name} cannot be read: {fault}", f"repair {path}") from fault
    if missing := [name for name in ("objID", "file") if name not in names]:
        raise StoreError(f"{path} lacks the column(s) {', '.join(missing)}", "add them to the file")
    number = np.arange(table.num_rows)
    ra = (number % _RING) * _STEP_DEG
    dec = (number // _RING) * _STEP_DEG
    photo = table.drop_columns(["file"])
    for name, values in (("ra", ra), ("dec", dec)):
        photo = photo.append_column(name, pa.array(values, pa.float64()))
    sizes = np.array([_size(folder / "jpeg" / name) for name in table["file"].to_pylist()]).reshape(-1, 2)
    cutouts = pa.table(
        {
            "ra": ra,
            "dec": dec,
            "scale": np.full(len(number), FRAME_ARCSEC),
            "width": sizes[:, 0].astype(np.int64),
            "height": sizes[:, 1].astype(np.int64),
            "file": table["file"],
        }
    )
    return photo, cutouts


def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as picture:  # reads its header only
            return picture.size
    except OSError as fault:
        raise StoreError(
            f"the picture {path} cannot be read: {fault}", "restore it, or take its row out of catalog.csv"
        ) from fault
