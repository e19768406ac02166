"""The astrophysical population of test group 2: model M12 of Babak et al. 2017, as far as it is public.

PRD 95, 103012: black holes of 10^4 to 10^7 solar masses, as many per logarithm of mass as M^-0.3 at any redshift up
to 4.5; inspirals of 10 solar masses into each at a rate that goes with M^-0.19; M12 is its most fruitful variant:
nearly maximal spins (0.98), no stellar cusp worn away by mergers. Sources are alike in comoving volume, and their
clocks run slow by 1 + z.
"""

import functools
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.emri.evolution import before_plunge
from pipeline.sources.emri.expected import differential_volume, expected_snr, luminosity_distance_gpc
from pipeline.sources.emri.source import Source
from pipeline.sources.emri.tianqin import POINTING
from schemas.errors import ModelError
from schemas.imaging import EMRI_SAMPLES, EMRI_STEP_S

Floats = NDArray[np.float64]

MASSES, SPIN, MU_SOLAR, LEAST_SNR = (1e4, 1e7), 0.98, 10.0, 50.0
SLOPE = -0.3 - 0.19
FURTHEST_Z = {"schwarzschild": 0.7, "kerr": 4.5}
"""From further away nothing is heard at an SNR of 50 (the best placed source of the best mass: a test looks), or,
with the other cutoff, the model does not go further."""
_MARGIN = 1.15
"""By how much a source may be louder than the loudest of those that the bound was made from; decided here."""


def draw(random: np.random.Generator, cutoff: str) -> dict[str, Any]:
    """Return mass, spin and redshift of an inspiral that may be louder than `LEAST_SNR`, and that limit.

    Parameters
    ----------
    random : Generator
        Where draws come from.
    cutoff : str
        Where inspirals end, see `Source`.
    """
    low, high = (mass**SLOPE for mass in MASSES)
    z = np.linspace(0, FURTHEST_Z[cutoff], 501)
    density = differential_volume(z) / (1 + z)
    cumulative = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    while True:
        mass = float((low + random.random() * (high - low)) ** (1 / SLOPE))
        drawn = float(np.interp(random.random() * cumulative[-1], cumulative, z))
        if loudest_snr(mass, drawn, cutoff) > LEAST_SNR:
            return {"mass_solar": mass, "spin": SPIN, "z": drawn, "least_snr": LEAST_SNR}


def loudest_snr(mass_solar: float, z: float, cutoff: str) -> float:
    """Return a signal-to-noise ratio that no inspiral of M12 with this mass and redshift exceeds."""
    masses, heights = _bound(cutoff)
    height = np.interp(np.log(mass_solar * (1 + z)), masses, heights)
    # A compact object of less redshifted mass is less loud, by a power of it between 1/2 and 1.
    lighter = ((1 + z) / (1 + FURTHEST_Z[cutoff])) ** 0.5
    return float(_MARGIN * height * lighter / luminosity_distance_gpc(round(z, 4)))


@functools.cache
def _bound(cutoff: str) -> tuple[Floats, Floats]:
    """Return logarithms of redshifted masses, and the loudest SNR times Gpc found at each, of face-on inspirals."""
    furthest = FURTHEST_Z[cutoff]
    theta, phi = POINTING
    masses = np.log(MASSES[0]) + np.arange(0, np.log(MASSES[1] / MASSES[0] * (1 + furthest)) + 0.5, 0.5)
    heights = np.zeros_like(masses)
    for place, mass in enumerate(np.exp(masses)):
        for iota, eccentricity in ((0.01, 0.0), (0.01, 0.2), (np.pi - 0.01, 0.0), (np.pi - 0.01, 0.2)):
            # At the furthest redshift the compact object is heaviest, and the orbit plunges as the window closes.
            source = Source(
                *(
                    float(mass / (1 + furthest)),
                    MU_SOLAR,
                    SPIN,
                    0.0,
                    0.0,
                    iota,
                    theta,
                    phi,
                    theta + 0.02,
                    phi,
                ),
                *(0.0, 0.0, 0.0, furthest, cutoff),
            )
            try:
                e0, p0 = before_plunge(source, eccentricity, EMRI_SAMPLES * EMRI_STEP_S)
                found = expected_snr(replace(source, e0=e0, p0=p0))
            except ModelError:
                continue
            heights[place] = max(heights[place], found * luminosity_distance_gpc(furthest))
    return masses, heights
