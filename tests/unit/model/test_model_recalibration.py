import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.interpolate import PchipInterpolator

from model.estimates import combine
from model.pdfs import crps, normalised, pdf_metrics, pdf_scores, pit
from model.recalibration import mapped, recalibrate, recalibrated
from model.recalibration_fits import MIN_ROWS, fit_alpha, fit_pit_map
from schemas.errors import ModelError

EDGES = np.linspace(0, 1, 101)
MIDDLE = (EDGES[1:] + EDGES[:-1]) / 2


def _gaussian_pdfs(centre, width):
    return normalised(np.exp(-(((MIDDLE - centre[:, None]) / width) ** 2) / 2))


def _sky(n, *, claimed, true=0.04, shift=0.0, seed=0):
    """Return PDFs that claim a width of galaxies that have another, and are shifted, and the true values."""
    random = np.random.default_rng(seed)
    centre = random.uniform(0.3, 0.7, n)
    return _gaussian_pdfs(centre + shift, claimed), random.normal(centre, true)


def _ks(pdf, z):
    return pdf_metrics(pdf_scores(pdf, EDGES, z))["pit_ks"]


@pytest.mark.parametrize(
    ("claimed", "shift"), [(0.02, 0.0), (0.08, 0.0), (0.04, 0.02), (0.025, -0.01)], ids=str
)
def test_a_map_of_the_pit_mends_pdfs_of_galaxies_it_has_not_seen(claimed, shift):
    fitted = fit_pit_map(pit(*_args(_sky(2500, claimed=claimed, shift=shift, seed=1))))
    pdf, z = _sky(3000, claimed=claimed, shift=shift, seed=2)
    mended = recalibrate(pdf, fitted)
    assert _ks(pdf, z) > 0.1
    assert _ks(mended, z) < 0.04
    assert crps(mended, EDGES, z).mean() < crps(pdf, EDGES, z).mean()
    assert pdf_metrics(pdf_scores(mended, EDGES, z))["coverage_95"] == pytest.approx(0.95, abs=0.02)


def _args(sky):
    return sky[0], EDGES, sky[1]


def test_a_map_of_pits_that_are_uniform_changes_little_and_says_so():
    fitted = fit_pit_map(pit(*_args(_sky(4000, claimed=0.04, seed=3))))
    assert fitted["p"] > 0.01 and fitted["ks"] < 0.03
    assert np.abs(np.array(fitted["pit"]) - fitted["level"]).max() < 0.04


def test_true_values_outside_the_bins_do_not_spoil_the_map():
    values = np.concatenate([np.zeros(120), np.random.default_rng(0).random(760), np.ones(120)])
    fitted = fit_pit_map(values)
    assert fitted["pit"][0] == fitted["level"][0] == 0 and fitted["pit"][-1] == fitted["level"][-1] == 1
    assert (np.diff(fitted["pit"]) > 0).all() and (np.diff(fitted["level"]) > 0).all()


def test_pits_that_are_all_nought_or_one_are_refused():
    with pytest.raises(ModelError, match="all 300 PITs are 0 or 1"):
        fit_pit_map(np.repeat([0.0, 1.0], 150))


@pytest.mark.parametrize("factor", [0.3, 1.0, 2.5])
def test_alpha_makes_gaussian_errors_cover_what_they_claim(factor):
    random = np.random.default_rng(0)
    z, error = random.uniform(0, 1, 4000), random.uniform(0.01, 0.05, 4000)
    estimate = random.normal(z, error)
    fitted = fit_alpha(z, estimate, error / factor)
    assert fitted["alpha"] == pytest.approx(factor, rel=0.04)
    inside = np.abs(z - estimate) < fitted["alpha"] * error / factor
    assert inside.mean() == pytest.approx(0.683, abs=0.02)


def test_alpha_is_one_where_the_coverage_is_right_already():
    from scipy.stats import norm

    pulls = norm.ppf((np.arange(1000) + 0.5) / 1000)
    assert fit_alpha(pulls, np.zeros(1000), np.ones(1000))["alpha"] == 1


