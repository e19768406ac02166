import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.order import (
    apply_symmetries,
    batches_per_epoch,
    draws,
    epoch_batches,
    epoch_order,
    evaluation_draws,
    share,
    symmetries,
)

rows_of_a_cube = st.lists(st.integers(0, 400), unique=True, min_size=1, max_size=200).map(
    lambda rows: np.array(sorted(rows), np.int64)
)
blocks, seeds, epochs = st.integers(1, 64), st.integers(0, 2**32 - 1), st.integers(0, 500)


@given(rows_of_a_cube, blocks, seeds, epochs)
def test_every_row_comes_exactly_once_an_epoch(rows, block, seed, epoch):
    order = epoch_order(rows, rows_per_block=block, seed=seed, epoch=epoch)
    assert np.array_equal(np.sort(order), rows)


@given(rows_of_a_cube, blocks, seeds, epochs)
def test_the_rows_of_a_block_are_served_with_those_of_its_two_neighbours_in_the_order_only(
    rows, block, seed, epoch
):
    order = epoch_order(rows, rows_per_block=block, seed=seed, epoch=epoch) // block
    first, last = ({int(b): np.flatnonzero(order == b)[i] for b in order} for i in (0, -1))
    # A block that has ended is not met again, and at no place are more than two blocks begun and not ended.
    for place in range(len(order)):
        assert sum(first[b] <= place < last[b] for b in first) <= 2


def test_an_order_never_changes():
    rows = np.array([0, 1, 2, 3, 5, 8, 9, 10, 11, 12, 13, 17, 18, 19, 22], np.int64)
    order = epoch_order(rows, rows_per_block=8, seed=137, epoch=0)
    assert order.tolist() == [11, 12, 8, 9, 1, 10, 13, 0, 19, 3, 17, 22, 5, 2, 18]
    which = symmetries(rows, seed=137, epoch=0)
    assert which.tolist() == [4, 0, 3, 6, 7, 4, 6, 6, 7, 3, 7, 3, 6, 6, 6]


def test_two_epochs_and_two_seeds_have_other_orders():
    rows = np.arange(100)
    orders = [
        epoch_order(rows, rows_per_block=16, seed=seed, epoch=epoch).tolist()
        for seed, epoch in ((1, 0), (1, 1), (2, 0))
    ]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_a_batch_mixes_two_blocks():
    order = epoch_order(np.arange(64), rows_per_block=16, seed=3, epoch=0) // 16
    assert [len(np.unique(part)) for part in np.split(order, [8, 24, 40])] == [1, 2, 2, 2]


@given(rows_of_a_cube, blocks, st.integers(1, 60), st.integers(0, 10))
def test_batches_are_numbered_pieces_of_the_order_and_the_first_ones_can_be_left_out(
    rows, block, batch, skip
):
    found = list(epoch_batches(rows, batch=batch, rows_per_block=block, seed=1, epoch=2, skip=skip))
    order = epoch_order(rows, rows_per_block=block, seed=1, epoch=2)
    count = batches_per_epoch(len(rows), batch)
    assert [index for index, _ in found] == list(range(skip, count))
    assert np.array_equal(np.concatenate([order[:0], *(one for _, one in found)]), order[skip * batch :])
    assert all(len(one) == batch for index, one in found if index < count - 1)


@given(rows_of_a_cube, blocks, st.integers(1, 9))
def test_shares_are_even_and_the_whole_batch_in_the_order_of_one_member_alone_or_all_of_too_small_a_one(
    rows, block, members
):
    batch = np.random.default_rng(len(rows)).permutation(rows)
    shares = [share(batch, rows_per_block=block, rank=i, members=members) for i in range(members)]
    alone = share(batch, rows_per_block=block, rank=0, members=1)
    assert np.array_equal(np.sort(alone), np.arange(len(rows)))
    if len(rows) < members:
        assert all(np.array_equal(own, alone) for own in shares)
        return
    assert np.array_equal(np.concatenate(shares), alone)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(rows_of_a_cube, blocks, st.integers(2, 5))
