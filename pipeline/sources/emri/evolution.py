"""How an inspiral's orbit shrinks: the analytic kludge's evolution, and where it ends.

Barack & Cutler 2004 (PRD 69, 082005, "BC"): the mean anomaly Phi, the radial frequency nu, the pericentre's
direction gamma, the eccentricity e and the precession angle alpha obey equations 27 to 31: Peters' decay with the
first post-Newtonian correction and the leading one in the spin. Masses are redshifted, in seconds.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from pipeline.sources.emri.source import Source
from schemas.errors import ModelError

Floats = NDArray[np.float64]
State = tuple[float, float, float, float, float]

PHASE, FREQUENCY, GAMMA, ECCENTRICITY, ALPHA = range(5)
_RELATIVE = 1e-10
_ABSOLUTE = (1e-6, 1e-15, 1e-6, 1e-12, 1e-6)


def rates(source: Source, frequency_hz: Any, eccentricity: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Return the time derivatives of Phi, nu, gamma, e and alpha [rad/s, Hz/s, rad/s, 1/s, rad/s].

    Parameters
    ----------
    source : Source
        Masses, spin and inclination.
    frequency_hz, eccentricity : float or ndarray
        nu and e; the rates have their shape.
    """
    mass, mu, spin, lean = source.mass_s, source.mu_s, source.spin, math.cos(source.iota_rad)
    nu, e2 = frequency_hz, eccentricity**2
    x = 2 * math.pi * mass * nu
    x23 = x ** (2 / 3)
    y = 1 - e2
    alpha = 4 * math.pi * nu * spin * x * y**-1.5  # BC 31
    gamma = (  # BC 29
        6 * math.pi * nu * x23 / y * (1 + x23 / y * (26 - 15 * e2) / 4) - 3 * lean * alpha
    )
    nu_dot = (  # BC 28
        96 / (10 * math.pi) * mu / mass**3 * x ** (11 / 3) * y**-4.5
    ) * (
        (1 + 73 / 24 * e2 + 37 / 96 * e2**2) * y
        + x23 * (1273 / 336 - 2561 / 224 * e2 - 3885 / 128 * e2**2 - 13147 / 5376 * e2**3)
        - x * spin * lean * y**-0.5 * (73 / 12 + 1211 / 24 * e2 + 3143 / 96 * e2**2 + 65 / 64 * e2**3)
    )
    e_dot = -eccentricity / 15 * mu / mass**2 * y**-3.5 * x ** (8 / 3) * (  # BC 30
        (304 + 121 * e2) * y * (1 + 12 * x23) - x23 * (8 * 16705 + 12 * 9082 * e2 - 25211 * e2**2) / 56
    ) + eccentricity * mu / mass**2 * spin * lean * x ** (11 / 3) * y**-4 * (
        1364 / 5 + 5032 / 15 * e2 + 263 / 10 * e2**2
    )
    return 2 * math.pi * nu, nu_dot, gamma, e_dot, alpha  # BC 27


def orbit_size(source: Source, frequency_hz: float, eccentricity: float) -> float:
    """Return the semi-latus rectum over the mass, (1 - e^2) (2 pi M nu)^(-2/3): Kepler's third law."""
    return float((1 - eccentricity**2) * (2 * math.pi * source.mass_s * frequency_hz) ** (-2 / 3))


def frequency_hz(source: Source, size: float, eccentricity: float) -> float:
    """Return the radial frequency nu of an orbit of this semi-latus rectum: the inverse of `orbit_size`."""
    return float(((1 - eccentricity**2) / size) ** 1.5 / (2 * math.pi * source.mass_s))


def last_stable_size(source: Source, eccentricity: float) -> float:
    """Return the semi-latus rectum over the mass at which the object plunges.

    "schwarzschild": 6 + 2e, as BC end their waveforms. "kerr": the separatrix of equatorial orbits about a hole
    of spin a cos(iota), a root of the polynomial of Stein & Warburton 2020 (PRD 101, 064007); that the spin's
    part along L stands for the spin of an inclined orbit is decided here, true to first order in a.
    """
    if source.cutoff == "schwarzschild":
        return 6 + 2 * eccentricity
    return _kerr_separatrix(round(source.spin * math.cos(source.iota_rad), 12), round(eccentricity, 12))


