import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.pixel_labels import class_masses
from model.pixel_losses import make_pixel_loss
from schemas.errors import ModelError

CLASSES = ("spheroid", "disk", "irregular", "point_source", "background")


def _labels(n=6, side=8, seed=0):
    return np.random.default_rng(seed).dirichlet([0.4] * 5, (n, side, side)).astype("f4")


def _logits(n=6, side=8, seed=1):
    return np.random.default_rng(seed).normal(size=(n, side, side, 5)).astype("f4") * 2


def _published(labels, logits):
    """The loss of a batch as it was published, written as a loop over pixels."""
    labels, logits = labels.astype("f8"), logits.astype("f8")
    flat = labels.reshape(-1, 5)
    masses = [np.mean([p[c] if p.argmax() == c else 0.0 for p in flat]) for c in range(5)]
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    entropies = []
    for p, q in zip(flat, probabilities.reshape(-1, 5), strict=True):
        entropies.append(-(p * np.log(q)).sum() / masses[p.argmax()])
    sky, found = labels[..., 4], 1 / (1 + np.exp(-logits[..., 4]))
    dice = [2 * (y * p).sum() / (y + p).sum() for y, p in zip(sky, found, strict=True)]
    return np.mean(entropies) + 1 - np.mean(dice)


def test_over_a_batch_of_everything_the_loss_is_the_published_one():
    labels, logits = _labels(), _logits()
    loss = make_pixel_loss(class_masses([labels], CLASSES), background=4)
    each = np.asarray(loss(labels, logits))
    assert each.shape == (6,)
    assert each.mean() == pytest.approx(_published(labels, logits), rel=1e-5)


def test_a_window_s_loss_does_not_hang_on_its_batch():
    labels, logits = _labels(), _logits()
    loss = make_pixel_loss(class_masses([labels], CLASSES), background=4)
    assert np.asarray(loss(labels[2:3], logits[2:3])) == pytest.approx(
        np.asarray(loss(labels, logits))[2:3], rel=1e-6
    )


def test_the_loss_falls_to_the_label_s_own_entropy_and_a_dice_of_one():
    labels = np.eye(5, dtype="f4")[np.random.default_rng(0).integers(0, 5, (2, 8, 8))]
    loss = make_pixel_loss(class_masses([labels], CLASSES), background=4)
    assert np.asarray(loss(labels, labels * 60 - 30)) == pytest.approx(0, abs=1e-4)


def test_a_rare_class_weighs_more():
    labels = np.zeros((1, 10, 10, 5), "f4")
    labels[0, :, :, 4] = 1
    labels[0, :4, 0] = np.eye(5)[:4]
    masses = class_masses([labels], CLASSES)
    assert masses == pytest.approx([0.01, 0.01, 0.01, 0.01, 0.96])


@given(st.permutations(range(6)), st.lists(st.integers(1, 5), max_size=4))
def test_the_masses_are_the_same_to_the_last_bit_however_labels_are_cut(order, cuts):
    labels = _labels()
    pieces = np.split(labels[list(order)], sorted(set(cuts)))
    assert np.array_equal(class_masses(pieces, CLASSES), class_masses([labels], CLASSES))


def test_a_class_without_an_example_is_named_before_training():
    labels = _labels()
    labels[..., 2] = 0
    labels /= labels.sum(-1, keepdims=True)
    with pytest.raises(ModelError, match="'irregular' has no example"):
        class_masses([labels], CLASSES)
    with pytest.raises(ModelError, match="mass of each class"):
        make_pixel_loss([0.2, 0.3, 0.0, 0.1, 0.4], background=4)


@pytest.mark.parametrize("wrong", [np.nan, 0.9, -0.5])
def test_labels_that_are_no_probabilities_are_named_with_their_place(wrong):
    labels = np.full((2, 3, 3, 5), 0.2, "f4")
    labels[1, 2, 0, 0] = wrong
    if wrong < 0:
        labels[1, 2, 0, 1] = 0.9
    with pytest.raises(ModelError, match=r"at \(1, 2, 0\)"):
        class_masses([labels], CLASSES)


def test_labels_of_other_classes_are_refused():
    with pytest.raises(ModelError, match=r"expected labels of 5 classes .*, found 4"):
        class_masses([np.full((1, 2, 2, 4), 0.25)], CLASSES)
