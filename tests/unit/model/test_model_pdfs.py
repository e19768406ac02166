import numpy as np
import pytest

from model.pdfs import cumulative, mode_of, normalised, pdf_metrics


def test_normalised_pdfs_sum_to_one_and_what_cannot_is_nan():
    pdf = np.array([[1, 3, 0], [0, 0, 0], [np.nan, 1, 1], [-1, 2, 3], [np.inf, 1, 1]], "f2")
    found = normalised(pdf)
    assert found[0].tolist() == [0.25, 0.75, 0]
    assert np.isnan(found[1:]).all()
    assert normalised(np.zeros((0, 3))).shape == (0, 3)


def test_the_cumulative_pdf_begins_at_nought():
    assert cumulative(np.array([[0.25, 0.75]])).tolist() == [[0, 0.25, 1]]


def test_the_mode_is_the_middle_of_the_densest_bin_not_of_the_likeliest():
    edges = np.array([0.0, 0.1, 0.5])
    assert mode_of(np.array([[0.4, 0.6]]), edges) == pytest.approx([0.05])
    assert mode_of(np.array([[0.1, 0.9]]), edges) == pytest.approx([0.3])


def test_of_equal_modes_the_lowest_is_taken_and_a_pdf_that_is_not_finite_has_none():
    found = mode_of(np.array([[0.5, 0.5], [np.nan, 1.0]]), np.array([0.0, 0.1, 0.2]))
    assert found[0] == pytest.approx(0.05) and np.isnan(found[1])


def test_distances_from_uniform_are_those_of_scipy():
    from scipy.stats import cramervonmises, kstest

    pit = np.random.default_rng(0).beta(0.8, 1.1, 300)
    found = pdf_metrics(np.stack([pit, pit, pit], axis=1))
    assert found["pit_ks"] == pytest.approx(kstest(pit, "uniform").statistic)
    assert found["pit_cvm"] == pytest.approx(cramervonmises(pit, "uniform").statistic)
