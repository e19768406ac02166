"""Which galaxies there are: magnitude, redshift, type, size, bulge and disc."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, gammaincinv

from pipeline.sandbox.csst.bands import BANDS, ab_flux
from pipeline.sandbox.csst.ingredients import bulge_recipe, disc_recipe
from pipeline.sandbox.csst.palette import EBV_MAX, Z_MAX, band_fluxes
from pipeline.sandbox.morphology import comoving_mpc

Floats = NDArray[np.float64]
BRIGHT_MAG, FAINT_MAG = 19.0, 24.7
"""Range of i magnitudes that are drawn."""
Z_MIN = 0.01
# Counts rise as 10^(0.31 i) (LSST Science Book 2.0, 2009, section 3.7). At a magnitude N(z) ~ z^2 exp(-z / z0)
# (the same), whose median is 2.674 z0 and is that of COSMOS, 0.18 i - 3.3 (Leauthaud et al. 2007,
# ApJS 172, 219, for 22 < i < 25; continued here to 19).
_COUNT_SLOPE, _MEDIAN_SLOPE, _MEDIAN_ZERO, _MEDIAN_Z0 = 0.31, 0.18, -3.3, 2.674
# van der Wel et al. (2014, ApJ 788, 28), abstract and fig. 6: radii [kpc] of 5e10 solar masses at z = 0, powers
# of (1 + z) and of the mass, scatter [dex], for late and early types. Early types below 2e10 follow the late
# ones' power.
_SIZE_KPC, _SIZE_Z, _SIZE_MASS, _SIZE_DEX = (8.9, 5.6), (-0.75, -1.48), (0.22, 0.76), (0.18, 0.12)
_PIVOT_MASS, _EARLY_BREAK = 5e10, 2e10
_SUN_I, _MASS_TO_LIGHT = 4.53, (0.6, 2.0)  # AB magnitude of the Sun (Willmer 2018); by type, decided here
_RADIUS_RANGE_ARCSEC = (0.04, 1.6)


@dataclass(frozen=True)
class Galaxy:
    """What is true of one galaxy.

    Attributes
    ----------
    z : float
        Redshift.
    early : bool
        Whether it has stopped forming stars.
    bulge_share : float
        Share of the i-band light in the bulge.
    radius_arcsec : float
        Half-light radius along the major axis.
    bulge_ratio, disc_ratio : float
        Minor over major axis.
    angle_deg : float
        Position angle, north through east.
    shift_arcsec : tuple of float
        Where it is from the image's centre, to the right and up.
    bulge_flux, disc_flux : numpy.ndarray, ``(7,)``
        Fluxes [erg/s/cm^2/Hz].
    """

    z: float
    early: bool
    bulge_share: float
    radius_arcsec: float
    bulge_ratio: float
    disc_ratio: float
    angle_deg: float
    shift_arcsec: tuple[float, float]
    bulge_flux: Floats
    disc_flux: Floats


class Population:
    """Galaxies drawn by chance, each from its own generator."""

    def __init__(self) -> None:
        self._z = np.linspace(0.0, Z_MAX, 401)
        self._mpc = comoving_mpc(self._z)

    def draw(self, rng: np.random.Generator) -> Galaxy:
        """Draw a galaxy.

        Parameters
        ----------
        rng : numpy.random.Generator
            Where all chance comes from.
        """
        mag = _draw_mag(rng.random())
        z = _draw_z(mag, rng.random())
        mpc = float(np.interp(z, self._z, self._mpc))
        # A spectrum that is flat per frequency stands in for the K correction: 2.5 log (1 + z).
        abs_mag = mag - 5 * np.log10(mpc * (1 + z) * 1e5) + 2.5 * np.log10(1 + z)
        early = bool(rng.random() < early_share(abs_mag, z))
        kpc = _draw_kpc(abs_mag, z, early, scatter=rng.normal())
        radius = np.degrees(kpc * (1 + z) / (mpc * 1e3)) * 3600
        share = float(np.clip(rng.normal(0.70, 0.15) if early else rng.normal(0.15, 0.15), 0.0, 0.95))
        bulge_flux, disc_flux = _lit(z, early, share=share, flux_i=ab_flux(mag), rng=rng)
        return Galaxy(
            z=z,
            early=early,
            bulge_share=share,
            radius_arcsec=float(np.clip(radius, *_RADIUS_RANGE_ARCSEC)),
            bulge_ratio=float(np.clip(rng.normal(0.78, 0.14), 0.4, 1.0)),
            # A disc of thickness 0.2 seen from any side (Hubble 1926).
            disc_ratio=float(np.sqrt(0.2**2 + (1 - 0.2**2) * rng.random() ** 2)),
            angle_deg=float(rng.uniform(0, 180)),
            shift_arcsec=(float(rng.uniform(-0.0375, 0.0375)), float(rng.uniform(-0.0375, 0.0375))),
            bulge_flux=bulge_flux,
            disc_flux=disc_flux,
        )


def early_share(abs_mag: float, z: float) -> float:
    """Return which share of the galaxies of an absolute i magnitude and redshift are early types.

    Most of the luminous and few of the faint ones, fewer at high redshift: the trend of Muzzin et al.
    (2013, ApJ 777, 18); the numbers were decided here.
    """
    luminous = 1 / (1 + np.exp(np.clip((abs_mag + 21.0) / 0.5, -50, 50)))
    return float((0.04 + 0.76 * luminous) / (1 + z) ** 0.8)


def _draw_mag(chance: float) -> float:
    steps = 10 ** (_COUNT_SLOPE * (FAINT_MAG - BRIGHT_MAG))
    return float(BRIGHT_MAG + np.log10(1 + chance * (steps - 1)) / _COUNT_SLOPE)


def _draw_z(mag: float, chance: float) -> float:
    z0 = (_MEDIAN_SLOPE * mag + _MEDIAN_ZERO) / _MEDIAN_Z0
    # Cut to the range by drawing between the cumulative shares of its ends.
    low, high = gammainc(3, Z_MIN / z0), gammainc(3, Z_MAX / z0)
    return float(np.clip(gammaincinv(3, low + chance * (high - low)) * z0, Z_MIN, Z_MAX))


def _draw_kpc(abs_mag: float, z: float, early: bool, *, scatter: float) -> float:
    mass = _MASS_TO_LIGHT[early] * 10 ** (0.4 * (_SUN_I - abs_mag))
    radius = _SIZE_KPC[early] * (1 + z) ** _SIZE_Z[early] * 10 ** (_SIZE_DEX[early] * scatter)
    if early and mass < _EARLY_BREAK:
        radius *= (_EARLY_BREAK / _PIVOT_MASS) ** _SIZE_MASS[True]
        return float(radius * (mass / _EARLY_BREAK) ** _SIZE_MASS[False])
    return float(radius * (mass / _PIVOT_MASS) ** _SIZE_MASS[early])


def _lit(
    z: float, early: bool, *, share: float, flux_i: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Give bulge and disc their spectra, scaled to their shares of the i-band light."""
    # Reddening: little in early types; in late ones as in Calzetti's sample, 0 to 0.5 mag.
    dust = abs(rng.normal(0, 0.04)) if early else rng.gamma(2.0, 0.06)
    bulge = band_fluxes(z, ebv=0.7 * min(dust, EBV_MAX), recipe=bulge_recipe(z, early, rng))
    disc = band_fluxes(z, ebv=min(dust, EBV_MAX), recipe=disc_recipe(z, early, rng))
    i = BANDS.index("i")
    return bulge * (flux_i * share / bulge[i]), disc * (flux_i * (1 - share) / disc[i])
