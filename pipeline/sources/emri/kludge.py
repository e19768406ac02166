"""The analytic kludge waveform of an inspiral (Barack & Cutler 2004, PRD 69, 082005, "BC").

A Kepler orbit that precesses and shrinks radiates by the quadrupole formula: at each moment the harmonics of
Peters and Mathews, with the orbit's plane, pericentre and size of that moment. What changes slowly (amplitudes) is
computed at the edges of blocks of samples and is linear in between; phases are computed for every sample.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.emri.evolution import (
    ALPHA,
    ECCENTRICITY,
    FREQUENCY,
    GAMMA,
    PHASE,
    Inspiral,
    evolve,
    rates,
)
from pipeline.sources.emri.harmonics import amplitudes, how_many
from pipeline.sources.emri.source import GIGAPARSEC_S, Source
from pipeline.sources.emri.tianqin import ASTRONOMICAL_UNIT_S, delay_s
from schemas.errors import ModelError
from schemas.imaging import EMRI_SAMPLES, EMRI_STEP_S

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

BLOCK = 256
"""Samples between two computed amplitudes: 2.1 hours."""
TAPER_S = 3600.0
"""The signal fades over this time before the plunge instead of breaking off; decided here."""
_RAMP = 0.95


@dataclass(frozen=True)
class Orientation:
    """The orbit's plane at ``n`` moments, seen from the detector.

    ``towards`` is L.n, ``(n,)``; ``pericentre`` and ``axes`` are exp(2i gamma), with gamma from the line of sight's
    projection on the orbit, and exp(2i chi), with chi from p = n x L to `polarisation_axes`, ``(n,)``.
    """

    towards: Floats
    pericentre: Complexes
    axes: Complexes


def orientation(source: Source, gamma_rad: Floats, alpha_rad: Floats) -> Orientation:
    """Return how the orbit lies at the moments of these gamma and alpha, ``(n,)`` each (BC, section III C)."""
    n, s = source.direction, source.spin_axis
    # u and v are across S; at alpha = 0 the orbit's axis L leans towards u.
    v = np.cross(s, [0.0, 0.0, 1.0]) if abs(s[2]) < 1 - 1e-12 else np.array([0.0, 1.0, 0.0])
    v /= np.linalg.norm(v)
    u = np.cross(v, s)
    turn = np.exp(1j * alpha_rad)
    lean, side, along = np.cos(source.iota_rad), np.sin(source.iota_rad), float(n @ s)
    towards = lean * along + side * (turn.real * (u @ n) + turn.imag * (v @ n))
    across = side * (turn.real * (v @ n) - turn.imag * (u @ n))  # n . (S x L)
    # gamma is measured from L x S; beta leads from the line of sight's projection to there.
    beta = across + 1j * (lean * towards - along)
    chi = (lean - towards * along) + 1j * across
    return Orientation(towards, _twice(beta) * np.exp(2j * gamma_rad), _twice(chi))


def _twice(number: Complexes) -> Complexes:
    """Return exp(2i arg z), and 1 where z = 0: there the angle has no meaning."""
    square = number**2
    size = np.abs(square)
    return np.asarray(np.where(size > 0, square, 1) / np.where(size > 0, size, 1), np.complex128)


def strain(
    source: Source, *, distance_gpc: float = 1.0, samples: int = EMRI_SAMPLES, step_s: float = EMRI_STEP_S
) -> Floats:
    """Return h+ and hx ``(2, samples)`` as they pass TianQin, on `polarisation_axes`.

    The source's orbit is that of the moment the window opens, up to the light time from the Sun. Harmonics above
    the Nyquist frequency are left out; after the plunge there is nothing.

    Parameters
    ----------
    source : Source
        The inspiral.
    distance_gpc : float
        Luminosity distance [Gpc].
    samples : int
        A multiple of `BLOCK`.
    step_s : float
        Time between samples [s].

    Raises
    ------
    ModelError
        The orbit is outside the kludge's validity, or the number of samples does not fit.
    """
    if samples % BLOCK:
        raise ModelError(f"expected a multiple of {BLOCK} samples, found {samples}", "choose such a number")
    time = np.arange(samples + 1, dtype=np.float64) * step_s
    passed = time + delay_s(time, source.direction) + ASTRONOMICAL_UNIT_S
    inspiral = evolve(source, float(passed[-1]))
    orbit = inspiral.at(np.minimum(passed, inspiral.end_s))
    a, b, c = _quadrupole(source, orbit[:, ::BLOCK], orbit[PHASE, :-1], step_s)
    view = orientation(source, orbit[GAMMA, :-1], orbit[ALPHA, :-1])
    wave = on_axes(view, a, b, c)
    wave *= _fade(passed[:-1], inspiral) * (source.mu_s / (distance_gpc * GIGAPARSEC_S))
    return np.stack([wave.real, wave.imag])


def on_axes(view: Orientation, a: Floats, b: Floats, c: Floats) -> Complexes:
    """Return h+ + i hx of the orbit's second moments on the fixed polarisation axes (BC 10)."""
    turned = (a + 1j * b) * view.pericentre
    plus = -(1 + view.towards**2) * turned.real + (1 - view.towards**2) * c
    cross = 2 * view.towards * turned.imag
    return np.asarray((plus + 1j * cross) * view.axes.conj())


