import numpy as np
import pytest
from scipy.stats import pearsonr, rankdata, spearmanr

from model.regression import binned_relation, pearson, ranks, regression_metrics
from schemas.errors import ModelError

RANDOM = np.random.default_rng(11)
LABEL = RANDOM.gamma(2, 0.2, 300).round(2)  # some labels are equal
PREDICTED = LABEL + 0.1 * RANDOM.standard_normal(300)


def test_numbers_of_three_objects_are_those_worked_out_by_hand():
    found = regression_metrics(np.array([0.0, 2.0, 4.0]), np.array([1.0, 2.0, 1.0]))
    # differences 1, 0, -3; squares of the labels about their mean 4 + 0 + 4
    assert (found["n"], found["bias"], found["mae"]) == (3, pytest.approx(-2 / 3), pytest.approx(4 / 3))
    assert found["rmse"] == pytest.approx(np.sqrt(10 / 3)) and found["r2"] == pytest.approx(1 - 10 / 8)
    assert found["pearson"] == pytest.approx(0.0) and found["spearman"] == pytest.approx(0.0)


def test_correlations_are_scipys_ties_included():
    found = regression_metrics(LABEL, PREDICTED.round(1))
    assert found["pearson"] == pytest.approx(pearsonr(LABEL, PREDICTED.round(1)).statistic)
    assert found["spearman"] == pytest.approx(spearmanr(LABEL, PREDICTED.round(1)).statistic)
    np.testing.assert_array_equal(ranks(LABEL), rankdata(LABEL))


def test_objects_without_a_label_or_a_prediction_are_not_counted():
    label, predicted = np.r_[LABEL, np.nan, 0.3], np.r_[PREDICTED, 0.1, np.inf]
    assert regression_metrics(label, predicted) == regression_metrics(LABEL, PREDICTED)
    with pytest.raises(ModelError, match="none of 2 pairs"):
        regression_metrics(np.array([np.nan, 1.0]), np.array([1.0, np.nan]))
    with pytest.raises(ModelError, match="as many predictions"):
        regression_metrics(LABEL, PREDICTED[1:])


def test_what_cannot_be_said_is_none():
    found = regression_metrics(np.ones(20), PREDICTED[:20])
    assert (found["pearson"], found["spearman"], found["r2"]) == (None, None, None)
    assert pearson(LABEL, np.zeros(300)) is None


def test_bins_hold_every_object_once_and_their_own_percentiles():
    bins = binned_relation(LABEL, PREDICTED)
    assert sum(one.n for one in bins) == 300 and len(bins) == 10
    assert [one.high for one in bins[:-1]] == [one.low for one in bins[1:]]
    for one in bins:
        last = one is bins[-1]
        inside = (one.low <= LABEL) & ((one.high >= LABEL) if last else (one.high > LABEL))
        assert one.n == inside.sum() >= 20
        assert (one.p16, one.median, one.p84) == tuple(np.percentile(PREDICTED[inside], [16, 50, 84]))


@pytest.mark.parametrize(("n", "bins"), [(1, 1), (19, 1), (25, 2)])
def test_few_objects_are_few_bins(n, bins):
    assert len(binned_relation(LABEL[:n], PREDICTED[:n])) == bins


def test_many_equal_labels_are_in_one_bin():
    bins = binned_relation(np.r_[np.zeros(80), np.arange(1, 21)], np.zeros(100))
    assert [(one.low, one.high, one.n) for one in bins] == [(0, 10, 89), (10, 20, 11)]
