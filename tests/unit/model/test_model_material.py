import dataclasses

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from model.cubes import Cube, LabelledRows, labelled_rows
from model.geometry import Geometry
from model.jobs import TrainingJob
from model.material import gather, job_digest, training_weights
from model.presets import load_preset
from schemas.errors import ModelError
from schemas.flags import Part

ROWS = 40
JOB = TrainingJob(
    cube="",
    checkpoint="k",
    bundle="b",
    preset="light",
    overrides={},
    seed=1,
    epochs=None,
    batch=8,
    learning_rate=None,
    patience=None,
    target="z",
    definition="skymill",
    threads=1,
    provenance={},
)


@pytest.fixture
def cube(tmp_path):
    """A cube of which every fourth row is of the validation part; gives a function that takes other columns."""

    def make(**columns):
        group = zarr.open_group(tmp_path / "cube.zarr", mode="w", zarr_format=3)
        group.create_array("image", shape=(ROWS, 4, 4, 3), dtype="u1", chunks=(8, 4, 4, 3))
        values = {
            "status": np.ones(ROWS, "u1"),
            "split": np.where(np.arange(ROWS) % 4, 0, 1).astype("u1"),
            "label": np.linspace(0.01, 0.3, ROWS).astype("f4"),
            **columns,
        }
        for name, data in values.items():
            group.create_array(name, data=np.asarray(data))
        group.attrs.update(
            rows_per_block=16, rows_per_chunk=8, arcsec_per_pixel=0.4, bands=["i", "r", "g"], rows=ROWS
        )
        return str(tmp_path / "cube.zarr")

    return make


def _gather(path, overrides=None, members=1, **job):
    job = dataclasses.replace(JOB, cube=path, overrides=overrides or {}, **job)
    return gather(job, load_preset("light", job.resolved_overrides()), members=members)


def _pasquet(path):
    job = dataclasses.replace(JOB, cube=path)
    return gather(job, load_preset("pasquet", job.resolved_overrides()))


def test_rows_that_lack_a_feature_are_left_out_and_counted_up_to_half_of_the_labelled_ones(cube):
    reddening = np.where(np.arange(ROWS) < 20, np.nan, 0.1)
    assert _pasquet(cube(feature_ebv=reddening)).left_out == 20
    reddening[20] = np.inf
    with pytest.raises(ModelError, match=r"21 of 40 labelled rows lack a feature .*: ebv in 21"):
        _pasquet(cube(feature_ebv=reddening))
    unlabelled = np.where(np.arange(ROWS) < 21, np.nan, 0.2).astype("f4")
    with pytest.raises(ModelError, match=r"19 of 19 labelled rows .*: ebv in 19"):
        _pasquet(cube(feature_ebv=np.where(reddening == 0.1, np.nan, 0.1), label=unlabelled))


def _refused(match, *arguments, **settings):
    with pytest.raises(ModelError, match=match) as caught:
        _gather(*arguments, **settings)
    return caught.value.remedy


def test_every_row_counts_the_same_where_nothing_else_is_said(cube):
    data = _gather(cube())
    assert all((rows.weights == 1).all() for rows in data.parts.values())
    assert len(data.parts[Part.TRAIN].weights) == 30


def test_a_column_of_weights_is_that_of_the_training_rows_with_a_mean_of_1(cube):
    column = np.arange(ROWS, dtype="f8")
    data = _gather(cube(feature_w=column), weight_column="w")
    train = data.parts[Part.TRAIN]
    assert np.allclose(train.weights, train.rows / train.rows.mean(), rtol=1e-6)
    assert train.weights.dtype == np.float32
    assert (data.parts[Part.VALIDATION].weights == 1).all()


def test_a_weight_that_is_not_used_may_be_anything(cube):
    column = np.where(np.arange(ROWS) % 4, 2.0, np.nan)
    assert (_gather(cube(feature_w=column), weight_column="w").parts[Part.TRAIN].weights == 1).all()


def test_weights_near_the_end_of_what_a_number_can_be_have_a_mean_of_1(cube):
    data = _gather(cube(feature_w=np.full(ROWS, 1e308)), weight_column="w")
    assert (data.parts[Part.TRAIN].weights == 1).all()


@pytest.mark.parametrize(
    ("column", "fault"),
    [
        (np.where(np.arange(ROWS) == 5, np.nan, 1), "1 of 30 weights in 'w' are not finite"),
        (np.where(np.arange(ROWS) < 4, np.inf, 1), "3 of 30 weights in 'w' are not finite"),
        (np.where(np.arange(ROWS) == 7, -9999.0, 1), "1 of 30 weights in 'w' are negative"),
        (np.zeros(ROWS), "all 30 weights in 'w' are 0"),
    ],
)
def test_weights_that_cannot_be_learnt_with_are_refused(cube, column, fault):
    assert _refused(f"training.weight_column: {fault}", cube(feature_w=column), weight_column="w")


def test_a_column_of_weights_that_is_not_there_is_answered_with_those_that_are(cube):
    path = cube(feature_zErr=np.ones(ROWS), feature_plate=np.ones(ROWS))
    assert _refused("no numeric column 'w'", path, weight_column="w").endswith("plate, zErr")
    assert "SQL" in _refused("no numeric column 'w'", cube(), weight_column="w")


