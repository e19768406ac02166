"""Training pixels from a field of one's own: labels from a catalogue or from files, windows where both are known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from model.votes import Source
from model.windows import Region
from pipeline.fields.segmap import SKY, UNCLASSIFIED, Segmap
from schemas.errors import StoreError

Pixels = NDArray[np.float32]


def spread_classes(
    segmap: Segmap, catalogue: pa.Table, *, classes: Sequence[str], background: str = "background"
) -> Pixels:
    """Return labels ``(y, x, class)``: what is known of each source, in each of its pixels.

    So Hausen & Robertson (2020) made labels of visual classifications: shares of votes, spread over the source's
    pixels. The sky is background. Pixels of sources that the catalogue does not have, and unclassified ones, are
    NaN: nothing is learnt there.

    Parameters
    ----------
    segmap : ndarray, ``(y, x)``
        Ids of sources, 0 the sky, -1 not known.
    catalogue : pyarrow.Table
        ``source_id``, and a column for each class but the background: its share, which together are 1.
    classes : sequence of str
        The classes' names, in the order wanted.
    background : str
        Which of them the sky is.

    Raises
    ------
    StoreError
        A column is missing, an id comes twice, or shares are not.
    """
    sources = [name for name in classes if name != background]
    missing = [name for name in ("source_id", *sources) if name not in catalogue.column_names]
    if missing or background not in classes:
        raise StoreError(
            f"expected the columns source_id, {', '.join(sources)} and a class {background!r}, found "
            f"{', '.join(catalogue.column_names)}",
            "give the share of each class that is a source",
        )
    ids = catalogue["source_id"].to_numpy()
    shares = np.stack([catalogue[name].to_numpy() for name in sources], axis=-1).astype(np.float32)
    wrong = ~(np.abs(shares.sum(axis=1) - 1) < 0.01) | (shares < 0).any(axis=1)
    if wrong.any() or len(np.unique(ids)) < len(ids) or (ids < 1).any():
        which = ids[wrong][0] if wrong.any() else "ids that are below 1 or come twice"
        raise StoreError(
            f"expected each source once, with shares of its classes that sum up to 1; wrong: {which}",
            "mend the catalogue, or leave such sources out: their pixels are not learnt from",
        )
    known = np.full((max(int(segmap.max()), int(ids.max(initial=0))) + 2, len(classes)), np.nan, np.float32)
    known[SKY] = np.eye(len(classes), dtype=np.float32)[classes.index(background)]
    known[ids] = 0
    known[np.ix_(ids, [classes.index(name) for name in sources])] = shares
    labels: Pixels = known[np.where(segmap == UNCLASSIFIED, len(known) - 1, segmap)]
    return labels


def cut_windows(
    source: Source, labels: Source, region: Region, *, side: int = 40, stride: int = 20
) -> tuple[Pixels, Pixels, NDArray[np.int64]]:
    """Return the windows that lie in a region, their labels, and where they begin.

    Regions that do not overlap share no pixel: take one to learn from, another to test. A window with a pixel or a
    label that is not finite is left out.

    Parameters
    ----------
    source : Source
        The mosaic ``(y, x, band)``.
    labels : Source
        A probability of each class in each pixel, ``(y, x, class)``: from `spread_classes`, or a
        `pipeline.fields.mosaic.Mosaic` whose bands are classes.
    region : Region
        Where to cut; only this is read.
    side : int
        Rows and columns of a window.
    stride : int
        Pixels from one window to the next.

    Returns
    -------
    tuple of ndarray
        Windows ``(n, y, x, band)`` and labels ``(n, y, x, class)``, float32, and ``(n, 2)``, the first y and x.

    Raises
    ------
    StoreError
        The labels are of another size, or there is no window in the region.
    """
    if tuple(source.shape[:2]) != tuple(labels.shape[:2]):
        raise StoreError(
            f"the mosaic has {tuple(source.shape[:2])} pixels, the labels {tuple(labels.shape[:2])}",
            "give labels of this mosaic",
        )
    image, label = (np.asarray(one[region.slices], np.float32) for one in (source, labels))
    good = np.asarray(np.isfinite(image).all(axis=-1) & np.isfinite(label).all(axis=-1))
    corners = [
        (y, x)
        for y in range(0, image.shape[0] - side + 1, stride)
        for x in range(0, image.shape[1] - side + 1, stride)
        if good[y : y + side, x : x + side].all()
    ]
    if not corners:
        raise StoreError(
            f"no window of {side}x{side} pixels lies in rows {region.y0} to {region.y1}, columns {region.x0} to "
            f"{region.x1}, with pixels and labels that are all known",
            "take a larger region, or fill what is missing",
        )
    cut: list[Any] = [
        np.stack([one[y : y + side, x : x + side] for y, x in corners]) for one in (image, label)
    ]
    return cut[0], cut[1], np.array(corners) + np.array([region.y0, region.x0])
