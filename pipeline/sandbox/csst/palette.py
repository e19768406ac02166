"""Band fluxes of a galaxy's light, by redshift, reddening and what it is made of.

They are read from a table of all ingredients, made once a process in a fraction of a second: means over a
band as a photon counter sees them (Hogg et al. 2002, astro-ph/0210394, eq. 2), per frequency.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.sandbox.csst.attenuation import dust_transmission, hydrogen_transmission
from pipeline.sandbox.csst.bands import BANDS, transmissions
from pipeline.sandbox.csst.starlight import INGREDIENTS, WAVELENGTH_A, spectra

Floats = NDArray[np.float64]
Z_MAX = 4.0
_STEP_Z = 0.01
_STEP_EBV = 0.05
EBV_MAX = 0.6


def band_fluxes(z: float, *, ebv: float, recipe: Floats) -> Floats:
    """Return band fluxes ``(7,)``, in a unit of their own: a galaxy's magnitude scales them.

    Parameters
    ----------
    z : float
        Redshift, 0 to 4.
    ebv : float
        Reddening of stars and gas, 0 to 0.6 [mag].
    recipe : numpy.ndarray, ``(7,)``
        How much there is of each of `INGREDIENTS`, before dust.
    """
    table = _table()
    row, upper = _between(z, _STEP_Z, len(table))
    column, right = _between(ebv, _STEP_EBV, table.shape[1])
    corner = table[row : row + 2, column : column + 2]
    blend = np.array([1 - upper, upper])[:, None] * np.array([1 - right, right])
    return np.asarray(np.einsum("zekb,ze,k->b", corner, blend, recipe))


@cache
def _table() -> Floats:
    """Return band fluxes by redshift, reddening and ingredient, ``(401, 13, 7, 7)``."""
    redshifts = np.arange(round(Z_MAX / _STEP_Z) + 1) * _STEP_Z
    reddenings = np.arange(round(EBV_MAX / _STEP_EBV) + 1) * _STEP_EBV
    dust = np.array([dust_transmission(WAVELENGTH_A, float(ebv)) for ebv in reddenings])
    weighted = spectra() * WAVELENGTH_A * np.gradient(WAVELENGTH_A)  # a photon counter's
    flat = (dust[:, None, :] * weighted).reshape(-1, len(WAVELENGTH_A))
    table = np.array([_counted(flat, float(z)) for z in redshifts])
    return table.reshape(len(redshifts), len(reddenings), len(INGREDIENTS), len(BANDS))


def _counted(spectra_rest: Floats, z: float) -> Floats:
    """Return what the bands count of spectra ``(k, n)`` at a redshift, ``(k, 7)``."""
    observed = WAVELENGTH_A * (1 + z)
    curves = transmissions(observed) * hydrogen_transmission(observed, z) / _flat_spectrum()[:, None]
    total = np.zeros((len(spectra_rest), len(BANDS)))
    for band, curve in enumerate(curves):
        seen = np.flatnonzero(curve)
        if len(seen):
            part = slice(seen[0], seen[-1] + 1)
            # Not a product of BLAS, whose threads would be woken thousands of times for too little.
            total[:, band] = np.einsum("kw,w->k", spectra_rest[:, part], curve[part])
    return total


@cache
def _flat_spectrum() -> Floats:
    """Return what the bands count of a spectrum that is flat per frequency, ``(7,)``."""
    grid = np.geomspace(2400.0, 11100.0, 2000)
    return np.asarray((transmissions(grid) / grid * np.gradient(grid)).sum(axis=1))


def _between(value: float, step: float, size: int) -> tuple[int, float]:
    """Return the grid's place below a value, and the share of the place above."""
    place = min(max(value / step, 0.0), size - 1 - 1e-9)
    return int(place), place - int(place)
