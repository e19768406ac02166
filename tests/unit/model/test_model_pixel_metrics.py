import numpy as np
import pytest

from model.pixel_metrics import PixelCounts


def test_accuracies_and_overlaps_are_those_of_the_pixels():
    counts = PixelCounts(("source", "sky"), background=1)
    labels = np.eye(2)[[0, 0, 0, 1, 1, 1, 1, 1]]
    logits = np.zeros((8, 2))
    logits[:, 1] = [-3, -3, 1.0, 3, 3, 3, 3, -1.0]  # sigmoid(1) is 0.73
    for part in (slice(0, 3), slice(3, 8)):
        counts.add(labels[part], logits[part])
    found = counts.metrics()
    assert found["accuracy"] == 6 / 8
    assert (found["accuracy_source"], found["accuracy_sky"]) == (2 / 3, 4 / 5)
    assert found["iou_0.5"] == pytest.approx((2 / 4 + 4 / 6) / 2)
    assert found["iou_0.8"] == pytest.approx((3 / 4 + 4 / 5) / 2)


def test_the_accuracy_of_a_class_without_a_pixel_is_not_a_number():
    counts = PixelCounts(("source", "sky"), background=1)
    counts.add(np.eye(2)[[1, 1]], np.eye(2)[[1, 1]])
    assert np.isnan(counts.metrics()["accuracy_source"])
