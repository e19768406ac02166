"""One inspiral's parameters, and what is wrong with them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.emri.tianqin import unit_vector
from schemas.errors import ModelError

Floats = NDArray[np.float64]

SUN_S = 4.925_490_947e-6
"""G M_sun / c^3 [s], from the nominal solar mass parameter (IAU 2015 resolution B3)."""
GIGAPARSEC_S = 1.029_271_250e17
LARGEST_ECCENTRICITY = 0.9
"""Decided here: above it more than 250 harmonics would be needed."""
LARGEST_MASS_RATIO = 2e-3
"""Decided here: 20 solar masses into 10^4, the lightest black hole of the tests; the equations are of first order
in the mass ratio."""
CUTOFFS = ("schwarzschild", "kerr")
WAVEFORMS = ("AK", "AAK")
_ALONG = 1e-5


@dataclass(frozen=True)
class Source:
    """A compact object in orbit about a massive black hole of spin S.

    Masses are the source's own [solar mass]; ``e0`` and ``p0`` (semi-latus rectum over the black hole's mass) are
    eccentricity and size of the orbit when the window opens, ``phase_rad``, ``gamma_rad``, ``alpha_rad`` the mean
    anomaly, the direction of the pericentre from L x S and the orbit's precession angle about S (Barack & Cutler
    2004, section II). ``iota_rad`` is the angle between L and S, the other angles are ecliptic colatitude and
    longitude of the source and of S. ``cutoff`` says where the inspiral ends: "schwarzschild" or "kerr".
    """

    mass_solar: float
    mu_solar: float
    spin: float
    e0: float
    p0: float
    iota_rad: float
    theta_s_rad: float
    phi_s_rad: float
    theta_k_rad: float
    phi_k_rad: float
    phase_rad: float
    gamma_rad: float
    alpha_rad: float
    z: float
    cutoff: str = "schwarzschild"

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> "Source":
        """Read a row of a table; columns of other names are left alone.

        Raises
        ------
        ModelError
            A column is missing, or is no number.
        """
        numbers = [field.name for field in fields(cls) if field.name != "cutoff"]
        missing = [name for name in numbers if parameters.get(name) is None]
        if missing:
            raise ModelError(
                f"expected an inspiral's parameters, found none of the name {', '.join(missing)}",
                "make the table with pipeline.sources.emri.populations",
            )
        try:
            return cls(**{name: float(parameters[name]) for name in numbers}, cutoff=_cutoff(parameters))
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"expected numbers as an inspiral's parameters: {error}", "mend the row"
            ) from None

    @property
    def mass_s(self) -> float:
        """Redshifted mass of the black hole [s]."""
        return self.mass_solar * SUN_S * (1 + self.z)

    @property
    def mu_s(self) -> float:
        """Redshifted mass of the compact object [s]."""
        return self.mu_solar * SUN_S * (1 + self.z)

    @property
    def direction(self) -> Floats:
        """Unit vector ``(3,)`` towards the source."""
        return unit_vector(self.theta_s_rad, self.phi_s_rad)

    @property
    def spin_axis(self) -> Floats:
        """Unit vector ``(3,)`` of the black hole's spin."""
        return unit_vector(self.theta_k_rad, self.phi_k_rad)

    def fault(self) -> str | None:
        """Return which parameter is outside its range, or none; the orbit itself is not looked at."""
        numbers = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "cutoff"}
        broken = [name for name, value in numbers.items() if not np.isfinite(value)]
        if broken:
            return f"{', '.join(broken)} not finite"
        ranges = {
            "mass_solar": (1e3, 1e9),
            "mu_solar": (1e-2, LARGEST_MASS_RATIO * self.mass_solar),
            "spin": (0.0, 0.999),
            "e0": (0.0, LARGEST_ECCENTRICITY),
            "p0": (1.0, 500.0),
            "iota_rad": (0.0, np.pi),
            "theta_s_rad": (0.0, np.pi),
            "theta_k_rad": (0.0, np.pi),
            "z": (0.0, 20.0),
        }
        for name, (low, high) in ranges.items():
            if not low <= numbers[name] <= high:
                return f"{name} = {numbers[name]:g}, expected {low:g} to {high:g}"
        if self.cutoff not in CUTOFFS:
            return f"cutoff = {self.cutoff!r}, expected one of {', '.join(CUTOFFS)}"
        if np.linalg.norm(np.cross(self.direction, self.spin_axis)) < _ALONG:
            return "the spin points along the line of sight: the polarisation axes are not defined"
        return None


def words_of(column: str) -> tuple[str, ...]:
    """Return the words that the column ``cutoff`` or ``waveform`` numbers."""
    return {"cutoff": CUTOFFS, "waveform": WAVEFORMS}[column]


def named(column: str, number: float) -> str:
    """Return the word that a number of the column ``cutoff`` or ``waveform`` stands for: its place in the list.

    >>> named("waveform", 1.0), named("cutoff", 7.0)
    ('AAK', '7 (0 is schwarzschild, 1 is kerr)')
    """
    words = words_of(column)
    if number in range(len(words)):
        return words[int(number)]
    return f"{number:g} ({', '.join(f'{place} is {word}' for place, word in enumerate(words))})"


def _cutoff(parameters: Mapping[str, Any]) -> str:
    return str(parameters.get("cutoff") or CUTOFFS[0])