def test_errors_that_no_factor_can_mend_are_refused():
    with pytest.raises(ModelError, match="no factor between"):
        fit_alpha(np.ones(500), np.ones(500), np.full(500, 0.1))


@pytest.mark.parametrize(
    "fit",
    [
        lambda pdf, z: fit_pit_map(pit(pdf, EDGES, z)),
        lambda pdf, z: fit_alpha(z, z + 0.01, np.full(len(z), 0.01)),
    ],
)
def test_too_few_rows_are_told_with_how_many_are_needed(fit):
    with pytest.raises(
        ModelError, match=f"at least {MIN_ROWS} labelled rows, found {MIN_ROWS - 1}"
    ) as caught:
        fit(*_sky(MIN_ROWS - 1, claimed=0.04))
    assert "split.calibration" in caught.value.remedy


def test_what_is_fitted_travels_as_json_and_a_pdf_that_is_not_finite_stays_so():
    pdf, z = _sky(500, claimed=0.02)
    fitted = fit_pit_map(pit(pdf, EDGES, z))
    pdf[3], pdf[4] = np.nan, 0
    found = recalibrate(pdf, json.loads(json.dumps(fitted)))
    assert np.isnan(found[3:5]).all() and np.isfinite(np.delete(found, [3, 4], 0)).all()


def test_something_else_than_a_recalibration_of_pdfs_is_refused():
    with pytest.raises(ModelError, match="cannot be recalibrated by 'alpha'"):
        recalibrate(np.ones((1, 2)), {"kind": "alpha", "alpha": 1.0})


def test_estimates_are_read_from_the_mended_pdf_and_errors_of_a_gaussian_are_scaled():
    head = {"kind": "bins", "z_min": 0.0, "z_max": 1.0, "bins": 100, "estimate": "mean"}
    pdf, z = _sky(1000, claimed=0.02, shift=0.03)
    found = combine(pdf[None], head)
    mended = recalibrated(found, head, fit_pit_map(pit(pdf, EDGES, z)))
    assert np.abs(np.mean(found.z - z)) > 0.025 > 0.01 > np.abs(np.mean(mended.z - z))
    assert mended.z == pytest.approx((mended.pdf * MIDDLE).sum(1), abs=1e-6)
    assert (mended.error > found.error).mean() > 0.95
    gaussian = {"kind": "gaussian"}
    answers = np.array([[[0.1, 0.02], [np.nan, 0.1]], [[0.3, 0.02], [0.2, 0.1]]])
    plain = combine(answers, gaussian)
    scaled = recalibrated(plain, gaussian, {"kind": "alpha", "alpha": 1.5})
    assert scaled.error[0] == pytest.approx(1.5 * np.hypot(0.1, 0.02)) and np.isnan(scaled.error[1])
    assert np.array_equal(scaled.z, plain.z, equal_nan=True)
    with pytest.raises(ModelError, match="head 'gaussian' cannot be recalibrated by 'pit'"):
        recalibrated(plain, gaussian, {"kind": "pit"})


PIT, LEVEL = [0.0, 0.2, 0.21, 1.0], [0.0, 0.05, 0.9, 1.0]
FITTED = {"kind": "pit", "pit": PIT, "level": LEVEL, "slope": PchipInterpolator(PIT, LEVEL).derivative()(PIT)}


def test_the_map_is_the_monotone_curve_through_its_points():
    values = np.linspace(0, 1, 1001)
    found = mapped(values, FITTED)
    assert found == pytest.approx(PchipInterpolator(PIT, LEVEL)(values), abs=1e-14)
    assert (np.diff(found) >= 0).all()


@settings(max_examples=60)
@given(arrays(np.float32, (3, 12), elements=st.floats(0, 1, width=32)))
def test_recalibrated_pdfs_are_pdfs_whatever_they_were(pdf):
    pdf[:, 5] += 0.5
    found = recalibrate(pdf.astype("f2"), FITTED)
    assert np.isfinite(found).all() and (found >= 0).all()
    assert found.sum(1) == pytest.approx(np.ones(3), abs=1e-12)
