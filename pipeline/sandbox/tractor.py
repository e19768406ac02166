"""The Legacy Surveys' catalogue of the default sky: magnitudes and aperture magnitudes, as its images show them.

Real catalogues hold fluxes (``flux_g``, ``apflux_g_1`` …, DR10's tables ``tractor`` and ``apflux``); here they are
magnitudes at once, not corrected for Galactic extinction, which is given as ``ebv``. Aperture radii are the survey's.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.sandbox.brightness import object_fluxes
from pipeline.sandbox.cameras import LAYERS, Camera
from pipeline.sandbox.catalogue import Objects
from pipeline.sandbox.morphology import Shapes
from pipeline.sandbox.profiles import DE_VAUCOULEURS, EXPONENTIAL

Floats = NDArray[np.float64]
OPTICAL_RADII_ARCSEC = (0.5, 0.75, 1.0, 1.5, 2.0, 3.5, 5.0, 7.0)
INFRARED_RADII_ARCSEC = (3.0, 5.0, 7.0, 9.0, 11.0)
_R_PER_EBV = (
    2.751  # Schlegel, Finkbeiner & Davis (1998), table 6: what the catalogue's extinctions were made with
)
_EXTENDED, _FLOOR = 1.5, 0.01  # a galaxy's error against a star's, and the least of a fit; decided here


def tractor_table(
    objects: Objects, shapes: Shapes, objid: NDArray[np.int64], *, colours: np.random.Generator, seed: int
) -> pa.Table:
    """Return the table ``Tractor``: ``objid`` as in ``PhotoObjAll``, ``mag_g`` …, ``apmag_g_1`` …, ``ebv``.

    Parameters
    ----------
    objects, shapes : Objects, Shapes
        What was observed.
    objid : numpy.ndarray of int64, ``(n,)``
        Their ids.
    colours : numpy.random.Generator
        Where the scatter of infrared colours comes from: that of the images.
    seed : int
        Seed of the errors.
    """
    fluxes, rng = object_fluxes(objects, shapes, colours), np.random.default_rng(seed)
    table: dict[str, NDArray] = {"objid": objid, "ra": objects.ra, "dec": objects.dec}
    table["ebv"] = (objects.extinction[:, 2] / _R_PER_EBV).astype(np.float32)
    for camera in (camera for layer in LAYERS.values() for camera in layer.values()):
        name, flux = camera.band.lower(), fluxes[camera.band]
        error = np.hypot(_EXTENDED * 10 ** (0.4 * (22.5 - camera.depth_mag)) / 5, _FLOOR * flux)
        table[f"mag_{name}"] = _magnitudes(flux + error * rng.standard_normal(len(flux)))
        radii = INFRARED_RADII_ARCSEC if camera.band.startswith("W") else OPTICAL_RADII_ARCSEC
        for number, radius in enumerate(radii, 1):
            seen = flux * enclosed(camera, objects, shapes, radius)
            noise = aperture_error(camera, radius, seen) * rng.standard_normal(len(flux))
            table[f"apmag_{name}_{number}"] = _magnitudes(seen + noise)
    return pa.table({name: pa.array(values, from_pandas=True) for name, values in table.items()})


def enclosed(camera: Camera, objects: Objects, shapes: Shapes, radius_arcsec: float) -> Floats:
    """Return the share of each object's light ``(n,)`` in a round aperture; flat profiles are rounded for it."""
    share = np.clip(shapes.bulge_share * camera.bulge_share, 0, 1)
    bulge = _component(DE_VAUCOULEURS, camera, shapes.bulge_arcsec, shapes.bulge_ratio, radius_arcsec)
    disk = _component(EXPONENTIAL, camera, shapes.disk_arcsec, shapes.disk_ratio, radius_arcsec)
    return share * bulge + (1 - share) * disk


def _component(
    mixture: tuple[Floats, Floats], camera: Camera, half_light: Floats, ratio: Floats, radius: float
) -> Floats:
    total = np.zeros_like(half_light)
    for weight, variance in zip(*mixture, strict=True):
        for psf_weight, psf in zip(camera.blur.weights, camera.blur.variances, strict=True):
            major, minor = variance * half_light**2 + psf, variance * (half_light * ratio) ** 2 + psf
            total += weight * psf_weight * (1 - np.exp(-(radius**2) / (2 * np.sqrt(major * minor))))
    return total


def aperture_error(camera: Camera, radius_arcsec: float, flux: Floats) -> Floats:
    """Return the error of a flux [nanomaggy, AB] in a round aperture: that of its pixels, and of its photons."""
    pixels = np.pi * radius_arcsec**2 / camera.native_arcsec**2
    sky = camera.sky_sigma / 10 ** (0.4 * camera.zero_mag)
    return np.asarray(np.sqrt(pixels * sky**2 + camera.variance_per_light * np.maximum(flux, 0)))


def _magnitudes(flux: Floats) -> NDArray[np.float32]:
    """Return AB magnitudes, NaN (NULL in SQL) where there is no light."""
    return np.where(flux > 0, 22.5 - 2.5 * np.log10(np.maximum(flux, 1e-9)), np.nan).astype(np.float32)
