import itertools

import numpy as np
import pyarrow.parquet as pq
import pytest

from model.parts import COLUMNS, ROWS_PER_GROUP, Part

ROWS, BINS = 2 * ROWS_PER_GROUP + 100, 12


def _columns(rows=ROWS):
    random = np.random.default_rng(0)
    columns = {name: (random.random(rows) * 100).astype(kind) for name, kind in COLUMNS.items()}
    return columns | {"pdf": random.random((rows, BINS)).astype("f2")}


def _written(path, lengths, columns):
    starts = np.cumsum([0, *lengths])
    with Part(path, {"target": "z"}, bins=BINS) as part:
        for first, last in itertools.pairwise(starts):
            part.add({name: values[first:last] for name, values in columns.items()})
    return part.rows, part.digest("b")


@pytest.mark.parametrize(
    "lengths", [[ROWS], [1, ROWS - 1], [ROWS_PER_GROUP] * 2 + [100], [700, 0, 3, ROWS - 703]]
)
def test_a_part_is_the_same_bytes_in_whatever_pieces_it_comes(tmp_path, lengths):
    columns = _columns()
    whole = _written(tmp_path / "whole", [ROWS], columns)
    assert _written(tmp_path / "pieces", lengths, columns) == whole
    assert (tmp_path / "pieces").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_part_holds_what_was_added_in_groups(tmp_path):
    columns = _columns()
    rows, _ = _written(tmp_path / "part", [ROWS], columns)
    table, file = pq.read_table(tmp_path / "part"), pq.ParquetFile(tmp_path / "part")
    assert rows == table.num_rows == ROWS
    groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert groups == [ROWS_PER_GROUP, ROWS_PER_GROUP, 100]
    for name in COLUMNS:
        assert np.array_equal(table[name].to_numpy(), columns[name])
    assert np.array_equal(np.array(table["pdf"].to_pylist(), "f2"), columns["pdf"])


def test_the_digest_sees_every_column_and_who_predicted(tmp_path):
    columns = _columns(10)
    digests = {_written(tmp_path / "part", [10], columns)[1]}
    for name, values in columns.items():
        changed = values.copy()
        changed.flat[3] += 1
        digests.add(_written(tmp_path / "part", [10], {**columns, name: changed})[1])
    with Part(tmp_path / "part", {}, bins=BINS) as part:
        part.add(columns)
    digests.add(part.digest("another"))
    assert len(digests) == len(columns) + 2


def test_an_empty_part_has_all_columns(tmp_path):
    _written(tmp_path / "part", [], _columns(0))
    assert pq.read_table(tmp_path / "part").column_names == [*COLUMNS, "pdf"]
