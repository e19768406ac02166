"""What was found of what was put into a field, and what was found where nothing is."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.fields.segmap import UNCLASSIFIED, Segmap
from schemas.errors import StoreError

Array = NDArray[Any]


def match_sources(truth: pa.Table, segmap: Segmap, catalogue: pa.Table) -> pa.Table:
    """Return the truth with what was found of each source.

    A source is found when its central pixel lies in a source of the map and no brighter one's does in the same.

    Parameters
    ----------
    truth : pyarrow.Table
        ``y``, ``x`` [pixel], ``magnitude``, ``class``, and what else is known.
    segmap : ndarray, ``(y, x)``
        Ids of sources, 0 the sky, -1 unclassified.
    catalogue : pyarrow.Table
        From `pipeline.fields.sources.measure_sources`.

    Returns
    -------
    pyarrow.Table
        Also ``source_id`` (0 if none, -1 outside what was classified), ``found``, ``blended`` (its pixel belongs
        to a brighter source) and ``found_class`` (null if not found).

    Raises
    ------
    StoreError
        A column is missing.
    """
    if missing := [name for name in ("y", "x", "magnitude", "class") if name not in truth.column_names]:
        raise StoreError(f"the truth has no column {missing[0]!r}", "give y, x, magnitude and class")
    ids = _ids_at(truth["y"].to_numpy(), truth["x"].to_numpy(), segmap)
    inside = np.flatnonzero(ids > 0)
    order = inside[np.argsort(truth["magnitude"].to_numpy()[inside], kind="stable")]
    found = np.zeros(len(ids), bool)
    found[order[np.unique(ids[order], return_index=True)[1]]] = True
    names = dict(zip(catalogue["source_id"].to_pylist(), catalogue["class"].to_pylist(), strict=True))
    classes = [names.get(one) if own else None for one, own in zip(ids.tolist(), found, strict=True)]
    columns = {
        "source_id": pa.array(ids, pa.int64()),
        "found": pa.array(found),
        "blended": pa.array((ids > 0) & ~found),
        "found_class": pa.array(classes, pa.string()),
    }
    for name, values in columns.items():
        truth = truth.append_column(name, values)
    return truth


def _ids_at(y: Array, x: Array, segmap: Segmap) -> NDArray[np.int64]:
    rows, columns = (np.rint(one).astype(np.int64) for one in (y, x))
    within = (rows >= 0) & (columns >= 0) & (rows < segmap.shape[0]) & (columns < segmap.shape[1])
    ids = np.full(len(rows), UNCLASSIFIED, np.int64)
    ids[within] = segmap[rows[within], columns[within]]
    return ids


def completeness(matched: pa.Table, edges: Mapping[str, Sequence[float]]) -> pa.Table:
    """Return which share was found, a row for each bin, or each combination of bins of several columns.

    Sources outside what was classified do not count.

    Parameters
    ----------
    matched : pyarrow.Table
        From `match_sources`.
    edges : mapping
        Ascending bin edges of each column: ``{"magnitude": [20, 22, 24], "radius_arcsec": [0, 0.2, 0.8]}``. A value
        on the last edge belongs to the last bin.

    Returns
    -------
    pyarrow.Table
        ``<column>_low`` and ``<column>_high`` of each column, ``injected``, ``found``, ``blended``, ``right_class`` (of
        those found), ``completeness`` and its 68 % interval ``completeness_low`` to ``completeness_high`` (Wilson
        1927), NaN without a source.

    Raises
    ------
    StoreError
        There is no such column, or edges do not ascend.
    """
    for name, values in edges.items():
        if name not in matched.column_names or len(values) < 2 or not (np.diff(values) > 0).all():
            raise StoreError(
                f"expected two or more ascending edges of a column, found {list(values)} of {name!r}",
                f"choose of the columns: {', '.join(matched.column_names)}",
            )
    counted = matched["source_id"].to_numpy() != UNCLASSIFIED
    found, blended = (matched[name].to_numpy() & counted for name in ("found", "blended"))
    right = found & pc.fill_null(pc.equal(matched["class"], matched["found_class"]), False).to_numpy()
    bins = {name: _bins(matched[name].to_numpy(), values) for name, values in edges.items()}
    rows = []
    for place in product(*(range(len(values) - 1) for values in edges.values())):
        here = counted.copy()
        row: dict[str, float] = {}
        for number, (name, values) in zip(place, edges.items(), strict=True):
            here &= bins[name] == number
            row |= {f"{name}_low": float(values[number]), f"{name}_high": float(values[number + 1])}
        counts = [int((which & here).sum()) for which in (counted, found, blended, right)]
        rows.append(row | dict(zip(("injected", "found", "blended", "right_class"), counts, strict=True)))
        rows[-1] |= _interval(counts[1], counts[0])
    return pa.Table.from_pylist(rows)


def _bins(values: Array, edges: Sequence[float]) -> NDArray[np.int64]:
    """Return the bin of each value, -1 or the number of bins where there is none."""
    found = np.digitize(values, edges) - 1
    return np.where(values == edges[-1], len(edges) - 2, found)


def _interval(part: int, whole: int) -> dict[str, float]:
    """Return a share and its Wilson (1927, JASA 22, 209) interval of one standard deviation."""
    names = ("completeness", "completeness_low", "completeness_high")
    if not whole:
        return dict.fromkeys(names, float("nan"))
    centre = (part + 0.5) / (whole + 1)
    half = np.sqrt(part * (whole - part) / whole + 0.25) / (whole + 1)
    return dict(zip(names, (part / whole, float(centre - half), float(centre + half)), strict=True))


def confusion(matched: pa.Table, classes: Sequence[str]) -> pa.Table:
    """Return how many found sources of each ``class`` (row) were given which class (columns named by it)."""
    chosen = matched.filter(matched["found"])
    truth, found = np.array(chosen["class"].to_pylist()), np.array(chosen["found_class"].to_pylist())
    columns = {name: [int(((truth == one) & (found == name)).sum()) for one in classes] for name in classes}
    return pa.table({"class": list(classes)} | columns)


def false_positives(
    catalogue: pa.Table, segmap: Segmap, *, classes: Sequence[str], arcsec_per_pixel: float
) -> pa.Table:
    """Return how many sources were found in a field of pure noise, by class and in all.

    Parameters
    ----------
    catalogue : pyarrow.Table
        From `pipeline.fields.sources.measure_sources`.
    segmap : ndarray, ``(y, x)``
        Its map; pixels without a class do not count.
    classes : sequence of str
        The classes that are sources.
    arcsec_per_pixel : float
        The pixel scale.

    Returns
    -------
    pyarrow.Table
        ``class`` (the last row ``all``), ``sources``, ``pixels`` they cover, ``sources_per_arcmin2`` and
        ``pixel_share`` of all classified pixels.

    Raises
    ------
    StoreError
        No pixel is classified.
    """
    known = int((segmap != UNCLASSIFIED).sum())
    if not known:
        raise StoreError("no pixel of the field has a class", "classify its tiles first")
    area_arcmin2 = known * (arcsec_per_pixel / 60) ** 2
    best, area = np.array(catalogue["class"].to_pylist(), object), catalogue["area_pixels"].to_numpy()
    chosen = [best == name for name in classes] + [np.ones(len(best), bool)]
    sources, pixels = [int(one.sum()) for one in chosen], [int(area[one].sum()) for one in chosen]
    return pa.table(
        {
            "class": [*classes, "all"],
            "sources": sources,
            "pixels": pixels,
            "sources_per_arcmin2": [count / area_arcmin2 for count in sources],
            "pixel_share": [count / known for count in pixels],
        }
    )
