import threading
import time
import tracemalloc

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import Crc32cCodec
from zarr.storage import MemoryStore

from model.batches import ordered_batches, training_epochs
from model.cubes import Cube, LabelledRows, labelled_rows, read_ahead
from model.geometry import Geometry
from model.intake import intake_of, training_intake_of
from model.order import apply_symmetries, batches_per_epoch, draws, evaluation_draws, symmetries
from model.presets import load_preset
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

    geometry = Geometry((2, 2), ("r",), 0.4)
    return Cube("memory", {"image": Images()}, geometry, rows, block, chunk or block)


def _part(chosen):
    """Rows with a label and a weight of their own."""
    rows = np.array(sorted(chosen), np.int64)
    return LabelledRows(rows, rows.astype(np.float32) / 10, rows.astype(np.float32) / 7)


def _epochs(cube, part, **settings):
    """All batches of each epoch."""
    settings = {"seed": 5, "epochs": [0], "turn": False, **settings}
    with training_epochs(cube, part, **settings) as epochs:
        return [list(batches) for batches in epochs]


def _readers():
    return [t for t in threading.enumerate() if t.name == "cube-reader"]


chosen_rows = st.lists(st.integers(0, 150), unique=True, min_size=1, max_size=100)
blocks, batch_sizes, groups = st.integers(1, 40), st.integers(1, 30), st.integers(1, 4)


