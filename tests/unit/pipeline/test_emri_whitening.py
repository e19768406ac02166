import numpy as np
import pytest

from pipeline.sources.emri.tianqin import strain_psd
from pipeline.sources.emri.whitening import optimal_snr, rescale, whiten
from schemas.errors import ModelError
from schemas.imaging import EMRI_SAMPLES, EMRI_STEP_S

N = 65_536
FREQUENCY = np.fft.rfftfreq(N, EMRI_STEP_S)
TIME = np.arange(N) * EMRI_STEP_S


def coloured_noise(seed):
    """Return noise ``(2, N)`` whose periodogram 2 dt |n_k|^2 / N has TianQin's density as its mean."""
    random = np.random.default_rng(seed)
    spectrum = random.standard_normal((2, N // 2 + 1)) + 1j * random.standard_normal((2, N // 2 + 1))
    spectrum[:, 0] = 0
    spectrum[:, 1:] *= np.sqrt(strain_psd(FREQUENCY[1:]) * N / (2 * EMRI_STEP_S) / 2)
    spectrum[:, -1] = spectrum[:, -1].real * np.sqrt(2)
    return np.fft.irfft(spectrum, N)


def test_tianqins_noise_becomes_unit_noise_flat_in_frequency():
    white = whiten(coloured_noise(1))
    assert white.mean() == pytest.approx(0, abs=0.01)
    assert white.var() == pytest.approx(1, abs=0.02)
    assert np.mean(np.abs(white) < 1) == pytest.approx(0.6827, abs=0.005)
    periodogram = np.abs(np.fft.rfft(white)[:, 1:]) ** 2 / N
    bands = periodogram.reshape(2, 16, -1).mean((0, 2))
    assert bands == pytest.approx(np.ones(16), abs=0.06)
    # One sample tells nothing of the next.
    assert np.mean(white[:, 1:] * white[:, :-1]) == pytest.approx(0, abs=0.01)


def test_the_two_channels_stay_apart():
    assert np.mean(np.prod(whiten(coloured_noise(2)), axis=0)) == pytest.approx(0, abs=0.015)


def test_the_sum_of_squares_is_the_textbook_integral_of_the_matched_filter():
    chirp = 1e-21 * np.cos(2 * np.pi * (3e-3 * TIME + 1e-9 * TIME**2)) * np.hanning(N)
    strain = np.stack([chirp, 0.3 * chirp[::-1]])
    spectrum = np.fft.rfft(strain)[:, 1:] * EMRI_STEP_S
    step_hz = 1 / (N * EMRI_STEP_S)
    integral = 4 * np.sum(np.abs(spectrum) ** 2 / strain_psd(FREQUENCY[1:])) * step_hz
    assert optimal_snr(whiten(strain)) == pytest.approx(np.sqrt(integral), rel=1e-6)


def test_a_steady_tone_has_the_amplitude_times_the_root_of_time_over_noise():
    frequency = FREQUENCY[4000]
    tone = 2e-22 * np.sin(2 * np.pi * frequency * TIME)
    expected = 2e-22 * np.sqrt(N * EMRI_STEP_S / strain_psd(frequency))
    assert optimal_snr(whiten(tone[None])) == pytest.approx(expected, rel=1e-6)


def test_at_an_snr_of_50_the_signal_is_7_percent_of_the_noise_in_a_sample():
    assert EMRI_SAMPLES * EMRI_STEP_S == 7_864_320
    signal = rescale(np.random.default_rng(0).standard_normal((2, EMRI_SAMPLES)), 50.0)
    assert np.sqrt(np.mean(signal**2)) == pytest.approx(0.069, abs=0.0005)


def test_rescaling_changes_the_loudness_and_nothing_else():
    signal = np.random.default_rng(0).standard_normal((2, 64))
    scaled = rescale(signal, 7.5)
    assert optimal_snr(scaled) == pytest.approx(7.5)
    assert scaled / signal == pytest.approx(np.full((2, 64), scaled[0, 0] / signal[0, 0]))


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_signal_of_nothing_cannot_be_made_loud(value):
    with pytest.raises(ModelError, match="above 0"):
        rescale(np.full((2, 8), value), 50.0)


def test_a_constant_offset_is_taken_away():
    assert np.abs(whiten(np.full((2, 512), 1e-20))).max() < 1e-9
