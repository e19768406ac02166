import threading
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.batches import ordered_batches, training_epochs
from model.cubes import Cube, Geometry, LabelledRows, labelled_rows, read_ahead
from schemas.errors import ModelError
from schemas.flags import Part


def _cube(rows, block, reads=None, chunk=None):
    """A cube in memory whose image of row r is r in every pixel."""

    class Images:
        shape = (rows, 2, 2, 1)

        def __getitem__(self, span):
            if reads is not None:
                reads.append((span.start, span.stop))
            values = np.arange(rows, dtype=np.uint8)[span]
            return np.broadcast_to(values[:, None, None, None], (len(values), 2, 2, 1)).copy()

    geometry = Geometry(2, ("r",), 0.4)
    return Cube("memory", {"image": Images()}, geometry, rows, block, chunk or block)


def _readers():
    return [t for t in threading.enumerate() if t.name == "cube-reader"]


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 150), unique=True, min_size=1, max_size=100),
    st.integers(1, 40),
    st.integers(1, 30),
    st.integers(0, 9),
)
def test_batches_hold_the_pixels_and_labels_of_their_rows(chosen, block, batch, epoch):
    rows = np.array(sorted(chosen), np.int64)
    part = LabelledRows(rows, rows.astype(np.float32) / 10)
    cube = _cube(151, block, chunk=max(1, block // 8))
    with training_epochs(cube, part, batch=batch, seed=5, epochs=[epoch], turn=True) as epochs:
        found = list(next(epochs))
    assert [len(b.rows) for b in found[:-1]] == [batch] * (len(found) - 1)
    assert [b.index for b in found] == list(range(len(found)))
    assert np.array_equal(np.sort(np.concatenate([b.rows for b in found])), rows)
    for one in found:
        assert np.array_equal(one.images[:, 1, 0, 0], one.rows)
        assert np.array_equal(one.labels, one.rows.astype(np.float32) / 10)


def test_rows_in_the_cube_s_order_come_in_that_order():
    rows = np.array([3, 4, 17, 30, 31], np.int64)
    with ordered_batches(_cube(40, 8), LabelledRows(rows, rows.astype("f4")), batch=2) as batches:
        assert [b.rows.tolist() for b in batches] == [[3, 4], [17, 30], [31]]


def test_each_block_is_read_once_and_never_more_than_one_ahead():
    reads: list = []
    rows = np.arange(80, dtype=np.int64)
    part = LabelledRows(rows, rows.astype("f4"))
    with training_epochs(_cube(80, 8, reads), part, batch=4, seed=1, epochs=[0], turn=False) as epochs:
        batches = next(epochs)
        next(batches)
        next(batches)  # the second needs the second block
        assert len(reads) <= 3
        list(batches)
    assert sorted(reads) == [(i, i + 8) for i in range(0, 80, 8)]


def test_a_reader_holds_less_than_three_blocks():
    images = np.zeros((4096, 64, 64, 3), np.uint8)

    class Images:
        shape = images.shape

        def __getitem__(self, span):
            return images[span].copy()

    cube = Cube("memory", {"image": Images()}, Geometry(64, ("i", "r", "g"), 0.4), 4096, 1024, 64)
    rows = np.flatnonzero(np.arange(4096) % 10).astype(np.int64)
    part = LabelledRows(rows, rows.astype("f4"))
    tracemalloc.start()
    try:
        with training_epochs(cube, part, batch=64, seed=1, epochs=range(2), turn=False) as epochs:
            for batches in epochs:
                for _ in batches:
                    time.sleep(0.0005)  # so that the reader is as far ahead as it may be
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * 1024 * 64 * 64 * 3


def test_an_epoch_is_the_same_whether_others_came_before_it():
    rows = np.arange(3, 80, dtype=np.int64)
    part = LabelledRows(rows, rows.astype("f4"))

    def served(epochs):
        with training_epochs(_cube(80, 8), part, batch=10, seed=1, epochs=epochs, turn=True) as each:
            return [[batch.rows.tolist() for batch in batches] for batches in each]

    whole = served(range(3))
    assert whole[0] != whole[1]
    assert served(range(1, 3)) == whole[1:]


def test_the_first_block_of_an_epoch_is_read_before_the_epoch_is_asked_for():
    reads: list = []
    rows = np.arange(80, dtype=np.int64)
    part = LabelledRows(rows, rows.astype("f4"))
    with training_epochs(_cube(80, 8, reads), part, batch=4, seed=1, epochs=[0, 1], turn=False) as epochs:
        list(next(epochs))
        deadline = time.monotonic() + 5
        while len(reads) < 11 and time.monotonic() < deadline:
            time.sleep(0.001)
        assert len(reads) == 11


def test_the_reader_thread_ends_when_batches_are_left_early():
    rows = np.arange(80, dtype=np.int64)
    part = LabelledRows(rows, rows.astype("f4"))
    with (
        pytest.raises(ZeroDivisionError),
        training_epochs(_cube(80, 8), part, batch=4, seed=1, epochs=[0], turn=False) as epochs,
    ):
        next(next(epochs))
        raise ZeroDivisionError
    assert not _readers()


def test_an_error_of_the_reader_is_raised_where_its_result_is_taken():
    def read(value):
        if value == 2:
            raise OSError("no such shard")
        return value

    taken = []
    with pytest.raises(OSError, match="no such shard"), read_ahead(map(read, range(5))) as (values, go_on):
        for value in values:
            go_on()
            taken.append(value)
    assert taken == [0, 1]
    assert not _readers()


def test_only_good_labelled_rows_are_used():
    group = {
        "label": np.array([0.1, np.nan, 0.3, 0.4, 0.5], "f4"),
        "split": np.array([0, 0, 0, 1, 2], "u1"),
        "status": np.array([1, 1, 34, 1, 1], "u1"),
    }
    parts = labelled_rows(Cube("memory", group, Geometry(2, ("r",), 0.4), 5, 8, 1))
    assert {part: rows.rows.tolist() for part, rows in parts.items()} == {
        Part.TRAIN: [0],
        Part.VALIDATION: [3],
        Part.TEST: [4],
    }


def test_a_cube_without_labels_is_refused():
    group = {"label": np.full(3, np.nan), "split": np.zeros(3, "u1"), "status": np.ones(3, "u1")}
    with pytest.raises(ModelError, match="none of the 3 rows"):
        labelled_rows(Cube("memory", group, Geometry(2, ("r",), 0.4), 3, 8, 1))