@functools.lru_cache(maxsize=4096)
def _kerr_separatrix(spin: float, e: float) -> float:
    squared = spin**2
    roots = np.roots(
        [
            1,
            -2 * (6 + 2 * e),
            (6 + 2 * e) ** 2 - 2 * squared * (1 + e) * (3 - e),
            -2 * squared * (1 + e) * (14 + 2 * e**2),
            squared**2 * (3 - e) ** 2 * (1 + e) ** 2,
        ]
    )
    real = np.sort(roots.real[np.abs(roots.imag) < 1e-6])
    # Prograde orbits end at the inner root outside the horizon's, retrograde ones at the outermost.
    outer = real[real > 1 + e]
    return float(outer[-1] if spin <= 0 else outer[0])


@dataclass(frozen=True)
class Inspiral:
    """An orbit's evolution: ``at(seconds)`` gives Phi, nu, gamma, e, alpha ``(5, n)`` until ``end_s``.

    ``plunges`` says whether the orbit came to its last stable one at ``end_s``.
    """

    at: Callable[[Floats], Floats]
    end_s: float
    plunges: bool


def evolve(source: Source, duration_s: float) -> Inspiral:
    """Follow an orbit from its start, forward in time, to its plunge or for `duration_s`.

    Raises
    ------
    ModelError
        The orbit is inside the last stable one already, or the equations stop to describe a decay.
    """
    start = frequency_hz(source, source.p0, source.e0)
    least = last_stable_size(source, source.e0)
    if not source.p0 > least:
        raise ModelError(
            f"expected an orbit outside the last stable one, p > {least:.3f} at e = {source.e0:.3f},"
            f" found p0 = {source.p0:g}",
            "start it further out",
        )
    first = (source.phase_rad, start, source.gamma_rad, source.e0, source.alpha_rad)
    found = _integrate(source, first, duration_s)
    return Inspiral(found.sol, float(found.t[-1]), found.t_events[0].size > 0)


def before_plunge(source: Source, eccentricity: float, plunge_s: float) -> tuple[float, float]:
    """Return e0 and p0 of the orbit that plunges after `plunge_s` seconds, with this eccentricity then.

    Parameters
    ----------
    source : Source
        Masses, spin, inclination, cutoff; its own e0 and p0 are not looked at.
    eccentricity : float
        At the last stable orbit.
    plunge_s : float
        Time from the start to the plunge [s].

    Raises
    ------
    ModelError
        The equations do not describe a decay all the way.
    """
    edge = frequency_hz(source, last_stable_size(source, eccentricity), eccentricity)
    found = _integrate(source, (0.0, edge, 0.0, eccentricity, 0.0), -plunge_s)
    e0 = float(found.y[ECCENTRICITY, -1])
    return e0, orbit_size(source, float(found.y[FREQUENCY, -1]), e0)


def _integrate(source: Source, first: State, duration_s: float) -> Any:
    def slope(_: float, state: Floats) -> tuple[Any, ...]:
        return rates(source, float(state[FREQUENCY]), float(state[ECCENTRICITY]))

    def plunge(_: float, state: Floats) -> float:
        nu, e = float(state[FREQUENCY]), float(state[ECCENTRICITY])
        return orbit_size(source, nu, e) - last_stable_size(source, e)

    def stall(_: float, state: Floats) -> float:
        # Relative to the circular decay, so that the root is found at any mass.
        nu, e = float(state[FREQUENCY]), float(state[ECCENTRICITY])
        return rates(source, nu, e)[FREQUENCY] / nu * source.mass_s**2 / source.mu_s

    def escape(_: float, state: Floats) -> float:
        return 0.98 - float(state[ECCENTRICITY])

    forward = duration_s > 0
    for event in (plunge, stall, escape):
        event.terminal = forward or event is not plunge  # type: ignore[attr-defined]
    found = solve_ivp(
        slope,
        (0.0, duration_s),
        first,
        method="DOP853",
        events=(plunge, stall, escape),
        dense_output=forward,
        rtol=_RELATIVE,
        atol=_ABSOLUTE,
    )
    decays = all(rates(source, *found.y[[FREQUENCY, ECCENTRICITY], i])[FREQUENCY] > 0 for i in (0, -1))
    if not (found.success and decays) or found.t_events[1].size or found.t_events[2].size:
        raise ModelError(
            f"the analytic kludge does not describe this inspiral: at e = {found.y[ECCENTRICITY, -1]:.3f},"
            f" nu = {found.y[FREQUENCY, -1]:.3g} Hz its orbit no longer decays",
            "choose a smaller eccentricity, a smaller spin or a wider orbit",
        )
    return found