def test_a_member_s_rows_come_before_the_next_member_s_in_their_blocks(rows, block, members):
    shares = [rows[share(rows, rows_per_block=block, rank=i, members=members)] for i in range(members)]
    places = np.concatenate(shares[:1] if len(rows) < members else shares) % block
    assert (np.diff(places) >= 0).all()


def test_a_share_does_not_depend_on_the_order_in_which_the_batch_is_given():
    rows = np.array([40, 3, 19, 35, 8, 27])
    for rank in range(3):
        one, other = (
            set(given[share(given, rows_per_block=16, rank=rank, members=3)].tolist())
            for given in (rows, rows[::-1])
        )
        assert one == other


@given(rows_of_a_cube, seeds, epochs)
def test_what_is_drawn_for_a_row_does_not_depend_on_the_rows_around_it(rows, seed, epoch):
    for draw in (symmetries, draws):
        whole = draw(rows, seed=seed, epoch=epoch)
        one_by_one = [draw(rows[i : i + 1], seed=seed, epoch=epoch)[0] for i in range(len(rows))]
        assert whole.tolist() == one_by_one


def test_the_eight_symmetries_are_drawn_equally_often():
    counts = np.bincount(symmetries(np.arange(80_000), seed=137, epoch=3), minlength=8)
    assert len(counts) == 8 and counts.min() > 9_600 and counts.max() < 10_400


def test_the_bits_of_a_draw_are_set_half_the_time_and_independent_of_each_other_and_of_the_symmetry():
    rows = np.arange(40_000)
    drawn = draws(rows, seed=137, epoch=3)
    assert drawn.dtype == np.int32 and len(np.unique(drawn)) > 39_900
    bits = np.unpackbits(drawn.view(np.uint8).reshape(-1, 4), axis=1).astype(float)
    symmetry = symmetries(rows, seed=137, epoch=3)
    together = np.column_stack([bits, symmetry & 1, symmetry >> 1 & 1, symmetry >> 2])
    assert np.abs(together.mean(0) - 0.5).max() < 5 * 0.5 / np.sqrt(len(rows))
    correlation = np.corrcoef(together.T) - np.eye(35)
    assert np.abs(correlation).max() < 5 / np.sqrt(len(rows))


def test_two_epochs_and_two_seeds_draw_otherwise():
    rows = np.arange(1000)
    drawn = [draws(rows, seed=seed, epoch=epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    assert all((drawn[i] == drawn[j]).mean() < 0.01 for i, j in ((0, 1), (0, 2), (1, 2)))


@given(rows_of_a_cube)
def test_what_evaluation_draws_for_a_row_knows_nothing_of_other_rows(rows):
    one_by_one = [evaluation_draws(rows[i : i + 1])[0] for i in range(len(rows))]
    assert evaluation_draws(rows).tolist() == one_by_one


def test_evaluation_draws_otherwise_than_any_epoch_and_never_changes():
    rows = np.arange(1000)
    assert len(np.unique(evaluation_draws(rows))) == 1000
    for seed, epoch in ((0, 0), (4, 0), (137, 3)):
        assert (evaluation_draws(rows) == draws(rows, seed=seed, epoch=epoch)).mean() < 0.01
    assert evaluation_draws(np.arange(3)).tolist() == [116691661, 1233059468, -1189867571]


def test_the_eight_symmetries_are_eight_different_ones_and_keep_every_pixel():
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
    turned = apply_symmetries(np.repeat(image, 8, 0), np.arange(8))
    assert len({one.tobytes() for one in turned}) == 8
    assert all(sorted(one.ravel().tolist()) == list(range(16)) for one in turned)
    assert np.array_equal(turned[0], image[0])


def test_a_partial_last_batch_counts():
    assert [batches_per_epoch(n, 4) for n in (1, 4, 5)] == [1, 1, 2]
