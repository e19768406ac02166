import json

import numpy as np
import pytest
from scipy.stats import norm

from model.calibrating import FOLDS, judged
from model.recalibration_fits import fit_alpha
from schemas.errors import ModelError


def _gaussian(n, *, scale, shift=0.0, seed=0):
    """Evidence of estimates whose errors are `scale` times too small, and that are shifted."""
    random = np.random.default_rng(seed)
    truth, error = random.uniform(0.1, 0.4, n), random.uniform(0.01, 0.03, n)
    return np.stack([truth, truth + shift + random.normal(0, error * scale), error], axis=1)


def _bins(n, *, scale, seed=0):
    """Evidence of PDFs of bins whose widths are `scale` times too small: a tenth of the truth's bin is below it."""
    random = np.random.default_rng(seed)
    pull, width = random.normal(0, scale, n), 0.05
    return np.stack([norm.cdf(pull - 0.1 * width), norm.cdf(pull + 0.9 * width), np.full(n, 0.1)], axis=1)


@pytest.mark.parametrize(("kind", "evidence"), [("alpha", _gaussian), ("pit", _bins)])
def test_what_is_calibrated_already_is_left_as_it_is_and_why_is_said(kind, evidence):
    found = judged(evidence(1500, scale=1.0, seed=0), kind, least=200)
    assert not found["applied"] and "calibrated already" in found["why"]
    assert found["p"]["before"] > 0.05 and found["rows"] == 1500


@pytest.mark.parametrize(("kind", "evidence"), [("alpha", _gaussian), ("pit", _bins)])
@pytest.mark.parametrize("scale", [0.6, 1.5])
def test_what_is_not_is_mended_for_rows_that_it_was_not_learnt_from(kind, evidence, scale):
    found = judged(evidence(1500, scale=scale, seed=3), kind, least=200)
    assert found["applied"] and found["fitted"]["kind"] == kind
    assert found["ks"]["before"] > 0.08 > 0.04 > found["ks"]["after"]
    levels = found["coverage"]["levels"]
    for level in (0.68, 0.95):
        place = levels.index(level)
        before, after = (abs(found["coverage"][when][place] - level) for when in ("before", "after"))
        assert after < before and after < 0.03
    assert sum(found["pit_histogram"]["after"]) == 1500
    assert json.loads(json.dumps(found)) == found


def test_alpha_is_that_of_all_rows_and_after_is_not():
    evidence = _gaussian(300, scale=1.5)
    found = judged(evidence, "alpha", least=200)
    assert found["fitted"] == fit_alpha(*evidence.T)
    pulls = np.abs(evidence[:, 0] - evidence[:, 1]) / (evidence[:, 2] * found["fitted"]["alpha"])
    by_all = [(pulls <= norm.ppf((1 + level) / 2)).mean() for level in found["coverage"]["levels"]]
    assert found["coverage"]["after"] == pytest.approx(by_all, abs=0.05)
    assert found["coverage"]["after"] != by_all


def test_a_factor_that_does_not_help_rows_it_was_not_learnt_from_is_not_applied():
    random = np.random.default_rng(1)
    truth = random.uniform(0.1, 0.4, 300)
    pull = random.uniform(-1.7, 1.7, 300)  # no factor makes a Gaussian of it
    evidence = np.stack([truth, truth + 0.02 * pull, np.full(300, 0.02)], axis=1)
    found = judged(evidence, "alpha", least=200)
    assert not found["applied"] and "no help to rows" in found["why"]
    assert found["ks"]["after"] >= found["ks"]["before"]


def test_too_few_rows_are_told_with_how_many_are_needed():
    with pytest.raises(ModelError, match="at least 200 labelled rows, found 199"):
        judged(_gaussian(199, scale=1.0), "alpha", least=200)
    assert judged(_gaussian(4 * FOLDS, scale=3.0), "alpha", least=20)["rows"] == 20
    assert judged(_bins(4 * FOLDS, scale=3.0), "pit", least=20)["rows"] == 20
