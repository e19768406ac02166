"""The tangent plane of an image: from the sky to it and back.

Gnomonic projection, Calabretta & Greisen (2002, A&A 395, 1077), section 5.1.3, in the closed form of spherical
trigonometry; offsets are standard coordinates, east and north [degree].
"""

import numpy as np

Centre = tuple[float, float]
"""Right ascension and declination of the point where the plane touches [degree]."""


def to_plane(ra: np.ndarray, dec: np.ndarray, centre: Centre) -> tuple[np.ndarray, np.ndarray]:
    """Return how far east and north [degree] of `centre` positions [degree] lie on its plane.

    NaN where a position is on the other half of the sky, which has none.
    """
    a, d = np.radians(ra) - np.radians(centre[0]), np.radians(dec)
    middle = np.radians(centre[1])
    depth = np.sin(middle) * np.sin(d) + np.cos(middle) * np.cos(d) * np.cos(a)
    depth = np.where(depth > 0, depth, np.nan)
    east = np.cos(d) * np.sin(a) / depth
    north = (np.cos(middle) * np.sin(d) - np.sin(middle) * np.cos(d) * np.cos(a)) / depth
    return np.degrees(east), np.degrees(north)


def from_plane(east: np.ndarray, north: np.ndarray, centre: Centre) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions [degree] of points east and north [degree] of `centre` on its plane."""
    x, y, middle = np.radians(east), np.radians(north), np.radians(centre[1])
    depth = np.cos(middle) - y * np.sin(middle)
    a = np.arctan2(x, depth)
    dec = np.arctan2((np.sin(middle) + y * np.cos(middle)) * np.cos(a), depth)
    return (centre[0] + np.degrees(a)) % 360, np.degrees(dec)
