"""The augmented analytic kludge waveform, by the package `fastemriwaveforms`.

Chua, Moore & Gair 2017 (PRD 96, 044005): the kludge's harmonics with the frequencies of a Kerr geodesic, here on
the 5PN trajectory of Fujita & Shibata 2020. Of the package only `Pn5AAKWaveform` is used: its trajectory is
a formula and its sum a compiled loop, so it needs none of the data files that other waveforms of the package
download when first asked for; downloads are switched off all the same.
"""

import contextlib
import functools
import importlib
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from pipeline.sources.emri.evolution import frequency_hz
from pipeline.sources.emri.source import Source
from pipeline.sources.emri.tianqin import ASTRONOMICAL_UNIT_S, delay_s
from schemas.errors import ModelError
from schemas.imaging import EMRI_SAMPLES, EMRI_STEP_S

Floats = NDArray[np.float64]

INSTALL = "pip install fastemriwaveforms==2.0.0"
OVERSAMPLING = 3
"""Finer steps than the window's, so that the Earth's motion can be put in by interpolation."""

_ONE_AT_A_TIME = threading.Lock()
"""The package's object keeps the wave that it works on in itself; nor may two threads load it at once."""


@functools.cache
def engine() -> tuple[Any, float]:
    """Return the package's waveform and the length of its year [s].

    Raises
    ------
    ModelError
        The package is not installed.
    """
    try:
        with warnings.catch_warnings(), _uncompiled():
            warnings.simplefilter("ignore")  # of a constant in which its astropy differs from ours
            few, waveforms, constants = (
                importlib.import_module(name) for name in ("few", "few.waveform", "few.utils.constants")
            )
    except ImportError as error:
        raise ModelError(f"AAK waveforms need the package fastemriwaveforms ({error})", INSTALL) from None
    few.get_config_setter().disable_file_download().finalize()
    few.get_logger().setLevel("ERROR")  # it warns of mass ratios above 1e-4, which are asked for here
    make = waveforms.Pn5AAKWaveform(sum_kwargs={"pad_output": True}, force_backend="cpu")
    return make, float(constants.YRSID_SI)


@contextlib.contextmanager
def _uncompiled() -> Iterator[None]:
    """Let numba compile nothing of what is imported: half a minute, for a formula that is asked a hundred times."""
    settings = importlib.import_module("numba").config
    before = settings.DISABLE_JIT
    settings.DISABLE_JIT = 1
    try:
        yield
    finally:
        settings.DISABLE_JIT = before


def strain(
    source: Source, *, distance_gpc: float = 1.0, samples: int = EMRI_SAMPLES, step_s: float = EMRI_STEP_S
) -> Floats:
    """Return h+ and hx ``(2, samples)`` as they pass TianQin, on `polarisation_axes`; see `kludge.strain`.

    Parameters
    ----------
    source : Source
        The inspiral; e0, p0 and iota are those of a Kerr geodesic here, and its plunge is the package's.
    distance_gpc : float
        Luminosity distance [Gpc].
    samples : int
        How many.
    step_s : float
        Time between samples [s].

    Raises
    ------
    ModelError
        The package is not installed, or refuses the orbit.
    """
    time = np.arange(samples, dtype=np.float64) * step_s
    passed = time + delay_s(time, source.direction) + ASTRONOMICAL_UNIT_S
    fine_s = step_s / OVERSAMPLING
    length = scipy.fft.next_fast_len(int(passed[-1] / fine_s) + 8, real=True)
    wave = _generate(source, distance_gpc, length, fine_s)
    spectrum = scipy.fft.rfft(np.stack([wave.real, -wave.imag]))
    spectrum[:, scipy.fft.rfftfreq(length, fine_s) > 1 / (2 * step_s)] = 0
    fine = scipy.fft.irfft(spectrum, length)
    return np.asarray(CubicSpline(np.arange(length) * fine_s, fine, axis=1)(passed))


def _generate(source: Source, distance_gpc: float, length: int, step_s: float) -> NDArray[np.complex128]:
    with _ONE_AT_A_TIME:
        make, year_s = engine()
    pericentre = source.phase_rad + source.gamma_rad
    try:
        with _ONE_AT_A_TIME:
            wave = make(
                source.mass_solar * (1 + source.z),
                source.mu_solar * (1 + source.z),
                source.spin,
                source.p0,
                source.e0,
                float(np.cos(source.iota_rad)),
                distance_gpc,
                source.theta_s_rad,
                source.phi_s_rad,
                source.theta_k_rad,
                source.phi_k_rad,
                Phi_phi0=pericentre + source.alpha_rad,
                Phi_theta0=pericentre,
                Phi_r0=source.phase_rad,
                dt=step_s,
                T=(length + 1) * step_s / year_s,
                nmodes=_how_many(source, step_s),
            )
    except (ValueError, RuntimeError, AssertionError) as error:
        raise ModelError(
            f"fastemriwaveforms refuses the inspiral: {error}", "choose another orbit"
        ) from error
    out = np.zeros(length, np.complex128)
    out[: min(length, len(wave))] = wave[:length]
    return out


def _how_many(source: Source, step_s: float) -> int:
    """Return the package's own number of harmonics, less those that are above its Nyquist frequency at the start."""
    own = max(4, int(30 * source.e0))
    heard = int(1 / (2 * step_s) / frequency_hz(source, source.p0, source.e0))
    return max(2, min(own, heard))
