"""What takes light away: dust within a galaxy, and hydrogen between the galaxy and us."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LYMAN_LIMIT_A = 911.75
# Lyman alpha to delta: wavelengths [Angstrom] and coefficients of Madau (1995), eq. 15 and footnote.
_SERIES = ((1215.67, 0.0036), (1025.72, 1.7e-3), (972.537, 1.2e-3), (949.743, 9.3e-4))


def dust_transmission(wavelength_a: Floats, ebv: float) -> Floats:
    """Return the share of light that leaves a dusty galaxy (Calzetti et al. 2000, ApJ 533, 682, eq. 2 to 4).

    Parameters
    ----------
    wavelength_a : numpy.ndarray, ``(n,)``
        Rest wavelengths [Angstrom]. Below 1200, where the law ends, its value at 1200 is kept.
    ebv : float
        Colour excess of the starlight [mag].
    """
    micron = np.clip(wavelength_a, 1200.0, 22000.0) / 1e4
    blue = 2.659 * (-2.156 + 1.509 / micron - 0.198 / micron**2 + 0.011 / micron**3) + 4.05
    red = 2.659 * (-1.857 + 1.040 / micron) + 4.05
    return 10 ** (-0.4 * ebv * np.where(micron < 0.63, blue, red))


def hydrogen_transmission(wavelength_a: Floats, z: float) -> Floats:
    """Return the mean share of light that intergalactic hydrogen lets through (Madau 1995, ApJ 441, 18).

    Parameters
    ----------
    wavelength_a : numpy.ndarray, ``(n,)``
        Observed wavelengths [Angstrom].
    z : float
        Redshift of the source.
    """
    depth = np.zeros_like(wavelength_a)
    for line_a, strength in _SERIES:
        blueward = wavelength_a < line_a * (1 + z)
        depth += np.where(blueward, strength * (wavelength_a / line_a) ** 3.46, 0)
    limit = np.clip(wavelength_a / LYMAN_LIMIT_A, 1.0, 1 + z)  # a photon starts to ionise here on its way
    source = 1 + z
    # Footnote 3 of the paper: photoelectric absorption between the limit and the source.
    depth += (
        0.25 * limit**3 * (source**0.46 - limit**0.46)
        + 9.4 * limit**1.5 * (source**0.18 - limit**0.18)
        - 0.7 * limit**3 * (limit**-1.32 - source**-1.32)
        - 0.023 * (source**1.68 - limit**1.68)
    )
    return np.exp(-depth)
