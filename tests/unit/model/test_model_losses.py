from math import erf

import numpy as np
import pytest

from model.losses import make_loss
from model.metrics import crps
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
