"""Whitened strain: noise becomes unit and independent sample by sample, and a signal's SNR is its length.

d_w = irfft(rfft(d) sqrt(2 dt / S_n(f))), with the one-sided S_n. Gaussian noise of density S_n is then N(0, 1) in
each sample, and for a signal the sum over channels and samples of h_w^2 is 4 int |h(f)|^2 / S_n df, the square of
the optimal signal-to-noise ratio (Parseval; Cutler & Flanagan 1994, PRD 49, 2658, equation 2.10 on).
"""

import functools

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from pipeline.sources.emri.tianqin import strain_psd
from schemas.errors import ModelError
from schemas.imaging import EMRI_STEP_S

Floats = NDArray[np.float64]

NYQUIST_HZ = 1 / (2 * EMRI_STEP_S)


@functools.cache
def _weights(samples: int, step_s: float) -> Floats:
    frequency = scipy.fft.rfftfreq(samples, step_s)
    weights = np.zeros_like(frequency)  # the density is infinite at zero frequency
    weights[1:] = np.sqrt(2 * step_s / strain_psd(frequency[1:]))
    return weights


def whiten(strain: Floats, *, step_s: float = EMRI_STEP_S) -> Floats:
    """Return whitened strain of the same shape.

    Parameters
    ----------
    strain : ndarray
        Strain, ``(..., samples)``, an even number of samples.
    step_s : float
        Time between samples.
    """
    samples = strain.shape[-1]
    return np.asarray(scipy.fft.irfft(scipy.fft.rfft(strain) * _weights(samples, step_s), samples))


def optimal_snr(whitened: Floats) -> float:
    """Return the signal-to-noise ratio of a whitened signal, all its channels together."""
    return float(np.sqrt(np.sum(np.square(whitened, dtype=np.float64))))


def rescale(whitened: Floats, snr: float) -> Floats:
    """Return a whitened signal as it is from the distance that gives this signal-to-noise ratio.

    Raises
    ------
    ModelError
        The signal is empty or not finite: no distance gives it.
    """
    found = optimal_snr(whitened)
    if not np.isfinite(found) or found == 0:
        raise ModelError(
            f"expected a waveform with a finite signal-to-noise ratio above 0, found {found}",
            "choose a source that radiates between 0.1 mHz and 16.67 mHz in the observed window",
        )
    return np.asarray(whitened * (snr / found))
