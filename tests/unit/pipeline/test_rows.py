"""Rows put in order: the same whatever the parts, ids exact, shares of the split kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.stores.rows import ROWS_A_STRATUM, RowsSpec, order_rows, write_part
from schemas.errors import PlanError, StoreError

SPEC = RowsSpec("specobjid", "z", 137, 0.7, 0.15, 10, 64)
ONE_FOLDER = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def sample(rows: int, **columns) -> pa.Table:
    random = np.random.default_rng(rows)
    table = {
        "specobjid": pa.array(random.permutation(rows).astype(np.uint64) + 2**63),
        "ra": random.uniform(0, 360, rows),
        "dec": random.uniform(-90, 90, rows),
        "z": random.uniform(0, 1, rows),
    }
    return pa.table(table | columns)


def order(folder: Path, tables: list[pa.Table], spec: RowsSpec = SPEC):
    parts = []
    for index, table in enumerate(tables):
        parts.append(folder / f"{index}.parquet")
        write_part(table, parts[-1])
    report = order_rows(parts, folder / "rows.parquet", spec)
    return report, pq.read_table(folder / "rows.parquet")


def test_rows_stand_in_the_order_of_the_key_in_row_groups_of_a_block(tmp_path):
    _, rows = order(tmp_path, [sample(150)])
    assert rows["id"].to_pylist() == [2**63 + k for k in range(150)]
    assert rows["row"].to_pylist() == list(range(150))
    file = pq.ParquetFile(tmp_path / "rows.parquet")
    assert [file.metadata.row_group(k).num_rows for k in range(3)] == [64, 64, 22]


def test_seed_and_order_of_the_parts_do_and_do_not_matter(tmp_path):
    whole = sample(200)
    first, rows = order(tmp_path, [whole.slice(0, 90), whole.slice(90)])
    again, _ = order(tmp_path, [whole.slice(90), whole.slice(0, 90)])
    _, other = order(tmp_path, [whole], replace(SPEC, seed=138))
    assert first == again
    assert rows["split"] != other["split"] and rows.drop_columns("split") == other.drop_columns("split")


@ONE_FOLDER
@given(rows=st.integers(1, 400), train=st.floats(0, 1), share=st.floats(0, 1), strata=st.integers(1, 20))
def test_every_stratum_has_its_shares_within_one_row(tmp_path, rows, train, share, strata):
    spec = replace(SPEC, train=train, validation=share * (1 - train), strata=strata)
    _, table = order(tmp_path, [sample(rows)], spec)
    split = table["split"].to_numpy()[np.argsort(table["label"].to_numpy(), kind="stable")]
    for stratum in np.array_split(split, max(1, min(strata, rows // ROWS_A_STRATUM))):
        assert abs((stratum == 0).sum() - spec.train * len(stratum)) <= 1
        assert abs((stratum <= 1).sum() - (spec.train + spec.validation) * len(stratum)) <= 1


def test_a_calibration_part_is_taken_from_the_test_part_and_leaves_the_others_as_they_were(tmp_path):
    plain, without = order(tmp_path, [sample(400)])
    report, rows = order(tmp_path, [sample(400)], replace(SPEC, calibration=0.1))
    assert "calibration" not in plain.splits
    assert report.splits == {"train": 280, "validation": 60, "test": 20, "calibration": 40, "unlabelled": 0}
    before, split = without["split"].to_numpy(), rows["split"].to_numpy()
    assert (split[before < 2] == before[before < 2]).all()
    for stratum in np.array_split(split[np.argsort(rows["label"].to_numpy(), kind="stable")], 10):
        assert (stratum == 3).sum() == 4


def test_a_row_without_a_label_is_kept_and_not_in_the_split(tmp_path):
    label = pa.array([None, float("nan"), float("inf"), 0.5])
    report, rows = order(tmp_path, [sample(4, z=label)])
    assert report.labelled == 1 and report.splits["unlabelled"] == 3
    assert sorted(rows["split"].to_pylist()) == [0, 255, 255, 255]


def test_a_sample_without_the_label_column_has_no_labels(tmp_path):
    report, rows = order(tmp_path, [sample(5).drop_columns("z")])
    assert report.labelled == 0 and np.isnan(rows["label"].to_numpy()).all()


def test_a_key_that_comes_twice_is_one_row_whichever_part_came_first(tmp_path):
    one, two = sample(3), sample(3, ra=[400.0, 401.0, 402.0])
    first, rows = order(tmp_path, [one, two])
    again, _ = order(tmp_path, [two, one])
    assert first == again and first.rows == 3 == first.duplicate_count
    assert first.duplicates == {2**63 + k: 2 for k in range(3)}
    assert rows["ra"].to_numpy().max() < 360


def test_a_limit_keeps_the_first_keys(tmp_path):
    report, rows = order(tmp_path, [sample(50)], replace(SPEC, limit=7))
    assert report.rows == 7 and rows["id"].to_pylist() == [2**63 + k for k in range(7)]


@pytest.mark.parametrize("ra", [float("nan"), None, -1.0, 360.5])
def test_a_position_that_is_none_is_kept_and_named(tmp_path, ra):
    report, rows = order(tmp_path, [sample(2, specobjid=pa.array([8, 9], pa.uint64()), ra=[10.0, ra])])
    assert report.bad_position_count == 1 and report.rows == 2
    assert rows["ra"].type == pa.float64() and not rows["ra"].null_count


def test_ids_never_become_features_that_a_float_would_spoil(tmp_path):
    small = sample(3, plate=pa.array([266, 267, 268]), zErr=[0.1, 0.2, 0.3], name=["a", "b", "c"])
    parts = [
        small.append_column("bestObjID", pa.array([1, 2, 3], pa.int64())),
        sample(4, bestObjID=pa.array([0, 1, 2, 2**53 + 1], pa.uint64()), plate=[1, 2, 3, 4], zErr=[0.1] * 4),
    ]
    report, rows = order(tmp_path, parts)
    assert report.features == ("feature_plate", "feature_zErr")
    assert not [name for name in rows.column_names if "bestObjID" in name]


def test_a_whole_number_that_a_float_holds_exactly_is_a_feature(tmp_path):
    report, rows = order(tmp_path, [sample(2, n=pa.array([-(2**53), 2**53]))])
    assert report.features == ("feature_n",)
    assert set(rows["feature_n"].to_pylist()) == {-(2.0**53), 2.0**53}


NOTHING = pa.nulls(3)


@pytest.mark.parametrize(
    ("here", "there", "features"),
    [
        (NOTHING, pa.array(["STARBURST", "", "AGN"]), ()),
        (NOTHING, pa.array([1.5, 2.5, None]), ("feature_x",)),
        (NOTHING, pa.array([2**63, 1, 2], pa.uint64()), ()),
        (NOTHING, NOTHING, ()),
        (pa.array([1, 2, 3]), pa.array([1.5, 2.5, 3.5]), ("feature_x",)),
        (pa.array([-1, 2, 3]), pa.array([1, 2, 3], pa.uint64()), ("feature_x",)),
        (pa.array([26, 103, 104]), pa.array(["v5_13_0", "26", None]), ()),
    ],
)
def test_a_column_may_have_another_type_or_no_value_in_another_part(tmp_path, here, there, features):
    later = pa.array([7, 8, 9], pa.uint64())
    report, rows = order(tmp_path, [sample(3, x=here), sample(3, x=there, specobjid=later)])
    assert report.features == features and report.rows == 6
    if features:
        found = dict(zip(rows["id"].to_pylist(), rows["feature_x"].to_pylist(), strict=True))
        assert [found[key] for key in (7, 8, 9)] == there.to_pylist()


def test_a_label_or_a_position_that_is_text_is_named_with_its_part(tmp_path):
    for name in ("z", "ra"):
        with pytest.raises(PlanError, match=f"column '{name}', found string in .*/1.parquet") as caught:
            order(tmp_path, [sample(3), sample(3, **{name: pa.array(["a", "b", "c"])})])
        assert caught.value.remedy


def test_a_label_without_any_value_leaves_the_rows_unlabelled(tmp_path):
    report, _ = order(tmp_path, [sample(3, z=NOTHING)])
    assert report.splits["unlabelled"] == 3


ARCSEC = 1 / 3600


def test_repeats_of_a_target_are_in_one_part_and_no_other_row_moves(tmp_path):
    keys = pa.array(np.arange(300, dtype=np.uint64))
    alone = sample(300, specobjid=keys)
    ra, dec = alone["ra"].to_numpy().copy(), alone["dec"].to_numpy().copy()
    # Chains of three whose ends are farther apart than one arcsec; the first lies on the meridian of 0 h.
    ra[0] = 0.2 * ARCSEC
    ra[100:200], ra[200:] = (ra[:100] - 0.3 * ARCSEC) % 360, ra[:100]
    dec[100:200], dec[200:] = dec[:100] + 0.8 * ARCSEC, dec[:100] + 1.6 * ARCSEC
    _, before = order(tmp_path, [alone])
    _, after = order(tmp_path, [sample(300, specobjid=keys, ra=ra, dec=dec)])
    was, now = before["split"].to_numpy(), after["split"].to_numpy()
    assert (now[:100] == was[:100]).all() and set(was[:100]) == {0, 1, 2}
    assert (now[100:200] == now[:100]).all() and (now[200:] == now[:100]).all()
    assert (was[100:200] != was[:100]).any()


@pytest.mark.parametrize(("apart_arcsec", "together"), [(0.0, True), (0.98, True), (1.02, False)])
def test_rows_are_repeats_up_to_one_arcsec_wherever_they_are(tmp_path, apart_arcsec, together):
    rows = sample(300, ra=np.linspace(0, 360, 300), dec=np.degrees(np.arcsin(np.linspace(-1, 1, 300))))
    near = rows["dec"].to_numpy() - np.sign(rows["dec"].to_numpy()) * apart_arcsec * ARCSEC
    keys = pa.array(rows["specobjid"].to_numpy() + np.uint64(300))
    _, table = order(
        tmp_path, [rows, rows.set_column(0, "specobjid", keys).set_column(2, "dec", pa.array(near))]
    )
    split = dict(zip(table["id"].to_pylist(), table["split"].to_pylist(), strict=True))
    same = [split[key] == split[key + 300] for key in rows["specobjid"].to_pylist()]
    assert all(same) is together


def test_a_damaged_part_is_a_fault_of_the_store_and_leaves_nothing(tmp_path):
    write_part(sample(5), tmp_path / "0.parquet")
    content = bytearray((tmp_path / "0.parquet").read_bytes())
    content[4:200] = bytes(196)
    (tmp_path / "0.parquet").write_bytes(content)
    with pytest.raises(StoreError, match="cannot be read") as caught:
        order_rows([tmp_path / "0.parquet"], tmp_path / "rows.parquet", SPEC)
    assert caught.value.remedy and [file.name for file in tmp_path.iterdir()] == ["0.parquet"]
