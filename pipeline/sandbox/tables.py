"""Lay the default sky's objects out as SDSS's tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.sandbox.catalogue import BANDS, GALAXY, Objects, asinh_mag, asinh_mag_err
from pipeline.sandbox.ids import pack_objid, unpack_objid
from pipeline.sandbox.morphology import Shapes
from pipeline.sandbox.sky import unit_vectors
from pipeline.sandbox.spectra import spectroscopic_table

_PHOTO_SEED, _SPECTRA_SEED = 11, 12
_PSF_FWHM = np.array([1.53, 1.44, 1.32, 1.26, 1.29])  # medians of SDSS imaging in ugriz [arcsec]
_CAMCOLS, _FIELDS = 6, 800


def build_tables(objects: Objects, shapes: Shapes, *, seed: int) -> Mapping[str, pa.Table]:
    """Build ``PhotoObjAll`` and ``SpecObjAll``.

    Parameters
    ----------
    objects : Objects
        Photometry and redshift.
    shapes : Shapes
        What they look like.
    seed : int
        Seed of what is made up: runs, plates, errors.

    Returns
    -------
    mapping of str to pyarrow.Table
        Columns are spelled and typed as SDSS's, but for ``specObjID``, which is unsigned.
    """
    objid = _objids(objects)
    spectra, best = spectroscopic_table(objects, shapes, objid, np.random.default_rng((seed, _SPECTRA_SEED)))
    photo = _photo(objects, shapes, objid, best, np.random.default_rng((seed, _PHOTO_SEED)))
    return {"SpecObjAll": pa.table(spectra), "PhotoObjAll": pa.table(photo)}


def _objids(objects: Objects) -> NDArray[np.uint64]:
    """Number objects by strips of declination (runs and columns) and fields along right ascension."""
    strip = np.floor((objects.dec + 90) / 180 * 50 * _CAMCOLS).astype(np.int64)
    run, camcol = 752 + (strip // _CAMCOLS) * 131, strip % _CAMCOLS + 1
    field = 11 + np.floor(objects.ra / 360 * _FIELDS).astype(np.int64)
    place = pack_objid(run, camcol, field, np.zeros(len(objects), dtype=np.int64))
    order = np.argsort(place, kind="stable")
    ranked = place[order]
    first = np.r_[True, ranked[1:] != ranked[:-1]]
    start = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    number = np.empty(len(order), dtype=np.int64)
    number[order] = np.arange(len(order)) - start + 40
    return pack_objid(run, camcol, field, number)


def _photo(
    objects: Objects,
    shapes: Shapes,
    objid: NDArray[np.uint64],
    best: NDArray[np.uint64],
    rng: np.random.Generator,
) -> dict[str, Any]:
    n = len(objects)
    parts = unpack_objid(objid)
    is_galaxy = objects.kind == GALAXY
    table: dict[str, Any] = {"objID": objid.astype(np.int64)}
    table |= {
        name: parts[name].astype(np.int16)
        for name in ("skyVersion", "run", "rerun", "camcol", "field", "obj")
    }
    table |= {
        "mode": np.ones(n, dtype=np.int16),
        "nChild": np.zeros(n, dtype=np.int16),
        "type": np.where(is_galaxy, 3, 6).astype(np.int16),
        "clean": (rng.random(n) > 0.05).astype(np.int32),
        "probPSF": (~is_galaxy).astype(np.float32),
        "flags": np.full(n, 0x0000100010000000, dtype=np.int64),
        "score": rng.uniform(0.6, 0.9, n).astype(np.float32),
        "mjd": (51075 + parts["run"] // 2).astype(np.int32),
        "ra": objects.ra,
        "dec": objects.dec,
        "raErr": rng.uniform(0.002, 0.02, n),
        "decErr": rng.uniform(0.002, 0.02, n),
    }
    x, y, z = unit_vectors(objects.ra, objects.dec).T
    table |= {"cx": x, "cy": y, "cz": z, "specObjID": best}
    table |= _magnitudes(objects)
    table |= _sizes(shapes, is_galaxy, rng)
    return table


def _by_band(name: str, values: NDArray[np.float64]) -> dict[str, NDArray[np.float32]]:
    return {f"{name}_{band}": values[:, i].astype(np.float32) for i, band in enumerate(BANDS)}


def _magnitudes(objects: Objects) -> dict[str, NDArray[np.float32]]:
    model, error = asinh_mag(objects.flux), asinh_mag_err(objects.flux, objects.ivar)
    petro = asinh_mag(objects.petro_flux), asinh_mag_err(objects.petro_flux, objects.petro_ivar)
    columns = {band: model[:, i].astype(np.float32) for i, band in enumerate(BANDS)}
    columns |= _by_band("err", error)
    columns |= _by_band("modelMag", model) | _by_band("modelMagErr", error)
    columns |= _by_band("cModelMag", model) | _by_band("cModelMagErr", error)
    columns |= _by_band("petroMag", petro[0]) | _by_band("petroMagErr", petro[1])
    columns |= _by_band("modelFlux", objects.flux) | _by_band("modelFluxIvar", objects.ivar)
    columns |= _by_band("petroFlux", objects.petro_flux) | _by_band("petroFluxIvar", objects.petro_ivar)
    columns |= _by_band("extinction", objects.extinction) | _by_band("dered", model - objects.extinction)
    return columns


def _sizes(
    shapes: Shapes, is_galaxy: NDArray[np.bool_], rng: np.random.Generator
) -> dict[str, NDArray[np.float32]]:
    """Measure sizes and profile fits: the true ones, blurred by the PSF, with some scatter."""
    n = len(is_galaxy)
    share = shapes.bulge_share
    half_light = share * shapes.bulge_arcsec * np.sqrt(shapes.bulge_ratio) + (
        1 - share
    ) * shapes.disk_arcsec * np.sqrt(shapes.disk_ratio)
    scatter = np.exp(rng.normal(0, 0.03, (n, 5)))
    # A Petrosian aperture holds less of a de Vaucouleurs profile: R50 is 0.7 of the half-light radius then.
    r50 = np.hypot(half_light[:, None] * (1 - 0.3 * share[:, None]), 0.55 * _PSF_FWHM) * scatter
    concentration = (2.25 + 0.85 * share)[:, None] * np.exp(rng.normal(0, 0.03, (n, 5)))
    columns = _by_band("petroR50", r50) | _by_band("petroR90", r50 * concentration)
    columns |= _by_band("petroRad", r50 * concentration * 0.93) | _by_band(
        "fracDeV", share[:, None].repeat(5, 1)
    )
    columns |= _by_band("deVRad", shapes.bulge_arcsec[:, None] * scatter)
    columns |= _by_band("expRad", shapes.disk_arcsec[:, None] * scatter)
    columns |= _by_band("deVAB", shapes.bulge_ratio[:, None].repeat(5, 1))
    columns |= _by_band("expAB", shapes.disk_ratio[:, None].repeat(5, 1))
    columns |= _by_band("deVPhi", shapes.angle_deg[:, None].repeat(5, 1))
    columns |= _by_band("expPhi", shapes.angle_deg[:, None].repeat(5, 1))
    return columns | _by_band("psffwhm", np.broadcast_to(_PSF_FWHM, (n, 5)))
