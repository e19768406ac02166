"""Scenes: a drawn field as FITS files, and a table of what there is in it."""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from astropy.io import fits

from cluster.work import whoami
from pipeline.fields.files import TRUTH
from pipeline.sandbox.scene_windows import CENTRE_DEG, DrawnField, draw_field
from pipeline.stores.rows import table_digest
from pipeline.stores.staging import Staging, disk_errors, seal
from schemas.records import Receipt


def draw_scene(
    *,
    scene: str,
    shape: tuple[int, int],
    seed: int,
    spacing_pixels: int,
    bands: Sequence[str],
    arcsec_per_pixel: float,
    final: str,
    staging: Staging,
) -> Receipt:
    """Draw a field, a FITS file a band, with the table of its sources.

    Parameters
    ----------
    scene, shape, seed, spacing_pixels, bands
        What to draw, see `pipeline.sandbox.scene_windows.draw_field`.
    arcsec_per_pixel : float
        The pixel scale that the headers say.
    final : str
        Folder the files belong in.
    staging : Staging
        Where to put them.

    Raises
    ------
    StoreError
        If they cannot be written.
    PlanError
        If no cell of a lattice fits.
    """
    begun = time.monotonic()
    drawn = draw_field(scene, shape=shape, seed=seed, bands=bands, spacing_pixels=spacing_pixels)
    header = _header(shape, arcsec_per_pixel)
    with staging.opened() as folder, disk_errors(folder, drawn.image.nbytes):
        for number, band in enumerate(bands):
            plane = np.ascontiguousarray(drawn.image[..., number])
            fits.PrimaryHDU(plane, header).writeto(folder / f"{band}.fits")
        pq.write_table(drawn.truth, folder / TRUTH)
        names = [*(f"{band}.fits" for band in bands), TRUTH]
        products = tuple(seal(folder / name, Path(final, name)) for name in names)
    return Receipt(
        rows=drawn.truth.num_rows,
        bytes=sum(product.bytes for product in products),
        seconds=time.monotonic() - begun,
        digest=_digest(drawn),
        products=products,
        worker=whoami(),
    )


def _header(shape: tuple[int, int], arcsec_per_pixel: float) -> fits.Header:
    step_deg = arcsec_per_pixel / 3600
    return fits.Header(
        {
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
            "CRVAL1": CENTRE_DEG[0],
            "CRVAL2": CENTRE_DEG[1],
            "CRPIX1": (shape[1] + 1) / 2,
            "CRPIX2": (shape[0] + 1) / 2,
            "CDELT1": -step_deg,
            "CDELT2": step_deg,
        }
    )


def _digest(drawn: DrawnField) -> str:
    content = hashlib.sha256(np.ascontiguousarray(drawn.image).data)
    content.update(table_digest(drawn.truth).encode())
    return content.hexdigest()
