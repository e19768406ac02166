import csv
import os
from pathlib import Path

import numpy as np
import pytest

from model.metrics import DEFINITIONS, photoz_metrics
from model.pdfs import cde_loss, coverage, crps, pdf_metrics, pdf_scores, pit
from schemas.errors import ModelError

SHARED = Path(os.environ.get("SKYMILL_SHARED", Path(__file__).parents[4] / "shared"))
PUBLISHED = {
    "50": {
        "rmse": "0.01439",
        "mae": "0.01014",
        "bias": "-0.00377",
        "median_bias": "-0.00586",
        "nmad": "0.00724",
        "nmad_uncentred": "0.01143",
        "nmad_csst": "0.00745",
        "eta_0.05": "0.0125",
        "eta_0.10": "0",
        "eta_0.15": "0",
        "r2": "0.94126",
    },
    "80": {
        "rmse": "0.02685",
        "mae": "0.02302",
        "bias": "-0.0204",
        "median_bias": "-0.01856",
        "nmad": "0.01074",
        "nmad_uncentred": "0.02751",
        "nmad_csst": "0.01059",
        "eta_0.05": "0.0281",
        "eta_0.10": "0",
        "eta_0.15": "0",
        "r2": "0.79550",
    },
}


def _holdout(epochs):
    path = SHARED / "facts" / f"menko_{epochs}ep_holdout_points.csv"
    if not path.exists():
        pytest.skip(f"{path} is not there; name its folder with SKYMILL_SHARED")
    with path.open() as file:
        pairs = np.array([(float(r["z_spec"]), float(r["z_pred"])) for r in csv.DictReader(file)])
    return pairs[:, 0], pairs[:, 1]


@pytest.mark.parametrize("epochs", ["50", "80"])
def test_the_published_numbers_of_the_first_network_come_out_to_the_digits_given(epochs):
    true, pred = _holdout(epochs)
    skymill, wei = (photoz_metrics(true, pred, definition=d) for d in ("skymill", "wei2025"))
    found = {
        "rmse": skymill.rmse,
        "mae": skymill.mae,
        "bias": skymill.bias,
        "median_bias": wei.bias,
        "nmad": skymill.sigma_nmad,
        "nmad_uncentred": photoz_metrics(true, pred, definition="zhou2023").sigma_nmad * 1.4826 / 1.48,
        "nmad_csst": photoz_metrics(true, pred, definition="zhou_csst").sigma_nmad,
        "eta_0.05": skymill.outlier_fraction,
        "eta_0.10": photoz_metrics(true, pred, definition="li2024").outlier_fraction,
        "eta_0.15": wei.outlier_fraction,
        "r2": skymill.r2,
    }
    wrong = {
        name: (value, found[name])
        for name, value in PUBLISHED[epochs].items()
        if f"{found[name]:.{len(value.partition('.')[2])}f}" != value
    }
    assert not wrong and found.keys() == PUBLISHED[epochs].keys()
    assert found["eta_0.10"] == found["eta_0.15"] == 0
    assert skymill.n == 1600
    percentiles = [true.min(), np.median(true), np.percentile(true, 99), true.max()]
    assert [f"{z:.3f}" for z in percentiles] == ["0.044", "0.124", "0.245", "0.761"]


def test_the_median_removed_scatter_hides_a_bias_that_the_other_shows():
    true = np.linspace(0.01, 0.3, 100)
    pred = true + 0.02 * (1 + true)
    assert photoz_metrics(true, pred).sigma_nmad == pytest.approx(0, abs=1e-12)
    assert photoz_metrics(true, pred, definition="zhou2023").sigma_nmad == pytest.approx(0.02 * 1.48)
    assert photoz_metrics(true, pred).bias == pytest.approx(0.02)


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_a_result_carries_its_definition_threshold_and_number(definition):
    true = np.append(np.full(40, 0.1), [0.2, np.nan])
    pred = np.append(np.full(40, 0.1), [0.6, 0.1])
    result = photoz_metrics(true, pred, definition=definition)
    assert result.n == 41
    assert result.outlier_fraction == 1 / 41
    assert result.text and f"{DEFINITIONS[definition].outlier:g}" in result.text
    assert result.definition == definition
    in_sigmas = DEFINITIONS[definition].sigma != "nmad"
    assert result.outlier_threshold == DEFINITIONS[definition].outlier * (result.sigma if in_sigmas else 1)
    assert in_sigmas or result.sigma == result.sigma_nmad


