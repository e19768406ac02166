"""The objects of the default sky: 10,000 real SDSS galaxies, and seeded stars and quasars between them."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from schemas.errors import SourceError

Floats = NDArray[np.float64]
BANDS = ("u", "g", "r", "i", "z")
GALAXY, STAR, QSO = 0, 1, 2
CLASS_NAMES = ("GALAXY", "STAR", "QSO")
_STARS, _QSOS = 400, 250
_FILE = "data/test/gst_tests_small.fits"


@dataclass(frozen=True)
class Objects:
    """Photometry and redshift of every object.

    Attributes
    ----------
    kind : numpy.ndarray of int, ``(n,)``
        `GALAXY`, `STAR` or `QSO`.
    ra, dec : numpy.ndarray, ``(n,)``
        Position [degree].
    z : numpy.ndarray, ``(n,)``
        Redshift.
    flux, ivar : numpy.ndarray, ``(n, 5)``
        Model flux in ugriz [nanomaggy] and its inverse variance, not corrected for extinction.
    petro_flux, petro_ivar : numpy.ndarray, ``(n, 5)``
        Petrosian flux and its inverse variance.
    extinction : numpy.ndarray, ``(n, 5)``
        Galactic extinction in ugriz [mag].
    """

    kind: NDArray[np.int64]
    ra: Floats
    dec: Floats
    z: Floats
    flux: Floats
    ivar: Floats
    petro_flux: Floats
    petro_ivar: Floats
    extinction: Floats

    def __len__(self) -> int:
        return len(self.ra)


def read_galaxies() -> Objects:
    """Read the galaxies that the ``kcorrect`` package carries (Blanton & Roweis 2007), without importing it.

    Raises
    ------
    SourceError
        If the package is not installed.
    """
    spec = importlib.util.find_spec("kcorrect")
    if spec is None or spec.origin is None:
        raise SourceError(
            "the default sky is made of the galaxies in the kcorrect package, which is not installed",
            "pip install 'skymill[sandbox]', or give a recorded sky's folder",
        )
    with fits.open(Path(spec.origin).parent / _FILE, memmap=False) as hdus:
        data = hdus[1].data
        column = {name: np.asarray(data[name], dtype=np.float64) for name in data.names}
    return Objects(
        kind=np.full(len(data), GALAXY),
        ra=column["RA"],
        dec=column["DEC"],
        z=column["Z"],
        flux=column["MODELFLUX"],
        ivar=column["MODELFLUX_IVAR"],
        petro_flux=column["PETROFLUX"],
        petro_ivar=column["PETROFLUX_IVAR"],
        extinction=column["EXTINCTION"],
    )


def with_point_sources(galaxies: Objects, rng: np.random.Generator) -> Objects:
    """Add stars and quasars, each within a degree of some galaxy.

    Parameters
    ----------
    galaxies : Objects
        What there is.
    rng : numpy.random.Generator
        Where chance comes from.

    Returns
    -------
    Objects
        Galaxies first, then stars, then quasars.
    """
    n = _STARS + _QSOS
    host = rng.choice(len(galaxies), n, replace=False)
    dec = np.clip(galaxies.dec[host] + rng.uniform(-0.5, 0.5, n), -89.0, 89.0)
    ra = (galaxies.ra[host] + rng.uniform(-0.5, 0.5, n) / np.cos(np.radians(dec))) % 360.0
    is_star = np.arange(n) < _STARS
    r = np.where(is_star, rng.uniform(15.0, 19.5, n), rng.uniform(17.0, 19.8, n))
    # Stars follow a straight stellar locus in g - r; quasars are blue and nearly flat.
    g_r = np.where(is_star, rng.uniform(0.2, 1.3, n), rng.normal(0.2, 0.12, n))
    u_g = np.where(is_star, 0.7 + 1.2 * g_r, rng.normal(0.25, 0.15, n))
    r_i = np.where(is_star, 0.4 * g_r - 0.03, rng.normal(0.15, 0.08, n))
    i_z = np.where(is_star, 0.22 * g_r - 0.03, rng.normal(0.08, 0.08, n))
    extinction = galaxies.extinction[host]
    mags = np.stack([r + g_r + u_g, r + g_r, r, r - r_i, r - r_i - i_z], axis=1) + extinction
    flux = 10 ** (0.4 * (22.5 - mags))
    ivar = 1 / (np.array([0.5, 0.1, 0.15, 0.25, 0.9]) ** 2 + (0.008 * flux) ** 2)
    z = np.where(is_star, rng.normal(0.0, 2e-4, n), rng.gamma(4.0, 0.4, n) + 0.1)
    kind = np.where(is_star, STAR, QSO)
    points = Objects(kind, ra, dec, z, flux, ivar, flux, ivar, extinction)
    pairs = ((getattr(galaxies, name), getattr(points, name)) for name in Objects.__dataclass_fields__)
    return Objects(*(np.concatenate(pair) for pair in pairs))


def asinh_mag(flux: Floats) -> Floats:
    """Return SDSS's asinh magnitudes of ugriz fluxes ``(n, 5)`` [nanomaggy] (Lupton, Gunn & Szalay 1999)."""
    return -2.5 / np.log(10) * (np.arcsinh(flux * 1e-9 / (2 * _SOFTENING)) + np.log(_SOFTENING))


def asinh_mag_err(flux: Floats, ivar: Floats) -> Floats:
    """Return the errors of `asinh_mag` [mag]; -9999 where there is no inverse variance."""
    error = np.sqrt(1 / np.where(ivar > 0, ivar, 1.0)) * 1e-9
    mag = 2.5 / np.log(10) * error / np.hypot(flux * 1e-9, 2 * _SOFTENING)
    return np.where(ivar > 0, mag, -9999.0)


# Softening b of ugriz [maggy], SDSS's standard table.
_SOFTENING = np.array([1.4e-10, 0.9e-10, 1.2e-10, 1.8e-10, 7.4e-10])
