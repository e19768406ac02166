"""Which pixels belong to which source: from the background's votes, after Morpheus.

The steps are those of Hausen & Robertson (2020, ApJS 248, 20) and of their program. A whole mosaic is held in
memory.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from skimage.feature import peak_local_max
from skimage.filters import sobel
from skimage.measure import label
from skimage.segmentation import watershed

from schemas.errors import StoreError

Array = NDArray[Any]
Segmap = NDArray[np.int32]

SKY, UNCLASSIFIED = 0, -1
"""What a segmentation map says of a pixel that is in no source; sources count from 1."""


def segment(background: Array, n: Array, *, sure_source: float = 0.0, sure_background: float = 1.0) -> Segmap:
    """Return the map ``(y, x)`` of connected sources: ids from 1, 0 the sky, -1 where nothing is known.

    Pixels where the background is sure, and those where a source is, are flooded along the gradient (Sobel) of
    the background until they meet; pixels that touch, corners included, are one source.

    Parameters
    ----------
    background : ndarray, ``(y, x)``
        How much a pixel is background, 0 to 1: votes or mean probability.
    n : ndarray, ``(y, x)``
        Votes of each pixel.
    sure_source, sure_background : float
        A source is sure at or below the one, the sky at or above the other. The defaults fit rank votes;
        means hardly reach 0 or 1: take, for instance, 0.1 and 0.9.

    Raises
    ------
    StoreError
        No pixel is classified, the thresholds are in the wrong order, or no pixel is sure.
    """
    if not 0 <= sure_source < sure_background <= 1:
        raise StoreError(
            f"expected 0 <= sure_source < sure_background <= 1, found {sure_source:g} and {sure_background:g}",
            "set both thresholds so",
        )
    known = n > 0
    if not known.any():
        raise StoreError("no pixel of the mosaic has a class", "classify its tiles first")
    filled = np.where(known, background, 1.0)
    markers = np.zeros(background.shape, np.int8)
    markers[known & (filled >= sure_background)] = 1
    markers[known & (filled <= sure_source)] = 2
    if not markers.any():
        raise StoreError(
            f"no pixel is background to at least {sure_background:g} or to at most {sure_source:g}: values go "
            f"from {background[known].min():g} to {background[known].max():g}",
            "set sure_background lower and sure_source higher",
        )
    flooded = watershed(sobel(filled), markers, mask=known)
    segmap: Segmap = label(flooded == 2).astype(np.int32)
    segmap[~known] = UNCLASSIFIED
    return segmap


def deblend(segmap: Segmap, flux: Array, *, apart_pixels: int = 20, most: int = 20) -> Segmap:
    """Return the map with sources of several peaks taken apart.

    A source's peaks are at least `apart_pixels` from each other; from them its light is divided by a watershed.
    The brightest peak keeps the source's id, the others get new ones, counted on from the highest.

    Parameters
    ----------
    segmap : ndarray, ``(y, x)``
        From `segment`.
    flux : ndarray, ``(y, x)``
        The image in which peaks are looked for.
    apart_pixels : int
        Least distance between peaks.
    most : int
        Most parts of a source.

    Raises
    ------
    StoreError
        The image has another size.
    """
    check_flux(segmap, flux)
    parted = segmap.copy()
    free = int(segmap.max()) + 1
    for number, box in enumerate(find_objects(np.maximum(segmap, 0)), start=1):
        if box is None:
            continue
        inside = segmap[box] == number
        light = np.where(inside, flux[box], 0).astype(np.float64)
        peaks = peak_local_max(
            light, min_distance=apart_pixels, num_peaks=most, threshold_abs=0, exclude_border=False
        )
        if len(peaks) < 2:
            continue
        markers = np.zeros(inside.shape, np.int32)
        markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
        parts = watershed(-light, markers, mask=inside)
        others = parts > 1
        parted[box][others] = parts[others] - 2 + free
        free += len(peaks) - 1
    return parted


def check_flux(segmap: Segmap, flux: Array) -> None:
    """Refuse an image that does not fit the map, or is not finite in a source.

    Raises
    ------
    StoreError
        Saying what was found.
    """
    if flux.shape != segmap.shape:
        raise StoreError(
            f"the segmentation map has {segmap.shape} pixels, the image {flux.shape}",
            "take the image of a band of the same mosaic",
        )
    if not np.isfinite(flux[segmap > 0]).all():
        raise StoreError(
            "the image has pixels in a source that are not finite", "take a band that is finite there"
        )
