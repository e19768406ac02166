"""Spectra of stellar populations from first principles, and the lines of the gas that young stars ionise.

No library of spectra is at hand, so the populations are made of black bodies: a Salpeter (1955) mass function on
a main sequence with published luminosities and life times, cooler giants beside it, and the two breaks that
redshifts are read from: Balmer's in hot stars, the metals' at 4000 Angstrom in cool ones. Old populations come
out red with a strong break and little ultraviolet, young ones blue with a slope near -2; no more is claimed,
and photometric redshifts trained on these spectra are of no use on real galaxies.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.sandbox.csst.attenuation import LYMAN_LIMIT_A

Floats = NDArray[np.float64]

WAVELENGTH_A = np.geomspace(880.0, 11500.0, 1200)
"""Rest wavelengths of all spectra [Angstrom]."""
AGES_GYR = np.array([0.3, 1.0, 3.0, 10.0])
"""Ages of the populations that were born at once."""
INGREDIENTS = ("young", "age_0.3", "age_1", "age_3", "age_10", "hydrogen", "oxygen")
"""What a galaxy's light is made of, in the order of `spectra`; all but the two of gas are stars."""

_SECOND_RADIATION_A_K = 1.4388e8  # h c / k
_STARBURST_GYR = 0.1
_SOLAR_K, _HOTTEST_K = 5780.0, 48000.0
_LEAST_GYR = 0.003  # the heaviest stars burn for 3 million years (Schaller et al. 1992)
# Giants give more than half of an old population's light, a twentieth of a starburst's, by the fuel that is left
# to burn (Renzini & Buzzoni 1986); their temperatures are those of the clump and of the upper branch.
_GIANT_AGE_GYR, _GIANT_SHARE = np.array([0.1, 1.0, 10.0]), np.array([0.05, 0.45, 0.55])
_GIANTS_K, _GIANT_WEIGHTS = np.array([4800.0, 4100.0]), np.array([0.6, 0.4])
# Lines [Angstrom]; strengths against H alpha: case B at 10^4 K (Osterbrock & Ferland 2006), [O II] of Kennicutt
# (1998), [O III] as strong as H beta, which a galaxy's own metals then change.
_HYDROGEN = ((6562.8, 1.0), (4861.3, 0.350), (4340.5, 0.164), (3728.0, 0.56))
_OXYGEN = ((5006.8, 0.350), (4958.9, 0.117))
# Kennicutt (1998, ARA&A 36, 189), eq. 1 and 2: H alpha [erg/s] by the light at 1500 A [erg/s/Hz], both by
# the rate at which stars form.
_HALPHA_HZ = 1.4e-28 / 7.9e-42
_LIGHT_A_HZ = 2.998e18
_REFERENCE_A = (5000.0, 5500.0)


def spectra() -> Floats:
    """Return the spectra of all `INGREDIENTS`, ``(7, n)``, at `WAVELENGTH_A`.

    Returns
    -------
    numpy.ndarray
        Flux per wavelength. Stars are scaled to a mean of one between 5000 and 5500 Angstrom; the gas is what
        belongs to ``young``.
    """
    young = _normal(_population(_STARBURST_GYR, at_once=False))
    old = [_normal(_population(age, at_once=True)) for age in AGES_GYR]
    per_hz = np.interp(1500.0, WAVELENGTH_A, young) * 1500.0**2 / _LIGHT_A_HZ
    halpha = _HALPHA_HZ * per_hz
    return np.array([young, *old, halpha * _lines(_HYDROGEN), halpha * _lines(_OXYGEN)])


def _population(age_gyr: float, *, at_once: bool) -> Floats:
    """Return the light of stars born at once, or steadily, over an age."""
    mass = np.geomspace(0.1, 100, 120)
    luminosity = _luminosity(mass)
    lifetime_gyr = 10 * mass / luminosity + _LEAST_GYR
    alive = lifetime_gyr > age_gyr if at_once else np.minimum(lifetime_gyr, age_gyr)
    numbers = mass ** (-2.35 + 1) * alive  # a step of the grid is proportional to the mass
    kelvin = np.minimum(_SOLAR_K * mass**0.6, _HOTTEST_K)
    light = numbers * luminosity
    share = np.interp(age_gyr, _GIANT_AGE_GYR, _GIANT_SHARE)
    giants = light.sum() * share / (1 - share) * _GIANT_WEIGHTS
    parts = np.append(light, giants), _stars(np.append(kelvin, _GIANTS_K))
    return np.asarray(np.einsum("m,mw->w", *parts))


def _luminosity(mass: Floats) -> Floats:
    """Return main-sequence luminosities by mass, both solar (Salaris & Cassisi 2005, Duric 2004)."""
    pieces = [0.23 * mass**2.3, mass**4, 1.4 * mass**3.5, 3.2e4 * mass]
    return np.select([mass < 0.43, mass < 2, mass < 55], pieces[:3], pieces[3])


def _stars(kelvin: Floats) -> Floats:
    """Return the spectra ``(k, n)`` of stars of unit luminosity: black bodies with breaks.

    The depth of the breaks was set by eye after the classic sequence: Balmer's is deepest, 0.5 dex, near 9500 K;
    the metals', 0.2 dex at 4000 A and 0.3 more below 2800 A, vanish above 6500 K.
    """
    hot = kelvin[:, None]
    planck = WAVELENGTH_A**-5.0 / np.expm1(_SECOND_RADIATION_A_K / (WAVELENGTH_A * hot))
    # Scaled by the integral over all wavelengths, pi^4 / 15 (k T / h c)^4.
    planck /= np.pi**4 / 15 * (hot / _SECOND_RADIATION_A_K) ** 4
    balmer = 0.5 * np.exp(-0.5 * (np.log(hot / 9500) / 0.45) ** 2)
    metals = 1 / (1 + np.exp((hot - 6500) / 400))
    dex = balmer * _below(3750, 60) + metals * (0.2 * _below(4000, 40) + 0.3 * _below(2800, 80))
    blanketed = planck * 10**-dex * (WAVELENGTH_A > LYMAN_LIMIT_A)
    # What is blocked in the blue comes out in the red: a star's luminosity stays what it is.
    steps = np.gradient(WAVELENGTH_A)
    return np.asarray(blanketed * ((planck @ steps) / (blanketed @ steps))[:, None])


def _below(edge_a: float, width_a: float) -> Floats:
    return np.asarray(1 / (1 + np.exp(np.clip((WAVELENGTH_A - edge_a) / width_a, -50, 50))))


def _lines(lines: tuple[tuple[float, float], ...]) -> Floats:
    """Return narrow lines of given strengths, each spread over its two nearest wavelengths."""
    flux = np.zeros_like(WAVELENGTH_A)
    widths = np.gradient(WAVELENGTH_A)
    for line_a, strength in lines:
        right = int(np.searchsorted(WAVELENGTH_A, line_a))
        share = (line_a - WAVELENGTH_A[right - 1]) / (WAVELENGTH_A[right] - WAVELENGTH_A[right - 1])
        flux[right - 1] += strength * (1 - share) / widths[right - 1]
        flux[right] += strength * share / widths[right]
    return flux


def _normal(spectrum: Floats) -> Floats:
    low, high = np.searchsorted(WAVELENGTH_A, _REFERENCE_A)
    return np.asarray(spectrum / spectrum[low:high].mean())