def _fade(passed: Floats, inspiral: Inspiral) -> Floats:
    if not inspiral.plunges:
        return np.ones_like(passed)
    left = np.clip((inspiral.end_s - passed) / TAPER_S, 0, 1)
    return np.asarray(np.sin(np.pi / 2 * left) ** 2)


def in_band(frequency_hz: Floats, step_s: float) -> Floats:
    """Return 1 below 95 % of the Nyquist frequency, 0 above all of it, and a smooth ramp between."""
    left = np.clip((1 - frequency_hz * 2 * step_s) / (1 - _RAMP), 0, 1)
    return np.asarray(np.sin(np.pi / 2 * left) ** 2)


def heard_harmonics(source: Source, orbit: Floats, step_s: float) -> range:
    """Return the numbers of the harmonics that matter at `orbit` ``(5, k)`` and are not always above Nyquist."""
    nu, e = orbit[FREQUENCY], orbit[ECCENTRICITY]
    shift = np.abs(rates(source, nu, e)[GAMMA]) / np.pi
    below = int(np.max((1 / (2 * step_s) + shift) / nu))
    return range(1, min(how_many(round(float(e.max()), 3)), below) + 1)


def scaled_amplitudes(
    source: Source, orbit: Floats, *, n: int, step_s: float
) -> tuple[Floats, Floats, Floats]:
    """Return the amplitudes of a_n, b_n, c_n over mu at `orbit` ``(5, k)``, without what is above Nyquist, ``(k,)``.

    The pericentre's advance splits a harmonic: (a_n + b_n) / 2 is heard at n nu + d gamma / pi dt, (a_n - b_n) / 2
    at n nu less that, c_n at n nu.
    """
    nu, e = orbit[FREQUENCY], orbit[ECCENTRICITY]
    shift = rates(source, nu, e)[GAMMA] / np.pi
    scale = (2 * np.pi * source.mass_s * nu) ** (2 / 3)
    a, b, c = amplitudes(n, e)
    above = (a + b) / 2 * in_band(np.abs(n * nu + shift), step_s)
    below = (a - b) / 2 * in_band(np.abs(n * nu - shift), step_s)
    return (above + below) * scale, (above - below) * scale, c * scale * in_band(n * nu, step_s)


def _quadrupole(source: Source, knots: Floats, phase: Floats, step_s: float) -> tuple[Floats, Floats, Floats]:
    """Return the sums of a_n, b_n and c_n over mu, ``(samples,)`` each."""
    shape = (knots.shape[1] - 1, BLOCK)
    ramp = np.arange(BLOCK) / BLOCK
    once = np.exp(1j * phase).reshape(shape)
    turn = np.ones_like(once)
    a, b, c = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for n in heard_harmonics(source, knots, step_s):
        turn *= once
        parts = scaled_amplitudes(source, knots, n=n, step_s=step_s)
        for total, part, wave in zip((a, b, c), parts, (turn.real, turn.imag, turn.real), strict=True):
            total += (part[:-1, None] + np.diff(part)[:, None] * ramp) * wave
    return a.ravel(), b.ravel(), c.ravel()
