"""Labels that a head cannot answer with are told before anything is fetched."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.label_checks import check_labels
from schemas.config import RunFile
from schemas.errors import ModelError
from schemas.records import Product, Receipt


def checked(folder: Path, labels: list[float], head: str) -> None:
    path = folder / "rows.parquet"
    pq.write_table(pa.table({"label": pa.array(labels, pa.float32())}), path)
    loss = {"binary": "cross_entropy"}.get(head, "squared")
    data = {
        "schema": 1,
        "name": "a",
        "samples": {"spectro": {"sql": "SELECT specobjid, ra, dec, sort FROM SpecObj"}},
        "target": {"column": "sort"},
        "model": {"overrides": {"head": {"kind": head}, "loss": {"kind": loss}}},
    }
    receipt = Receipt(len(labels), 0, 0, "x", (Product("staged", str(path), 0, "x"),))
    check_labels(RunFile.model_validate(data), receipt)


@pytest.mark.parametrize(
    ("labels", "head", "words"),
    [
        ([0, 1, 2, float("nan")], "binary", "1 of 3 labels in 'sort' are not 0 or 1.*the first is 2"),
        ([0, 0.5], "binary", "1 of 2 labels"),
        ([0, 0, 0], "binary", "all 3 labels in 'sort' are 0: the other class has no example"),
        ([0.2, -0.1], "sigmoid", "not between 0 and 1"),
    ],
)
def test_labels_outside_what_the_head_can_say_are_refused(tmp_path, labels, head, words):
    with pytest.raises(ModelError, match=words):
        checked(tmp_path, labels, head)


@pytest.mark.parametrize(("labels", "head"), [([0, 1], "binary"), ([0.3, 1], "sigmoid"), ([5, -2], "scalar")])
def test_other_labels_are_welcome(tmp_path, labels, head):
    checked(tmp_path, labels, head)