@given(st.lists(st.integers(0, 4), min_size=3, max_size=60), st.integers(5, 20))
def test_few_distinct_labels_are_classes_that_weigh_the_same_together(numbers, bins):
    labels = np.array(numbers, np.float32) ** 2
    part = LabelledRows(np.arange(len(labels)), labels)
    preset = load_preset("light", {"training.balance": "labels", "training.balance_bins": bins})
    weights = training_weights(part, preset, _memory({}), "")
    totals = [weights[labels == value].sum() for value in np.unique(labels)]
    assert np.allclose(totals, totals[0], rtol=1e-5) and np.isclose(weights.mean(), 1, rtol=1e-5)


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=200, unique=True), st.integers(1, 7))
def test_many_distinct_labels_are_counted_in_bins_of_equal_width(values, bins):
    labels = np.array(values, np.float32)
    part = LabelledRows(np.arange(len(labels)), labels)
    preset = load_preset("light", {"training.balance": "labels", "training.balance_bins": bins})
    weights = training_weights(part, preset, _memory({}), "")
    if len(labels) <= bins:
        assert np.allclose(weights, 1)
        return
    edges = np.linspace(labels.min(), labels.max(), bins + 1, dtype=np.float64)
    near = np.abs(labels[:, None].astype(np.float64) - edges[1:-1]).min(1, initial=1) < 1e-6
    if near.any():
        return  # on which side of an edge such a label lies is a matter of rounding
    expected = 1 / np.histogram(labels, edges)[0][np.clip(np.digitize(labels, edges) - 1, 0, bins - 1)]
    assert np.allclose(weights, expected / expected.mean(), rtol=1e-5)


def test_weights_of_a_column_and_of_the_labels_are_multiplied():
    part = LabelledRows(np.arange(3), np.array([0, 0, 1], np.float32))
    preset = load_preset("light", {"training.balance": "labels"})
    weights = training_weights(part, preset, _memory({"feature_w": np.array([1.0, 2.0, 3.0])}), "w")
    assert np.allclose(weights, np.array([0.5, 1, 3]) / 1.5)


@pytest.mark.parametrize(
    ("key", "value"), [("training.balance", "classes"), ("training.balance_bins", 0)], ids=["kind", "bins"]
)
def test_a_balance_that_there_is_not_is_refused(cube, key, value):
    overrides = {"training.balance": "labels", key: value}
    assert key in _refused(key, cube(), overrides)


def test_a_batch_larger_than_the_training_sample_is_refused(cube):
    assert "training.batch to at most 30" in _refused("batch of 31 is larger than the 30", cube(), batch=31)
    assert _gather(cube(), batch=30)


def test_a_batch_of_nothing_is_refused(cube):
    assert _refused("expected at least 1, found 0", cube(), batch=0)


def test_more_workers_than_training_rows_are_refused(cube):
    assert "at most 30 workers" in _refused("30 training rows for 31 workers", cube(), members=31)
    assert _gather(cube(), members=30)


def test_a_sample_of_one_class_is_refused(cube):
    labels = np.where(np.arange(ROWS) % 4, 0.1, 0.2).astype("f4")
    assert "target.column" in _refused("labels of all 30 training rows .* are 0.1", cube(label=labels))


def test_infinite_labels_are_refused_and_counted_and_unknown_ones_are_left_out(cube):
    labels = np.linspace(0.01, 0.3, ROWS).astype("f4")
    labels[[1, 2, 3]] = np.inf, -np.inf, np.nan
    assert "NULL" in _refused("2 of the 40 labels .* are infinite", cube(label=labels))
    labels[[1, 2]] = np.nan
    assert len(_gather(cube(label=labels)).parts[Part.TRAIN].rows) == 27


def test_weights_stay_with_their_rows_when_others_are_left_out():
    part = LabelledRows(np.arange(4), np.arange(4, dtype="f4"), np.arange(4, dtype="f4") * 2)
    assert part.within(1, 2).weights.tolist() == [2, 4]


def test_a_training_with_other_weights_is_another_training(cube):
    path = cube(feature_w=np.arange(ROWS, dtype="f8"))
    preset = load_preset("light")
    digests = [
        job_digest(JOB, preset, _gather(path, weight_column=column), versions={}) for column in ("", "w", "w")
    ]
    assert digests[0] != digests[1] == digests[2]


def test_how_many_train_does_not_make_it_another_training(cube):
    digests = {
        job_digest(JOB, load_preset("light"), _gather(cube(), members=members), versions={})
        for members in (1, 3)
    }
    assert len(digests) == 1


def test_an_infinite_label_is_found_in_any_part():
    group = {"label": np.array([0.1, np.inf]), "split": np.array([0, 255], "u1"), "status": np.ones(2, "u1")}
    with pytest.raises(ModelError, match="1 of the 2 labels"):
        labelled_rows(dataclasses.replace(_memory(group), rows=2))


def _memory(group):
    return Cube("memory", group, Geometry((4, 4), ("i", "r", "g"), 0.4), 3, 16, 8)
