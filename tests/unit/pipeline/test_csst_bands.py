import numpy as np
import pytest

from pipeline.sandbox.csst.bands import (
    BANDS,
    IMAGE_SIGMA,
    LIMIT_MAG,
    ab_flux,
    ab_mag,
    counts_per_flux,
    transmissions,
)
from pipeline.sandbox.csst.drawing import add_noise, star
from pipeline.sandbox.csst.photometry import measure_star


def test_a_measured_point_source_of_the_limiting_magnitude_has_five_sigma():
    image = np.ascontiguousarray(star(ab_flux(LIMIT_MAG) * counts_per_flux())[:, 24:40, 24:40])
    counts, errors = measure_star(image)
    assert counts / errors == pytest.approx(5, rel=0.03)
    rng = np.random.default_rng(0)
    runs = np.array([measure_star(add_noise(image, rng))[0] for _ in range(2000)])
    depth = LIMIT_MAG - 2.5 * np.log10(5 * runs.std(axis=0) / runs.mean(axis=0))
    # The draws know the scatter to 1.6 %, 0.02 mag.
    assert depth == pytest.approx(LIMIT_MAG, abs=0.07)
    assert depth.mean() == pytest.approx(LIMIT_MAG.mean(), abs=0.03)


def test_a_count_is_about_an_electron():
    # i: 2-m mirror, 300 s, mean throughput 0.496 over 1588 A (CSST's exposure-time calculator): 0.85 e-/s at 25.8.
    in_i = counts_per_flux()[BANDS.index("i")] * ab_flux(25.8)
    assert in_i == pytest.approx(0.85 * 300, rel=0.15)


def test_the_filters_have_the_mean_wavelengths_that_are_listed_for_them():
    grid = np.linspace(2000, 12000, 20001)
    curves = transmissions(grid)
    means = (curves * grid).sum(axis=1) / curves.sum(axis=1)
    assert means == pytest.approx([2867.7, 3601.1, 4754.5, 6199.8, 7653.2, 9600.6, 10051.0], rel=2.5e-3)
    assert curves.min() == 0 and curves.max() == 1


def test_magnitudes_and_fluxes_are_inverse_and_an_empty_band_is_infinitely_faint():
    assert ab_flux(-48.6) == pytest.approx(1.0)
    assert ab_mag(ab_flux(LIMIT_MAG)) == pytest.approx(LIMIT_MAG)
    assert ab_mag(np.array([0.0]))[0] == np.inf and np.isnan(ab_mag(np.array([-1e-30]))[0])


def test_noise_is_that_of_the_survey_and_white():
    noise = add_noise(np.zeros((7, 64, 64), dtype=np.float32), np.random.default_rng(1))
    assert noise.dtype == np.float32
    assert noise.std(axis=(1, 2)) == pytest.approx(IMAGE_SIGMA, rel=0.05)
    neighbours = (noise[:, :, 1:] * noise[:, :, :-1]).mean(axis=(1, 2)) / IMAGE_SIGMA**2
    assert np.abs(neighbours).max() < 0.06
