"""Give galaxies a shape: size, bulge, disk, flattening, as their photometry and redshift say."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.sandbox.catalogue import GALAXY, Objects

Floats = NDArray[np.float64]
_HUBBLE_KM_S_MPC, _OMEGA_M, _LIGHT_KM_S = 70.0, 0.3, 299792.458
# g - r of passive galaxies against redshift, not corrected for anything but Galactic extinction.
_RED_Z = np.array([0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.7])
_RED_GR = np.array([0.72, 0.83, 0.95, 1.08, 1.22, 1.36, 1.50, 1.62, 1.71, 1.85, 1.95])


@dataclass(frozen=True)
class Shapes:
    """What galaxies look like, ``(n,)`` each; stars and quasars have radius 0.

    Attributes
    ----------
    bulge_share : numpy.ndarray
        Share of the r-band light in the de Vaucouleurs bulge.
    bulge_arcsec, disk_arcsec : numpy.ndarray
        Half-light radii along the major axis.
    bulge_ratio, disk_ratio : numpy.ndarray
        Minor over major axis.
    angle_deg : numpy.ndarray
        Position angle, north through east.
    abs_mag_r : numpy.ndarray
        Absolute r magnitude.
    early : numpy.ndarray
        How much a galaxy is an early type, 0 to 1.
    """

    bulge_share: Floats
    bulge_arcsec: Floats
    disk_arcsec: Floats
    bulge_ratio: Floats
    disk_ratio: Floats
    angle_deg: Floats
    abs_mag_r: Floats
    early: Floats


def comoving_mpc(z: Floats) -> Floats:
    """Return comoving distances [Mpc] in a flat universe of H0 = 70 km/s/Mpc and matter density 0.3."""
    grid = np.linspace(0.0, max(float(np.max(z)), 1e-3), 2000)
    inverse = 1 / np.sqrt(_OMEGA_M * (1 + grid) ** 3 + 1 - _OMEGA_M)
    steps = np.diff(grid) * (inverse[1:] + inverse[:-1]) / 2
    distance = np.concatenate([[0.0], np.cumsum(steps)]) * _LIGHT_KM_S / _HUBBLE_KM_S_MPC
    return np.interp(z, grid, distance)


def size_kpc(abs_mag_r: Floats, early: Floats) -> Floats:
    """Return typical half-light radii [kpc], after the size-luminosity relations of Shen et al. (2003).

    Parameters
    ----------
    abs_mag_r : numpy.ndarray
        Absolute r magnitude.
    early : numpy.ndarray
        0 for late types, 1 for early types; between, the geometric mean weighted so.
    """
    log_early = -0.4 * 0.65 * abs_mag_r - 5.06
    bright = np.log10(1 + 10 ** (-0.4 * (abs_mag_r + 20.91)))
    log_late = -0.4 * 0.26 * abs_mag_r + (0.51 - 0.26) * bright - 1.71
    return 10 ** (early * log_early + (1 - early) * log_late)


def shape_all(objects: Objects, rng: np.random.Generator) -> Shapes:
    """Draw the shapes of all objects.

    Parameters
    ----------
    objects : Objects
        Photometry and redshift.
    rng : numpy.random.Generator
        Where the scatter comes from.
    """
    n = len(objects)
    z = np.clip(objects.z, 1e-3, None)
    mags = 22.5 - 2.5 * np.log10(np.clip(objects.flux, 0.05, None)) - objects.extinction
    distance = comoving_mpc(z)
    abs_mag = mags[:, 2] - 5 * np.log10(distance * (1 + z) * 1e5) - z  # K(z) in r is about z
    redness = (mags[:, 1] - mags[:, 2]) - np.interp(z, _RED_Z, _RED_GR)
    early = 1 / (1 + np.exp(-(redness + 0.13) / 0.05))
    bulge_share = np.clip(0.05 + 0.85 * early + rng.normal(0, 0.10, n), 0.0, 1.0)
    radius_kpc = size_kpc(np.clip(abs_mag, -24.5, -15.0), early) * np.exp(rng.normal(0, 0.28, n))
    arcsec_per_kpc = np.degrees((1 + z) / (distance * 1e3)) * 3600
    radius = np.clip(radius_kpc * arcsec_per_kpc, 0.25, 45.0) * (objects.kind == GALAXY)
    inclination = np.sqrt(0.2**2 + (1 - 0.2**2) * rng.uniform(0, 1, n) ** 2)
    return Shapes(
        bulge_share=bulge_share,
        bulge_arcsec=radius * (0.35 + 0.65 * bulge_share),
        disk_arcsec=radius * 1.1,
        bulge_ratio=np.clip(rng.normal(0.78, 0.14, n), 0.4, 1.0),
        disk_ratio=inclination,
        angle_deg=rng.uniform(0, 180, n),
        abs_mag_r=abs_mag,
        early=early,
    )
