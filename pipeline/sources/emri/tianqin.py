"""TianQin: its noise, and what its two channels make of a gravitational wave.

Three satellites at 10^5 km from the Earth; the plane of their triangle always faces RX J0806.3+1527 and they go
round in 3.65 days (Luo et al. 2016, CQG 33, 035010). All of it in the low-frequency approximation, good far below
f* = c / (2 pi L) = 0.28 Hz: at the highest frequency used here, 17 mHz, the arms' transfer function differs from 1
by 0.2 %. The three arms then make two independent Michelson channels, I and II, with the same noise and with
patterns 45 degrees apart (Cutler 1998, PRD 57, 7089; for TianQin Hu et al. 2018, CQG 35, 095008).
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ARM_M = np.sqrt(3) * 1e8
LIGHT_M_S = 299_792_458.0
TRANSFER_HZ = LIGHT_M_S / (2 * np.pi * ARM_M)
ACCELERATION_PSD = 1e-30  # [m^2 s^-4 / Hz], and below: Luo et al. 2016
POSITION_PSD = 1e-24  # [m^2 / Hz]
_CORNER_HZ = 1e-4

POINTING = (1.65273, 2.10213)
"""Ecliptic colatitude and longitude of RX J0806.3+1527 [rad] (Hu et al. 2018: latitude -4.7, longitude 120.5
degrees)."""
ORBIT_S = 3.65 * 86_400.0
YEAR_S = 365.25 * 86_400.0
ASTRONOMICAL_UNIT_S = 499.004_784
"""Light time from the Sun to the Earth [s]."""


def strain_psd(frequency_hz: Floats) -> Floats:
    """Return the one-sided noise density of one channel's strain [1/Hz], not averaged over the sky.

    S_n = (4 S_a (1 + 10^-4 Hz / f) / (2 pi f)^4 + S_p) / L^2 (Luo et al. 2016).

    Parameters
    ----------
    frequency_hz : ndarray
        Frequencies above zero, of any shape.
    """
    displacement = ACCELERATION_PSD * (1 + _CORNER_HZ / frequency_hz) / (2 * np.pi * frequency_hz) ** 4
    return np.asarray((4 * displacement + POSITION_PSD) / ARM_M**2)


def sky_averaged_psd(frequency_hz: Floats) -> Floats:
    """Return the sensitivity curve [1/Hz]: the noise over the response averaged over sky and polarisation.

    (20/3) S_n (1 + 0.6 (f / f*)^2); for reference, never for simulated noise. 3/20 is the mean square of
    each pattern below, sqrt(3)/2 included, so by `strain_psd` this is the curve of one channel, and two together
    have half of it. TianQin's package GWSpace gives the same factor 20/3 to two channels: by that reading each
    channel's noise, and with it no shape but the loudness of a source at its distance, differs by sqrt(2).
    """
    return np.asarray(20 / 3 * strain_psd(frequency_hz) * (1 + 0.6 * (frequency_hz / TRANSFER_HZ) ** 2))


def unit_vector(colatitude_rad: float, longitude_rad: float) -> Floats:
    """Return the direction ``(3,)`` of ecliptic polar angles."""
    ring = np.sin(colatitude_rad)
    return np.array([ring * np.cos(longitude_rad), ring * np.sin(longitude_rad), np.cos(colatitude_rad)])


def delay_s(time_s: Floats, source: Floats) -> Floats:
    """Return by how much a wave passes TianQin before it passes the Sun [s].

    Barack & Cutler 2004, section III E: the Earth on a circle in the ecliptic, at longitude 0 when t = 0.

    Parameters
    ----------
    time_s : ndarray
        Time at the detector.
    source : ndarray
        Direction of the source, ``(3,)``.
    """
    angle = 2 * np.pi / YEAR_S * time_s
    return np.asarray(ASTRONOMICAL_UNIT_S * (source[0] * np.cos(angle) + source[1] * np.sin(angle)))


def polarisation_axes(source: Floats, spin: Floats) -> tuple[Floats, Floats]:
    """Return the axes p = n x S / |n x S| and q = p x n of the polarisation tensors pp - qq and pq + qp.

    The spin S stays where it is while the orbit precesses about it, so these axes are fixed (Chua et al. 2017,
    PRD 96, 044005, the frame of its kludge suite).
    """
    across = np.cross(source, spin)
    p = across / np.linalg.norm(across)
    return p, np.cross(p, source)


def respond(strain: Floats, time_s: Floats, *, source: Floats, spin: Floats) -> Floats:
    """Return the strain in channels I and II, ``(2, n)``.

    h = (sqrt(3)/2) (F+ h+ + Fx hx); sqrt(3)/2 is the sine of the arms' 60 degrees. Written with tensors: channel I
    reads xx - yy over two, channel II xy + yx over two, where x and y turn with the satellites.

    Parameters
    ----------
    strain : ndarray
        h+ and hx on `polarisation_axes`, ``(2, n)``.
    time_s : ndarray
        Time at the detector, ``(n,)``.
    source, spin : ndarray
        Directions of the source and of the black hole's spin, ``(3,)``.
    """
    plus, cross = patterns(*polarisation_axes(source, spin))
    first = plus[0] * strain[0] + cross[0] * strain[1]
    second = plus[1] * strain[0] + cross[1] * strain[1]
    turned = np.exp(2j * (2 * np.pi / ORBIT_S) * time_s)
    out = np.empty_like(strain)
    out[0] = turned.real * first + turned.imag * second
    out[1] = turned.real * second - turned.imag * first
    return out


def patterns(p: Floats, q: Floats) -> tuple[Floats, Floats]:
    """Return F+ and Fx of channels I and II at t = 0, sqrt(3)/2 included, ``(2,)`` each.

    Parameters
    ----------
    p, q : ndarray
        Axes of the polarisation, ``(3,)``, across the line of sight and each other.
    """
    colatitude, longitude = POINTING
    x = unit_vector(colatitude + np.pi / 2, longitude)
    y = np.cross(unit_vector(colatitude, longitude), x)
    one = (np.outer(x, x) - np.outer(y, y)) / 2
    two = (np.outer(x, y) + np.outer(y, x)) / 2
    plus, cross = np.outer(p, p) - np.outer(q, q), np.outer(p, q) + np.outer(q, p)
    scale = np.sqrt(3) / 2
    return (
        scale * np.array([np.sum(one * plus), np.sum(two * plus)]),
        scale * np.array([np.sum(one * cross), np.sum(two * cross)]),
    )
