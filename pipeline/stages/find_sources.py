"""Find sources: from a field's maps to its segmentation map, catalogue, FITS files and picture; one task a field.

The maps of a field are held in memory, those of the first kind of votes with one band.
"""

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from astropy.io import fits
from numpy.typing import NDArray
from PIL import Image

from cluster.work import whoami
from pipeline.fields.completeness import false_positives, match_sources
from pipeline.fields.files import MATCHED, PICTURE
from pipeline.fields.layout import Finding
from pipeline.fields.mosaic import Mosaic
from pipeline.fields.picture import HUES, colour_picture
from pipeline.fields.results import write_fits
from pipeline.fields.segmap import Segmap, deblend, segment
from pipeline.fields.sources import add_sky, measure_sources
from pipeline.stores.catalogue_sources import write_sources
from pipeline.stores.rows import table_digest
from pipeline.stores.staging import Staging, disk_errors, seal
from schemas.errors import StoreError
from schemas.records import Receipt

PART, SEGMAP = "sources.parquet", "segmap.fits"
PICTURE_PIXELS = 2000
"""Longest side of the picture; of a larger field every second, third, ... pixel is shown."""


def find_sources(
    *, mosaic: Mosaic, maps: str, finding: Finding, truth: str | None, final: str, staging: Staging
) -> Receipt:
    """Find the sources of a field, and stage all its products.

    Parameters
    ----------
    mosaic : Mosaic
        The field.
    maps : str
        Its maps, all tiles written.
    finding : Finding
        How.
    truth : str, optional
        The table of what there is in it, of a drawn scene.
    final : str
        Folder the products belong in.
    staging : Staging
        Where to put them.

    Returns
    -------
    Receipt
        The catalogue's part is the first product; ``facts`` count pixels and sources by class.

    Raises
    ------
    StoreError
        If maps or mosaic cannot be read, no pixel is sure, or the products cannot be written.
    """
    begun = time.monotonic()
    group = zarr.open_group(maps, mode="r")
    votes, n = _read(group, finding.vote), _read(group, "n")
    flux = mosaic.band(finding.flux)
    light = np.where(np.isfinite(flux), flux, 0)
    segmap = _segmap(votes, n, light, finding)
    found = measure_sources(segmap, light, votes, classes=finding.classes, background=finding.background)
    found = add_sky(found, mosaic)
    with staging.opened() as folder, disk_errors(folder):
        scale = mosaic.arcsec_per_pixel
        write_sources(found, folder / PART, classes=finding.sources, arcsec_per_pixel=scale)
        if truth is not None:
            pq.write_table(match_sources(pq.read_table(truth), segmap, found), folder / MATCHED)
        _write_pictures(folder, group, votes, segmap, mosaic, finding)
        first = [PART] if truth is None else [PART, MATCHED]
        names = [*first, *sorted(path.name for path in folder.iterdir() if path.name not in first)]
        products = tuple(seal(folder / name, Path(final, name)) for name in names)
    return Receipt(
        rows=found.num_rows,
        bytes=sum(product.bytes for product in products),
        seconds=time.monotonic() - begun,
        digest=_digest(segmap, found),
        products=products,
        facts=_facts(segmap, n, found, mosaic, finding),
        worker=whoami(),
    )


def _read(group: zarr.Group, name: str) -> NDArray[Any]:
    try:
        array: Any = group[name]
        return np.asarray(array[:])
    except (KeyError, OSError, ValueError, RuntimeError) as error:
        raise StoreError(
            f"the map {name!r} of {group.store_path} cannot be read: {error}", "run `skymill verify --repair`"
        ) from error


def _segmap(votes: NDArray[Any], n: NDArray[Any], light: NDArray[Any], finding: Finding) -> Segmap:
    background = votes[..., finding.classes.index(finding.background)]
    thresholds = {"sure_source": finding.sure_source, "sure_background": finding.sure_background}
    segmap = segment(background, n, **thresholds)
    return deblend(
        segmap,
        light,
        apart_pixels=finding.apart_pixels,
        most=finding.most_parts,
    )


def _write_pictures(
    folder: Path,
    group: zarr.Group,
    votes: NDArray[Any],
    segmap: Segmap,
    mosaic: Mosaic,
    finding: Finding,
) -> None:
    header = mosaic.sky_header()
    write_fits(group, folder, header=header)
    fits.PrimaryHDU(segmap, header).writeto(folder / SEGMAP)
    step = -(-max(segmap.shape) // PICTURE_PIXELS)
    hues = _hues(finding.sources)
    picture = colour_picture(
        votes[::step, ::step], classes=finding.classes, background=finding.background, hues=hues
    )
    Image.fromarray(picture[::-1]).save(folder / PICTURE)


def _hues(sources: tuple[str, ...]) -> Mapping[str, float]:
    """Return the published hue of each class that has one; the others are spread over the circle."""
    even = {name: number / len(sources) for number, name in enumerate(sources)}
    return HUES if set(sources) <= set(HUES) else even


def _digest(segmap: Segmap, found: pa.Table) -> str:
    content = hashlib.sha256(np.ascontiguousarray(segmap).data)
    content.update(table_digest(found).encode())
    return content.hexdigest()


def _facts(
    segmap: Segmap, n: NDArray[Any], found: pa.Table, mosaic: Mosaic, finding: Finding
) -> dict[str, Any]:
    named, scale = found["class"].to_pylist(), mosaic.arcsec_per_pixel
    density = false_positives(found, segmap, classes=finding.sources, arcsec_per_pixel=scale)
    return {
        "density": density.to_pylist(),
        "classified": int((n > 0).sum()),
        "pixels": int(n.size),
        "in_sources": int((segmap > 0).sum()),
        "by_class": {name: named.count(name) for name in finding.sources},
        "flagged": int((found["flags"].to_numpy() != 0).sum()),
        "shape": list(n.shape),
        "arcsec_per_pixel": mosaic.arcsec_per_pixel,
    }
