"""The windows of labelled fields as a table: what a sample of ``images.source = "mosaic"`` selects from."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from model.votes import Source
from model.windows import Region
from pipeline.fields.classes import background_of, classes_of
from pipeline.fields.mosaic import STRIP_VALUES, Mosaic
from pipeline.fields.opening import open_field, open_labels
from schemas.config import RunFile
from schemas.errors import PlanError

TABLE = "FieldWindows"
COLUMNS = {
    "windowid": pa.int64(),
    "ra": pa.float64(),
    "dec": pa.float64(),
    "field": pa.int32(),
    "y": pa.int32(),
    "x": pa.int32(),
    "kind": pa.int32(),
}
"""``field`` counts the fields of the run file, ``y`` and ``x`` [pixel] are where the window begins, and ``kind`` is the
class of most of its pixels that are no background (the background's, where all are)."""
_ID_BITS = 32


def strips(shape: Sequence[int], *, rows: int = 0) -> Iterator[Region]:
    """Yield strips of whole rows of a mosaic ``(y, x, plane)``, `rows` high or as many as are read at once."""
    height, width, planes = shape
    step = rows or max(1, STRIP_VALUES // (width * planes))
    for y in range(0, height, step):
        yield Region(y, min(y + step, height), 0, width)


def window_table(run_file: RunFile) -> pa.Table:
    """Return the windows of all labelled fields that do not overlap, and whose pixels and labels are all known.

    Raises
    ------
    PlanError
        There is none.
    StoreError, PlanError
        A field or its labels cannot be read.
    """
    found = [
        _windows(run_file, name, number)
        for number, (name, field) in enumerate(run_file.fields.items())
        if field.labels is not None
    ]
    table = pa.concat_tables(found)
    if not table.num_rows:
        side = run_file.images.pixels
        raise PlanError(
            f"no window of {side}x{side} pixels in a labelled field has pixels and labels that are all known",
            "label larger parts of the fields, or take a network of smaller windows",
        )
    return table


def _windows(run_file: RunFile, name: str, number: int) -> pa.Table:
    mosaic, labels = open_field(run_file, name), open_labels(run_file, name)
    classes = classes_of(run_file)
    place = classes.index(background_of(run_file))
    rows = [
        (y, x, kind)
        for region in strips(mosaic.shape, rows=run_file.images.pixels)
        if region.shape[0] == run_file.images.pixels
        for y, x, kind in _of_strip(mosaic, labels, region, place)
    ]
    y, x, kind = (np.array([row[axis] for row in rows], np.int64) for axis in range(3))
    ra, dec = _positions(mosaic, y, x, side=run_file.images.pixels, number=number)
    values = {
        "windowid": (np.int64(number) << _ID_BITS) + np.arange(len(rows)),
        "ra": ra,
        "dec": dec,
        "field": np.full(len(rows), number),
        "y": y,
        "x": x,
        "kind": kind,
    }
    return pa.table({key: pa.array(values[key], kind) for key, kind in COLUMNS.items()})


def _of_strip(
    mosaic: Mosaic, labels: Source, region: Region, background: int
) -> Iterator[tuple[int, int, int]]:
    """Yield the first y and x and the class of each window of a strip that is as high as a window."""
    side = region.shape[0]
    values = np.asarray(labels[region.slices])
    good = np.isfinite(values).all(axis=-1) & np.isfinite(mosaic[region.slices]).all(axis=-1)
    for x in range(0, region.shape[1] - side + 1, side):
        if good[:, x : x + side].all():
            mass = values[:, x : x + side].sum(axis=(0, 1))
            mass[background] = 0
            yield region.y0, x, int(mass.argmax()) if mass.any() else background


def _positions(
    mosaic: Mosaic, y: NDArray[np.int64], x: NDArray[np.int64], *, side: int, number: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return right ascension and declination [degree] of windows' centres.

    Of a field without sky coordinates they are offsets from its first pixel, each field about a point of its own: they
    tell windows apart, and mean nothing on the sky.
    """
    ra, dec = mosaic.sky(y + (side - 1) / 2, x + (side - 1) / 2)
    if np.isfinite(ra).all() and np.isfinite(dec).all():
        return ra, dec
    step_deg = np.float64(mosaic.arcsec_per_pixel / 3600)
    return np.asarray((number * 10 + x * step_deg) % 360), np.asarray(np.clip(y * step_deg, -90, 90))