@settings(max_examples=40, deadline=None)
@given(chosen_rows, blocks, batch_sizes, groups, st.integers(0, 9))
def test_all_members_together_have_each_row_once_an_epoch_with_its_pixels_label_weight_and_draw(
    chosen, block, batch, members, epoch
):
    part, cube = _part(chosen), _cube(151, block, chunk=max(1, block // 8))
    shares = [
        _epochs(cube, part, batch=batch, epochs=[epoch], turn=True, rank=rank, members=members)[0]
        for rank in range(members)
    ]
    count = batches_per_epoch(len(part.rows), batch)
    sizes = [batch] * (count - 1) + [len(part.rows) - batch * (count - 1)]
    for found in shares:
        assert [(b.index, b.size) for b in found] == list(enumerate(sizes))
    for together in zip(*shares, strict=True):
        times = members if together[0].size < members else 1
        assert sum(len(b.rows) for b in together) == together[0].size * times
    everything = [b for found in shares for b in found]
    each_once = [b for b in everything if b.size >= members] + [b for b in shares[0] if b.size < members]
    assert np.array_equal(np.sort(np.concatenate([b.rows for b in each_once])), part.rows)
    for one in everything:
        assert one.images.shape == (len(one.rows), 2, 2, 1) and one.images.dtype == np.uint8
        assert np.array_equal(one.images[:, 1, 0, 0], one.rows)
        assert np.array_equal(one.labels, one.rows.astype(np.float32) / 10)
        assert np.array_equal(one.weights, one.rows.astype(np.float32) / 7)
        assert np.array_equal(one.draws, draws(one.rows, seed=5, epoch=epoch))
        assert (one.labels.dtype, one.weights.dtype, one.draws.dtype) == (np.float32, np.float32, np.int32)


@settings(max_examples=40, deadline=None)
@given(chosen_rows, blocks, batch_sizes, st.integers(2, 4))
def test_the_shares_of_a_group_are_the_batches_of_one_member_alone(chosen, block, batch, members):
    part, cube = _part(chosen), _cube(151, block, chunk=max(1, block // 8))
    alone = _epochs(cube, part, batch=batch, epochs=[0, 1])
    group = [
        _epochs(cube, part, batch=batch, epochs=[0, 1], rank=rank, members=members) for rank in range(members)
    ]
    for epoch, whole in enumerate(alone):
        for number, one in enumerate(whole):
            shares = [member[epoch][number] for member in (group if one.size >= members else group[:1])]
            for name in ("rows", "images", "labels", "weights", "draws"):
                values = np.concatenate([getattr(share, name) for share in shares])
                assert np.array_equal(values, getattr(one, name))


@settings(max_examples=40, deadline=None)
@given(chosen_rows, blocks, batch_sizes, groups, st.data())
def test_an_epoch_that_is_entered_in_its_middle_goes_on_as_if_undisturbed(
    chosen, block, batch, members, data
):
    part, cube = _part(chosen), _cube(151, block, chunk=max(1, block // 8))
    rank = data.draw(st.integers(0, members - 1))
    skip = data.draw(st.integers(0, batches_per_epoch(len(part.rows), batch)))
    place = {"batch": batch, "rank": rank, "members": members, "turn": True}
    whole = _epochs(cube, part, epochs=[3, 4], **place)
    found = _epochs(cube, part, epochs=[3, 4], skip=skip, **place)
    for undisturbed, resumed in zip([whole[0][skip:], whole[1]], found, strict=True):
        assert [b.index for b in resumed] == [b.index for b in undisturbed]
        for one, other in zip(resumed, undisturbed, strict=True):
            assert np.array_equal(one.rows, other.rows) and np.array_equal(one.images, other.images)


def test_blocks_whose_rows_have_all_been_learnt_from_are_not_read_again():
    reads: list = []
    part = _part(range(80))
    whole = _epochs(_cube(80, 8), part, batch=4)[0]
    resumed = _epochs(_cube(80, 8, reads), part, batch=4, skip=15)[0]
    left = {int(row) // 8 for one in whole[15:] for row in one.rows}
    assert sorted(start // 8 for start, _ in reads) == sorted(left)
    assert len(left) < 10 and sum(len(b.rows) for b in resumed) == 20


def test_of_a_piece_with_fewer_rows_than_members_each_has_all_and_of_others_its_own():
    part, settings = _part(range(16)), {"batch": 11, "members": 3, "pieces": 4}
    shares = [_epochs(_cube(16, 8), part, rank=rank, **settings)[0] for rank in range(3)]
    for one in zip(*shares, strict=True):
        sizes = [len(range(number, one[0].size, 4)) for number in range(4)]
        times = np.unique(np.concatenate([share.rows for share in one]), return_counts=True)[1]
        assert len(times) == one[0].size == sum(sizes)
        assert sorted(times) == sorted(1 if size >= 3 else 3 for size in sizes for _ in range(size))
        assert all(len(share.rows) >= 4 for share in one)


def test_a_row_is_turned_the_same_way_whoever_shows_it():
    random = np.random.default_rng(1)
    images = random.integers(0, 255, (40, 6, 6, 3), np.uint8)
    cube = Cube("memory", {"image": images}, Geometry((6, 6), ("i", "r", "g"), 0.4), 40, 8, 2)
    for rank in range(3):
        for one in _epochs(cube, _part(range(40)), batch=7, epochs=[2], rank=rank, members=3, turn=True)[0]:
            which = symmetries(one.rows, seed=5, epoch=2)
            assert np.array_equal(one.images, apply_symmetries(images[one.rows], which))


def test_fluxes_have_other_noise_in_every_epoch_and_the_same_whoever_shows_them():
    rows, intake = 30, training_intake_of(load_preset("csst-mlp"))
    assert intake.raw and not intake_of(load_preset("csst-mlp")).raw
    columns = intake.vector.columns
    flux = {name: np.full(rows, 1e-28 if name.startswith("flux") else 1e-29) for name in columns}
    group = {f"feature_{name}": values for name, values in flux.items()}
    cube = Cube("memory", group, Geometry((2, 2), ("r",), 0.4), rows, 8, 4)
    part, settings = _part(range(rows)), {"batch": 7, "intake": intake, "epochs": [0, 1], "turn": True}
    alone = [_by_row(batches) for batches in _epochs(cube, part, **settings)]
    together = [_epochs(cube, part, rank=rank, members=3, **settings) for rank in range(3)]
    for epoch in (0, 1):
        shared = {row: vector for member in together for row, vector in _by_row(member[epoch]).items()}
        assert shared.keys() == alone[epoch].keys() == set(range(rows))
        assert all(np.array_equal(alone[epoch][row], vector) for row, vector in shared.items())
    assert not any(np.array_equal(alone[0][row], alone[1][row]) for row in range(rows))
    seen = 10 ** np.array([alone[0][row][:7] for row in range(rows)])
    plain = 10 ** intake.vector(flux)[:, :7]
    assert 0.07 < np.std(seen / plain) < 0.13


def _by_row(batches):
    return {int(row): vector for one in batches for row, vector in zip(one.rows, one.content[1], strict=True)}


def test_rows_in_the_cube_s_order_come_in_that_order():
    with ordered_batches(_cube(40, 8), _part([3, 4, 17, 30, 31]), batch=2) as batches:
        assert [b.rows.tolist() for b in batches] == [[3, 4], [17, 30], [31]]


@settings(max_examples=40, deadline=None)
@given(chosen_rows, blocks, batch_sizes, st.integers(1, 5))
def test_the_members_have_contiguous_parts_of_the_rows_in_order(chosen, block, batch, members):
    part, cube = _part(chosen), _cube(151, block, chunk=max(1, block // 8))
    found = []
    for rank in range(members):
        with ordered_batches(cube, part, batch=batch, rank=rank, members=members) as batches:
            found.append(list(batches))
    for own in found:
        assert all(len(b.rows) == b.size <= batch for b in own) and all(len(b.rows) for b in own)
        assert all(np.array_equal(b.draws, evaluation_draws(b.rows)) for b in own)
    lengths = [sum(b.size for b in own) for own in found]
    assert max(lengths) - min(lengths) <= 1
    everything = [b for own in found for b in own]
    assert np.array_equal(np.concatenate([b.rows for b in everything]), part.rows)
    assert all(np.array_equal(b.images[:, 0, 0, 0], b.rows) for b in everything)
    assert np.array_equal(np.concatenate([b.labels for b in everything]), part.labels)


class _Counted(MemoryStore):
    """A store that counts the chunks that are read of the shards."""

    chunks = 0

    async def get(self, key, prototype, byte_range=None):
        if type(byte_range).__name__ == "RangeByteRequest":
            _Counted.chunks += 1
        return await super().get(key, prototype, byte_range)


def test_a_member_reads_the_chunks_of_its_own_part_of_each_block():
    rows, block, chunk = 1024, 256, 8
    store = _Counted()
    image = zarr.open_group(store, mode="w", zarr_format=3).create_array(
        "image",
        shape=(rows, 2, 2, 1),
        dtype="u1",
        chunks=(chunk, 2, 2, 1),
        shards=(block, 2, 2, 1),
        compressors=[Crc32cCodec()],
    )
    image[:] = np.broadcast_to((np.arange(rows) % 251)[:, None, None, None], image.shape)
    cube = Cube("memory", zarr.open_group(store, mode="r"), Geometry((2, 2), ("r",), 0.4), rows, block, chunk)

    def read(rank, members):
        _Counted.chunks = 0
        (found,) = _epochs(cube, _part(range(rows)), batch=64, rank=rank, members=members)
        assert all(np.array_equal(one.images[:, 0, 0, 0], one.rows % 251) for one in found)
        return _Counted.chunks / (rows / chunk)

    assert read(0, 1) == 1.0
    assert max(read(rank, 4) for rank in range(4)) < 0.45


def test_chunks_without_a_wanted_row_are_not_read_and_long_runs_are_read_in_slices():
    reads: list = []
    part = _part([0, 1, 9, 10, 13, *range(32, 64)])
    _epochs(_cube(128, 32, reads, chunk=2), part, batch=64)
    assert sorted(reads) == [(0, 2), (8, 14), *((i, i + 8) for i in range(32, 64, 8))]


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


@pytest.mark.parametrize("members", [1, 4])
def test_a_member_holds_its_rows_of_less_than_three_blocks_and_what_is_read_at_once(members):
    images = np.zeros((4096, 64, 64, 3), np.uint8)

    class Images:
        shape = images.shape

        def __getitem__(self, span):
            return images[span].copy()

    cube = Cube("memory", {"image": Images()}, Geometry((64, 64), ("i", "r", "g"), 0.4), 4096, 1024, 64)
    part = _part(np.flatnonzero(np.arange(4096) % 10).tolist())
    place = {"batch": 64, "rank": members // 2, "members": members}
    tracemalloc.start()
    try:
        with training_epochs(cube, part, seed=1, epochs=range(2), turn=False, **place) as epochs:
            for batches in epochs:
                for _ in batches:
                    time.sleep(0.0005)  # so that the reader is as far ahead as it may be
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    block = 1024 * 64 * 64 * 3
    assert peak < 2.75 * block / members + 0.5 * block


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
    parts = labelled_rows(Cube("memory", group, Geometry((2, 2), ("r",), 0.4), 5, 8, 1))
    assert {part: rows.rows.tolist() for part, rows in parts.items()} == {
        Part.TRAIN: [0],
        Part.VALIDATION: [3],
        Part.TEST: [4],
    }


def test_a_cube_without_labels_is_refused():
    group = {"label": np.full(3, np.nan), "split": np.zeros(3, "u1"), "status": np.ones(3, "u1")}
    with pytest.raises(ModelError, match="none of the 3 rows"):
        labelled_rows(Cube("memory", group, Geometry((2, 2), ("r",), 0.4), 3, 8, 1))
