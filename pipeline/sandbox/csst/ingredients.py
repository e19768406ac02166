"""Which stars a bulge and a disc are made of.

That bulges are old and discs young, with a colour gradient between them, is a choice of this mock: it lets an
image say more of the redshift than the sum of its light does, as real galaxies do, but by how much is
decided here.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.sandbox.csst.starlight import AGES_GYR, INGREDIENTS

Floats = NDArray[np.float64]
_HUBBLE_TIME_GYR = 13.97  # 1 / (70 km/s/Mpc)
_OMEGA_M = 0.3


def cosmic_age_gyr(z: float) -> float:
    """Return the age of a flat universe of H0 = 70 km/s/Mpc and matter density 0.3.

    The integral of Friedmann's equation has a closed form: 2 / (3 H0 sqrt(L)) arcsinh(sqrt(L / M) (1 + z)^-1.5),
    with M for matter and L = 1 - M for dark energy.
    """
    dark = 1 - _OMEGA_M
    ratio = np.sqrt(dark / _OMEGA_M) * (1 + z) ** -1.5
    return float(2 / 3 * _HUBBLE_TIME_GYR / np.sqrt(dark) * np.arcsinh(ratio))


def bulge_recipe(z: float, early: bool, rng: np.random.Generator) -> Floats:
    """Return a bulge's share of each of `INGREDIENTS`, ``(7,)``.

    Old stars, born when the universe had a tenth to a half of its age; a late type's bulge has up to a fifth
    of its light from young ones.
    """
    age = cosmic_age_gyr(z) * rng.uniform(0.5, 0.9)
    young = rng.uniform(0, 0.02 if early else 0.2)
    return _mixed(young, age, rng)


def disc_recipe(z: float, early: bool, rng: np.random.Generator) -> Floats:
    """Return a disc's share of each of `INGREDIENTS`, ``(7,)``.

    A late type has a fifth to nine tenths of its light from stars of the last 0.1 Gyr, more at high redshift,
    the rest from stars of 0.05 to 0.5 of the universe's age. Decided here, so that the median colours of
    galaxies are those of deep fields (g - r near 0.3 and r - i near 0.4 at i = 24).
    """
    if early:
        return _mixed(rng.uniform(0, 0.08), cosmic_age_gyr(z) * rng.uniform(0.4, 0.8), rng)
    young = np.clip(rng.beta(2.6, 2.2) + 0.08 * z, 0.05, 0.95)
    return _mixed(float(young), cosmic_age_gyr(z) * rng.uniform(0.05, 0.5), rng)


def _mixed(young: float, age_gyr: float, rng: np.random.Generator) -> Floats:
    """Mix young stars, and old ones between the two nearest ages; the gas follows the young with a scatter."""
    recipe = np.zeros(len(INGREDIENTS))
    recipe[0] = young
    place = float(np.interp(np.log(age_gyr), np.log(AGES_GYR), np.arange(len(AGES_GYR))))
    left = min(int(place), len(AGES_GYR) - 2)
    recipe[1 + left] = (1 - young) * (1 - (place - left))
    recipe[2 + left] = (1 - young) * (place - left)
    # Scatters of line strengths at a rate of star formation: 0.2 dex; [O III] to H beta: another 0.3 dex.
    gas = young * 10 ** rng.normal(0, 0.2)
    recipe[5], recipe[6] = gas, gas * 10 ** rng.normal(0, 0.3)
    return recipe
