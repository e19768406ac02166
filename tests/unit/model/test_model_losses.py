from math import erf

import numpy as np
import pytest

from model.heads import summarise
from model.losses import make_loss
from model.pdfs import crps
from schemas.errors import ModelError

HEAD = {"kind": "bins", "z_min": 0.0, "z_max": 0.4, "bins": 40}


def _logits(n, members=2, seed=0):
    return np.random.default_rng(seed).normal(size=(n, members, 40)).astype("f4")


def test_the_cross_entropy_is_that_of_a_gaussian_label():
    loss = make_loss({"kind": "cross_entropy", "label_width": 0.01}, HEAD)
    labels, logits = np.array([0.1, 0.23], "f4"), _logits(2)
    edges = np.linspace(0, 0.4, 41)
    soft = np.diff(0.5 * (1 + np.vectorize(erf)((edges - labels[:, None]) / (0.01 * np.sqrt(2)))), axis=1)
    soft /= soft.sum(1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -(soft[:, None] * log_p).sum(-1).mean(-1)
    assert np.asarray(loss(labels, logits)) == pytest.approx(expected, rel=1e-4)


def test_a_label_at_the_very_edge_has_a_finite_loss():
    loss = make_loss({"kind": "cross_entropy", "label_width": 0.001}, HEAD)
    assert np.isfinite(np.asarray(loss(np.array([0.0, 0.4], "f4"), _logits(2)))).all()


def test_the_crps_loss_is_the_metric_in_units_of_a_bin():
    loss = make_loss({"kind": "crps"}, HEAD)
    labels, logits = np.array([0.1234, 0.31], "f4"), _logits(2, members=1)
    pdf = np.exp(logits[:, 0]) / np.exp(logits[:, 0]).sum(1, keepdims=True)
    expected = crps(pdf, np.linspace(0, 0.4, 41), labels) / 0.01
    assert np.asarray(loss(labels, logits)) == pytest.approx(expected, rel=1e-4)


def test_squared_and_absolute_losses_are_means_over_members_only():
    output = np.array([[[0.1], [0.3]], [[0.2], [0.2]]], "f4")
    labels = np.array([0.1, 0.1], "f4")
    squared, absolute = (make_loss({"kind": k}, {"kind": "scalar"}) for k in ("squared", "absolute"))
    assert np.asarray(squared(labels, output)) == pytest.approx([0.02, 0.01])
    assert np.asarray(absolute(labels, output)) == pytest.approx([0.1, 0.1])


def test_a_loss_that_does_not_fit_the_head_names_those_that_do():
    with pytest.raises(ModelError) as caught:
        make_loss({"kind": "squared"}, HEAD)
    assert "cross_entropy, crps" in caught.value.remedy


def test_a_label_without_a_width_is_the_one_bin_it_lies_in_or_the_nearest():
    loss = make_loss({"kind": "cross_entropy", "label_width": 0.0}, HEAD)
    labels = np.array([0.005, 0.1, 0.399, -0.2, 0.7], "f4")
    logits = _logits(5)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = [-log_p[row, :, place].mean() for row, place in enumerate((0, 10, 39, 0, 39))]
    assert np.asarray(loss(labels, logits)) == pytest.approx(expected, rel=1e-4)


def test_the_likelihood_is_that_of_the_normal_distribution_the_answer_describes():
    head = {"kind": "gaussian", "floor": 1e-3, "slope": 0.01}
    output = np.array([[[0.1, 0.0], [0.2, -3.0]], [[0.5, 300.0], [0.4, 50.0]]], "f4")
    labels = np.array([0.15, 0.7], "f4")
    sigma = 1e-3 + np.log1p(np.exp(0.01 * output[..., 1].astype("f8")))
    density = np.exp(-(((labels[:, None] - output[..., 0]) / sigma) ** 2) / 2) / (sigma * np.sqrt(2 * np.pi))
    found = np.asarray(make_loss({"kind": "likelihood"}, head)(labels, output))
    assert found == pytest.approx(-np.log(density).mean(-1), rel=1e-4)
    mean, error = np.asarray(summarise(output, head)).T
    assert mean == pytest.approx(output[..., 0].mean(-1))
    assert error == pytest.approx(np.sqrt((sigma**2).mean(-1) + output[..., 0].var(-1)), rel=1e-4)


def test_the_loss_of_two_classes_is_the_logarithm_of_the_probability_of_the_right_one():
    output = np.array([[[0.0, 2.0]], [[0.0, 2.0]], [[1.0, -1.0]]], "f4")
    yes = np.asarray(summarise(output, {"kind": "binary"}))[:, 0]
    assert yes == pytest.approx(1 / (1 + np.exp([-2, -2, 2])), rel=1e-5)
    found = make_loss({"kind": "cross_entropy"}, {"kind": "binary"})(np.array([1, 0, 0], "f4"), output)
    assert np.asarray(found) == pytest.approx(-np.log([yes[0], 1 - yes[1], 1 - yes[2]]), rel=1e-5)


def test_a_sigmoid_answers_between_0_and_1_and_its_loss_is_measured_there():
    output = np.array([[[-20.0]], [[0.0]], [[20.0]]], "f4")
    assert np.asarray(summarise(output, {"kind": "sigmoid"}))[:, 0] == pytest.approx([0, 0.5, 1], abs=1e-6)
    loss = make_loss({"kind": "absolute"}, {"kind": "sigmoid"})
    assert np.asarray(loss(np.array([0.5, 0.5, 0.5], "f4"), output)) == pytest.approx([0.5, 0, 0.5], abs=1e-6)


@pytest.mark.parametrize("width", [0.0, 0.01])
def test_a_share_of_the_ranked_probability_score_is_added_to_the_cross_entropy(width):
    labels, logits = np.array([0.105, 0.231], "f4"), _logits(2)
    plain, whole = (
        make_loss({"kind": "cross_entropy", "label_width": width, "crps_share": share}, HEAD)
        for share in (0.0, 0.5)
    )
    edges = np.linspace(0, 0.4, 41)
    step = 1.0 * (edges[1:] > labels[:, None])
    if width:
        step = 0.5 * (1 + np.vectorize(erf)((edges[1:] - labels[:, None]) / (width * np.sqrt(2))))
    cumulative = np.cumsum(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True), axis=-1)
    expected = 0.5 * ((cumulative - step[:, None]) ** 2).sum(-1).mean(-1)
    added = np.asarray(whole(labels, logits)) - np.asarray(plain(labels, logits))
    assert added == pytest.approx(expected, rel=1e-3)
