import numpy as np
import pytest

from model.batches import Batch
from model.presets import load_preset
from model.remembering import Memory, is_remembered


def _batch(rows):
    rows = np.array(rows, np.int64)
    images = np.zeros((len(rows), 4, 4, 3), "u1") + rows.astype("u1")[:, None, None, None]
    nothing = np.zeros(len(rows), "f4")
    content = images, np.empty((len(rows), 0), np.float32)
    return Batch(0, len(rows), rows, content, nothing, nothing, np.zeros(len(rows), "i4"))


@pytest.fixture
def seen():
    """The images that were measured, by the level they have."""
    return []


@pytest.fixture
def measure(seen):
    def mean(inputs):
        (images,) = inputs
        seen.extend(images[:, 0, 0, 0].tolist())
        return images.mean((1, 2)).astype("f4")

    return mean


def test_a_row_is_measured_once_and_its_features_are_the_step_s_vector(measure, seen):
    step = Memory(measure).before(lambda batch: batch.inputs(["vector", "draw"])[0])
    assert step(_batch([3, 5, 9]))[:, 0].tolist() == [3, 5, 9]
    assert step(_batch([9, 4, 3]))[:, 2].tolist() == [9, 4, 3]
    assert seen == [3, 5, 9, 4]


def test_what_does_not_fit_into_memory_is_measured_each_time(measure, seen):
    step = Memory(measure, most_bytes=2 * 3 * 4).before(lambda batch: batch.content[1])
    for _ in range(2):
        assert step(_batch([1, 2, 6]))[:, 1].tolist() == [1, 2, 6]
    assert seen == [1, 2, 6, 6]


def test_a_share_without_rows_has_features_of_the_same_width(measure):
    assert Memory(measure).before(lambda batch: batch.content[1])(_batch([])).shape == (0, 3)


def test_only_what_does_not_change_from_epoch_to_epoch_is_remembered():
    assert is_remembered(load_preset("aperture"))
    assert not is_remembered(load_preset("aperture", {"input.symmetries": True}))
    assert not is_remembered(load_preset("light")) and not is_remembered(load_preset("menko"))
