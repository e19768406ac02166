import numpy as np
import pyarrow as pa
import pytest

from pipeline.fields.completeness import completeness, confusion, false_positives, match_sources
from schemas.errors import StoreError

SEGMAP = np.zeros((40, 40), np.int32)
SEGMAP[:3] = -1
SEGMAP[10:15, 10:15] = 1
SEGMAP[20:30, 20:30] = 2
SEGMAP[35:37, 5:8] = 3
CATALOGUE = pa.table(
    {"source_id": [1, 2, 3], "class": ["disk", "spheroid", None], "area_pixels": [25, 100, 6]}
)
TRUTH = pa.table(
    {
        "y": [12.4, 25.0, 28.0, 33.0, 1.0, 90.0],
        "x": [11.6, 25.0, 21.0, 33.0, 20.0, 5.0],
        "magnitude": [20.0, 24.0, 21.0, 23.0, 20.0, 20.0],
        "class": ["disk", "disk", "disk", "spheroid", "disk", "disk"],
        "radius_arcsec": [0.2, 0.2, 0.5, 0.5, 0.2, 0.2],
    }
)
MATCHED = match_sources(TRUTH, SEGMAP, CATALOGUE)


def test_a_source_is_found_where_it_is_the_brightest_of_its_region():
    assert MATCHED["found"].to_pylist() == [True, False, True, False, False, False]
    assert MATCHED["blended"].to_pylist() == [False, True, False, False, False, False]
    assert MATCHED["source_id"].to_pylist() == [1, 2, 2, 0, -1, -1]
    assert MATCHED["found_class"].to_pylist() == ["disk", None, "spheroid", None, None, None]


def test_completeness_counts_what_lies_where_classes_are_known():
    rows = completeness(MATCHED, {"magnitude": [19, 22, 24]}).to_pylist()
    assert [(row["injected"], row["found"], row["blended"], row["right_class"]) for row in rows] == [
        (2, 2, 0, 1),
        (2, 0, 1, 0),
    ]
    assert [row["completeness"] for row in rows] == [1.0, 0.0]
    assert rows[0]["completeness_low"] == pytest.approx(2 / 3) and rows[0][
        "completeness_high"
    ] == pytest.approx(1)


def test_bins_of_two_columns_combine_and_empty_ones_are_not_numbers():
    rows = completeness(MATCHED, {"magnitude": [19, 22, 25], "radius_arcsec": [0.1, 0.3, 0.5]}).to_pylist()
    assert [row["injected"] for row in rows] == [1, 1, 1, 1]
    assert rows[1]["radius_arcsec_low"] == 0.3 and rows[1]["found"] == 1
    empty = completeness(MATCHED, {"magnitude": [10, 12]}).to_pylist()[0]
    assert empty["injected"] == 0 and np.isnan(empty["completeness"])


def test_edges_that_do_not_ascend_and_columns_that_are_not_there_are_refused():
    for edges in ({"magnitude": [22, 20]}, {"magnitude": [22]}, {"size": [0, 1]}):
        with pytest.raises(StoreError, match="ascending edges"):
            completeness(MATCHED, edges)
    with pytest.raises(StoreError, match="no column 'magnitude'"):
        match_sources(TRUTH.drop_columns("magnitude"), SEGMAP, CATALOGUE)


def test_found_classes_are_counted_against_the_true_ones():
    rows = confusion(MATCHED, ("disk", "spheroid")).to_pylist()
    assert rows == [
        {"class": "disk", "disk": 1, "spheroid": 1},
        {"class": "spheroid", "disk": 0, "spheroid": 0},
    ]


def test_false_positives_are_per_area_that_was_looked_at():
    rows = false_positives(CATALOGUE, SEGMAP, classes=("disk", "spheroid"), arcsec_per_pixel=6).to_pylist()
    assert [row["class"] for row in rows] == ["disk", "spheroid", "all"]
    assert [row["sources"] for row in rows] == [1, 1, 3]
    known = 37 * 40
    assert rows[2]["sources_per_arcmin2"] == pytest.approx(3 / (known * 0.01))
    assert rows[2]["pixel_share"] == pytest.approx(131 / known)
    with pytest.raises(StoreError, match="no pixel of the field"):
        false_positives(CATALOGUE, np.full((4, 4), -1, "i4"), classes=(), arcsec_per_pixel=1)
