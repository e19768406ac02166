import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.order import apply_symmetries, batches_per_epoch, epoch_stretches, symmetries

rows_of_a_cube = st.lists(st.integers(0, 400), unique=True, min_size=1, max_size=200).map(
    lambda rows: np.array(sorted(rows), np.int64)
)


def _stretches(rows, block, seed, epoch):
    return list(epoch_stretches(rows, rows_per_block=block, seed=seed, epoch=epoch))


@given(rows_of_a_cube, st.integers(1, 64), st.integers(0, 2**32 - 1), st.integers(0, 500))
def test_every_row_comes_exactly_once_an_epoch(rows, block, seed, epoch):
    served = np.concatenate([s.rows for s in _stretches(rows, block, seed, epoch)])
    assert np.array_equal(np.sort(served), rows)


@given(rows_of_a_cube, st.integers(1, 64), st.integers(0, 2**32 - 1), st.integers(0, 500))
def test_a_stretch_needs_its_own_block_and_the_one_before_only(rows, block, seed, epoch):
    before = None
    blocks = []
    for stretch in _stretches(rows, block, seed, epoch):
        assert set((stretch.rows // block).tolist()) <= {stretch.block, before}
        before = stretch.block
        blocks.append(stretch.block)
    assert len(blocks) == len(set(blocks)) == len(np.unique(rows // block))


@given(rows_of_a_cube, st.integers(1, 64), st.integers(0, 2**32 - 1), st.integers(0, 500))
def test_the_order_is_a_function_of_seed_and_epoch(rows, block, seed, epoch):
    first, second = (_stretches(rows, block, seed, epoch) for _ in range(2))
    assert all(np.array_equal(a.rows, b.rows) for a, b in zip(first, second, strict=True))


def test_two_epochs_and_two_seeds_have_other_orders():
    rows = np.arange(100)
    orders = [
        np.concatenate([s.rows for s in _stretches(rows, 16, seed, epoch)]).tolist()
        for seed, epoch in ((1, 0), (1, 1), (2, 0))
    ]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_a_stretch_mixes_two_blocks():
    stretches = _stretches(np.arange(64), 16, 3, 0)
    assert [len(np.unique(s.rows // 16)) for s in stretches] == [1, 2, 2, 2]
    assert [len(s.rows) for s in stretches] == [8, 16, 16, 24]


@given(rows_of_a_cube, st.integers(0, 2**32 - 1), st.integers(0, 500))
def test_a_row_s_symmetry_does_not_depend_on_the_rows_around_it(rows, seed, epoch):
    whole = symmetries(rows, seed=seed, epoch=epoch)
    one_by_one = [symmetries(rows[i : i + 1], seed=seed, epoch=epoch)[0] for i in range(len(rows))]
    assert whole.tolist() == one_by_one


def test_the_eight_symmetries_are_drawn_equally_often():
    counts = np.bincount(symmetries(np.arange(80_000), seed=137, epoch=3), minlength=8)
    assert len(counts) == 8 and counts.min() > 9_600 and counts.max() < 10_400


def test_the_eight_symmetries_are_eight_different_ones_and_keep_every_pixel():
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
    turned = apply_symmetries(np.repeat(image, 8, 0), np.arange(8))
    assert len({one.tobytes() for one in turned}) == 8
    assert all(sorted(one.ravel().tolist()) == list(range(16)) for one in turned)
    assert np.array_equal(turned[0], image[0])


def test_a_partial_last_batch_counts():
    assert [batches_per_epoch(n, 4) for n in (1, 4, 5)] == [1, 1, 2]
