import numpy as np
import pytest

from model.metrics import photoz_metrics
from model.tables import Bootstrap, Subset, by_interval, by_magnitude, table
from schemas.errors import ModelError

RANDOM = np.random.default_rng(0)
N = 600
TRUE = RANDOM.uniform(0, 1, N)
R = RANDOM.uniform(18, 23, N)
PRED = TRUE + RANDOM.normal(0, 0.01 + 0.02 * (R > 21.5)) * (1 + TRUE)
KIND = np.where(RANDOM.random(N) < 0.7, "Starforming", "AGN")
FEW = Bootstrap(resamples=40, seed=1)


def test_all_is_measured_on_the_pooled_objects_not_averaged():
    bright, faint, whole = table(
        TRUE, PRED, subsets=by_magnitude(R, [21.5]), definition="wei2025", bootstrap=FEW
    )
    pooled = photoz_metrics(TRUE, PRED, definition="wei2025")
    assert (whole["by"], whole["n"]) == ("all", N)
    assert whole["sigma_nmad"] == pooled.sigma_nmad
    averaged = (bright["n"] * bright["sigma_nmad"] + faint["n"] * faint["sigma_nmad"]) / N
    assert whole["sigma_nmad"] != pytest.approx(averaged, rel=0.02)
    assert (
        bright["sigma_nmad"]
        == photoz_metrics(*(a[R <= 21.5] for a in (TRUE, PRED)), definition="wei2025").sigma
    )
    assert whole["text"] == pooled.text and whole["definition"] == "wei2025"


def test_a_pooled_outlier_fraction_is_the_weighted_mean_of_its_parts():
    *parts, whole = table(TRUE, PRED, subsets=by_magnitude(R, [20.0, 21.5]), bootstrap=FEW)
    assert sum(row["n"] for row in parts) == whole["n"]
    counted = sum(row["n"] * row["outlier_fraction"] for row in parts)
    assert counted == pytest.approx(N * whole["outlier_fraction"])


def test_a_subset_without_anybody_is_a_row_with_no_numbers():
    nobody = Subset("class", "Broadline", KIND == "Broadline")
    rows = table(TRUE, PRED, subsets=[nobody, *by_interval(TRUE, [2.0, 3.0])], bootstrap=FEW)
    empty = {row["subset"]: row for row in rows if row["n"] == 0}
    assert list(empty) == ["Broadline", "2 ≤ z < 3"]
    for row in empty.values():
        assert row["sigma_nmad"] is None and row["bias_err"] is None
        assert row.keys() == rows[-1].keys()


def test_one_at_a_magnitude_cut_is_bright_and_one_at_an_edge_of_z_is_in_the_interval_above():
    bright, faint = by_magnitude(np.array([21.5, 21.6]), [21.5])
    assert bright.inside.tolist() == [True, False] and faint.inside.tolist() == [False, True]
    low, high = by_interval(np.array([0.25, 0.1]), [0.0, 0.25, 0.5])
    assert low.inside.tolist() == [False, True] and high.inside.tolist() == [True, False]


def test_whoever_is_outside_all_intervals_or_has_no_value_is_in_a_row_of_its_own():
    z = np.array([-0.1, 0.1, 0.9, np.nan])
    subsets = by_interval(z, [0.0, 0.5])
    assert [s.name for s in subsets] == ["z < 0", "0 ≤ z < 0.5", "z ≥ 0.5", "z not known"]
    assert np.sum([s.inside for s in subsets], axis=0).tolist() == [1, 1, 1, 1]
    unknown = by_magnitude(np.array([np.nan, 20]), [21.0])[-1]
    assert unknown.name == "r not known" and unknown.inside.tolist() == [True, False]


def test_objects_without_an_estimate_are_counted_and_left_out():
    pred = PRED.copy()
    pred[:7] = np.nan
    (whole,) = table(TRUE, pred, bootstrap=FEW)
    assert (whole["n"], whole["missing"]) == (N - 7, 7)


def test_uncertainties_are_seeded_shrink_with_n_and_have_the_right_size():
    true, scatter = np.zeros(4000), np.random.default_rng(3).normal(0, 0.02, 4000)
    few = Subset("half", "few", np.arange(4000) < 250)
    first, whole = table(true, scatter, subsets=[few], bootstrap=Bootstrap(200, seed=5))
    assert whole["bias_err"] == pytest.approx(0.02 / 4000**0.5, rel=0.2)
    assert first["bias_err"] == pytest.approx(0.02 / 250**0.5, rel=0.2)
    assert whole["sigma_nmad_err"] == pytest.approx(1.17 * 0.02 / 4000**0.5, rel=0.3)
    assert table(true, scatter, bootstrap=Bootstrap(200, seed=5)) == [whole]
    other = table(true, scatter, bootstrap=Bootstrap(200, seed=6))[0]
    assert other["bias"] == whole["bias"] and other["bias_err"] != whole["bias_err"]
    assert table(true, scatter, bootstrap=Bootstrap(0))[0]["bias_err"] is None


def test_in_intervals_of_z_the_bias_of_the_interval_is_taken():
    true, pred = np.full(3, 0.1), 0.1 + 1.1 * np.array([0.0, 0.01, 0.06])
    part, whole = table(
        true, pred, subsets=by_interval(true, [0.0, 0.2]), definition="dey2022", bootstrap=Bootstrap(0)
    )
    assert part["bias"] == pytest.approx(0.02) and whole["bias"] == pytest.approx(0.07 / 3)


def test_arrays_of_other_lengths_and_unknown_definitions_are_refused():
    with pytest.raises(ModelError, match="one length"):
        table(TRUE, PRED, subsets=by_magnitude(R[:-1], [21.5]))
    with pytest.raises(ModelError, match="no definition"):
        table(TRUE, PRED, definition="nmad")
