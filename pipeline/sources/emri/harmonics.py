"""Radiation of a Kepler orbit, harmonic by harmonic (Peters & Mathews 1963, Phys. Rev. 131, 435)."""

import functools

import numpy as np
from numpy.typing import NDArray
from scipy.special import jv

Floats = NDArray[np.float64]

POWER_LEFT_OUT = 1e-4
"""Harmonics are taken until they carry all but this share of the power; decided here."""


def amplitudes(n: int, eccentricity: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the amplitudes of a_n, b_n, c_n in units of (2 pi M nu)^(2/3) mu, shaped as `eccentricity`.

    Barack & Cutler 2004, equation 8: a_n and c_n go with cos(n Phi), b_n with sin(n Phi).

    Parameters
    ----------
    n : int
        Number of the harmonic, from 1.
    eccentricity : ndarray
        Eccentricities in [0, 1).
    """
    e = eccentricity
    two_down, down, here, up, two_up = (jv(n + k, n * e) for k in (-2, -1, 0, 1, 2))
    a = -n * (two_down - 2 * e * down + 2 / n * here + 2 * e * up - two_up)
    b = -n * np.sqrt(1 - e**2) * (two_down - 2 * here + two_up)
    return a, b, 2 * here


def power(n: int, eccentricity: float) -> float:
    """Return g(n, e), the n-th harmonic's power over that of a circular orbit (Peters & Mathews, equation 20)."""
    a, b, c = (float(value) for value in amplitudes(n, np.asarray(eccentricity, np.float64)))
    # With a = (I11 - I22) / 2, b = I12, c = (I11 + I22) / 2 of each harmonic the flux goes with I_ij I_ij - I_ii^2 / 3.
    return n**2 / 32 * (a**2 + b**2 + c**2 / 3)


def enhancement(eccentricity: float) -> float:
    """Return the sum of `power` over all harmonics, in closed form (Peters & Mathews, equation 17)."""
    e2 = eccentricity**2
    return float((1 + 73 / 24 * e2 + 37 / 96 * e2**2) / (1 - e2) ** 3.5)


@functools.lru_cache(maxsize=256)
def how_many(eccentricity: float) -> int:
    """Return how many harmonics carry all but `POWER_LEFT_OUT` of the power; at least 4."""
    total, found, n = enhancement(eccentricity), 0.0, 0
    while n < 4 or found < (1 - POWER_LEFT_OUT) * total:
        n += 1
        found += power(n, eccentricity)
    return n
