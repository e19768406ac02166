"""Ecliptic angles, in which waveforms are written, as the catalogue's positions."""

import numpy as np

from pipeline.sources.emri.tianqin import unit_vector

OBLIQUITY_RAD = np.radians(23.439_291_1)
"""Of the ecliptic, J2000 (IAU 1976)."""


def equatorial_deg(colatitude_rad: float, longitude_rad: float) -> tuple[float, float]:
    """Return right ascension and declination [degree] of an ecliptic direction [rad].

    >>> tuple(round(angle, 2) for angle in equatorial_deg(1.65273, 2.10213))
    (121.6, 15.47)
    """
    x, y, z = unit_vector(colatitude_rad, longitude_rad)
    north, east = np.cos(OBLIQUITY_RAD), np.sin(OBLIQUITY_RAD)
    y, z = north * y - east * z, east * y + north * z
    return float(np.degrees(np.arctan2(y, x)) % 360), float(np.degrees(np.arcsin(np.clip(z, -1, 1))))