def test_plain_and_clipped_deviations_count_outliers_in_their_own_sigma():
    random = np.random.default_rng(0)
    true = random.uniform(0.1, 0.5, 5000)
    delta = random.normal(0.001, 0.02, 5000)
    delta[:250] = 0.3
    pred = true + delta * (1 + true)
    brescia, beck = (photoz_metrics(true, pred, definition=name) for name in ("brescia2014", "beck2016"))
    assert brescia.sigma == pytest.approx(delta.std())
    assert brescia.bias == pytest.approx(delta.mean())
    assert brescia.outlier_fraction == np.mean(np.abs(delta) > 2 * delta.std())
    assert beck.sigma == pytest.approx(0.02, rel=0.03)
    assert beck.bias == pytest.approx(0.001, abs=0.001)
    assert beck.outlier_fraction == pytest.approx(0.05 + 0.95 * 0.0027, abs=0.002)
    assert brescia.sigma_nmad == beck.sigma_nmad == photoz_metrics(true, pred).sigma_nmad


def test_in_an_interval_dey_s_bias_is_the_hodges_lehmann_estimate_and_wei_s_the_median():
    true, delta = np.zeros(3), np.array([0.0, 0.01, 0.06])
    measured = {
        (name, interval): photoz_metrics(true, delta, definition=name, interval=interval).bias
        for name in ("dey2022", "wei2025", "skymill")
        for interval in (False, True)
    }
    assert measured["dey2022", True] == pytest.approx(0.02)
    assert measured["dey2022", False] == measured["skymill", True] == pytest.approx(0.07 / 3)
    assert measured["wei2025", True] == measured["wei2025", False] == pytest.approx(0.01)


def test_metrics_of_one_galaxy_are_numbers_and_its_r2_is_not():
    for name in DEFINITIONS:
        found = photoz_metrics(np.array([0.1]), np.array([0.12]), definition=name)
        assert found.n == 1 and np.isnan(found.r2) and np.isfinite([found.sigma, found.bias]).all()


def test_an_unknown_definition_names_those_there_are():
    with pytest.raises(ModelError) as caught:
        photoz_metrics(np.zeros(2), np.zeros(2), definition="nmad")
    assert "pasquet2019" in caught.value.remedy


def test_measuring_nothing_is_refused():
    with pytest.raises(ModelError, match="none of 2 pairs"):
        photoz_metrics(np.full(2, np.nan), np.zeros(2))


def test_labels_drawn_from_their_own_pdfs_are_calibrated():
    random = np.random.default_rng(1)
    edges = np.linspace(0, 1, 51)
    middle = (edges[1:] + edges[:-1]) / 2
    centre = random.uniform(0.3, 0.7, 4000)
    pdf = np.exp(-(((middle - centre[:, None]) / 0.05) ** 2) / 2)
    pdf /= pdf.sum(1, keepdims=True)
    drawn = np.array([random.choice(50, p=p) for p in pdf]) / 50 + random.uniform(0, 1 / 50, 4000)
    good = pdf_metrics(pdf_scores(pdf, edges, drawn))
    assert good["pit_ks"] < 0.03
    assert good["coverage_68"] == pytest.approx(0.68, abs=0.03)
    assert sum(good["pit_histogram"]) == 4000
    narrow = np.where(np.abs(middle - centre[:, None]) < 0.02, 1.0, 1e-9)
    narrow /= narrow.sum(1, keepdims=True)
    bad = pdf_metrics(pdf_scores(narrow, edges, drawn))
    assert bad["coverage_68"] < 0.5 and bad["crps"] > good["crps"] and bad["cde_loss"] > good["cde_loss"]


def test_scores_of_a_certain_pdf_have_their_closed_forms():
    edges = np.array([0.0, 0.1, 0.2, 0.3])
    certain = np.array([[0.0, 1.0, 0.0]])
    assert crps(certain, edges, np.array([0.15])) == pytest.approx([0.0])
    assert crps(certain, edges, np.array([0.05])) == pytest.approx([0.1])
    assert cde_loss(certain, edges, np.array([0.15])) == pytest.approx([10 - 20])
    assert pit(certain, edges, np.array([0.15, 0.9, -1.0])[:1]) == pytest.approx([0.5])
    assert pit(np.repeat(certain, 2, 0), edges, np.array([0.9, -1.0])).tolist() == [1.0, 0.0]


def test_coverage_counts_central_intervals():
    assert coverage(np.array([0.5, 0.05]), np.array([0.5, 0.95])).tolist() == [0.5, 1.0]
