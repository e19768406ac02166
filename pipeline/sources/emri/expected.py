"""What a source's signal-to-noise ratio will be, without its waveform.

A harmonic changes its frequency slowly, so each short piece of it adds 2 <h^2> dt / S_n(f) to the square of the
ratio. Summing that over moments of the window costs a tenth of the waveform; a test holds the two together.
"""

import functools

import numpy as np
from astropy.cosmology import Planck18
from numpy.typing import NDArray

from pipeline.sources.emri.evolution import ALPHA, ECCENTRICITY, FREQUENCY, GAMMA, evolve, rates
from pipeline.sources.emri.kludge import heard_harmonics, orientation, scaled_amplitudes
from pipeline.sources.emri.source import GIGAPARSEC_S, Source
from pipeline.sources.emri.tianqin import patterns, polarisation_axes, strain_psd
from schemas.errors import ModelError
from schemas.imaging import EMRI_SAMPLES, EMRI_STEP_S

Floats = NDArray[np.float64]

MOMENTS = 600
_FLOOR_HZ = 1e-6  # nothing is heard there, and the noise is infinite at zero


@functools.lru_cache(maxsize=4096)
def luminosity_distance_gpc(z: float) -> float:
    """Return the luminosity distance [Gpc] (Planck 2018 cosmology, as astropy has it).

    >>> round(luminosity_distance_gpc(0.1), 3)
    0.476
    """
    return float(Planck18.luminosity_distance(z).to_value("Gpc"))


def differential_volume(z: Floats) -> Floats:
    """Return the comoving volume of a unit of redshift [Gpc^3 / sr], shaped as `z` (the same cosmology)."""
    return np.asarray(Planck18.differential_comoving_volume(z).to_value("Gpc3 / sr"))


def expected_snr(source: Source) -> float:
    """Return the signal-to-noise ratio of an inspiral at the luminosity distance of its redshift.

    Raises
    ------
    ModelError
        The orbit is outside the kludge's validity, or the redshift is 0: that is no distance.
    """
    if not source.z > 0:
        raise ModelError(f"expected a redshift above 0, found {source.z:g}", "choose how far the source is")
    inspiral = evolve(source, EMRI_SAMPLES * EMRI_STEP_S)
    step_s = inspiral.end_s / MOMENTS
    orbit = inspiral.at((np.arange(MOMENTS, dtype=np.float64) + 0.5) * step_s)
    view = orientation(source, orbit[GAMMA], orbit[ALPHA])
    # Both channels together hear a polarisation equally well at any moment of the satellites' orbit.
    plus, cross = patterns(*polarisation_axes(source.direction, source.spin_axis))
    heard = np.outer(plus, view.axes.real) - np.outer(cross, view.axes.imag)
    heard_crossed = np.outer(plus, view.axes.imag) + np.outer(cross, view.axes.real)
    flat = (1 - view.towards**2) ** 2 * np.sum(heard**2, axis=0)
    round_ = (1 + view.towards**2) ** 2 * np.sum(heard**2, axis=0)
    round_ += 4 * view.towards**2 * np.sum(heard_crossed**2, axis=0)
    frequency, e = orbit[FREQUENCY], orbit[ECCENTRICITY]
    shift = rates(source, frequency, e)[GAMMA] / np.pi
    total = 0.0
    for n in heard_harmonics(source, orbit, EMRI_STEP_S):
        a, b, c = scaled_amplitudes(source, orbit, n=n, step_s=EMRI_STEP_S)
        # The pericentre's advance splits a harmonic in two, and leaves its part along the orbit's axis alone.
        above, below = (
            strain_psd(np.maximum(np.abs(n * frequency + by), _FLOOR_HZ)) for by in (shift, -shift)
        )
        total += float(np.sum(round_ * ((a + b) ** 2 / above + (a - b) ** 2 / below) / 4))
        total += float(np.sum(flat * c**2 / strain_psd(n * frequency)))
    distance = luminosity_distance_gpc(source.z) * GIGAPARSEC_S
    return float(np.sqrt(total * step_s)) * source.mu_s / distance
