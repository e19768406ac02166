import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.parts import COLUMNS, Part
from model.pdfs import normalised
from schemas.errors import StoreError

h5py = pytest.importorskip("h5py", reason="needs the extra: pip install skymill[qp]")

from pipeline.stores import qp_export  # noqa: E402  (after importorskip)

EDGES = np.linspace(0, 0.4, 41)
BIG = 2**63 + 12345


def _pdfs(n, seed=0):
    random = np.random.default_rng(seed)
    middle = (EDGES[1:] + EDGES[:-1]) / 2
    centre, width = random.uniform(0.05, 0.35, (n, 1)), random.uniform(0.01, 0.05, (n, 1))
    return normalised(np.exp(-(((middle - centre) / width) ** 2) / 2)).astype(np.float16)


def _part(path, pdf, *, first=0, edges=EDGES):
    random, n = np.random.default_rng(first), len(pdf)
    columns = {name: (random.random(n) * 100).astype(kind) for name, kind in COLUMNS.items()}
    columns |= {"id": np.arange(BIG + first, BIG + first + n, dtype=np.uint64), "pdf": pdf}
    with Part(path, {"target": "z", "pdf_edges": edges.tolist()}, bins=pdf.shape[1]) as part:
        part.add(columns)
    return path


@pytest.fixture
def parts(tmp_path):
    return [_part(tmp_path / "a", _pdfs(700)), _part(tmp_path / "b", _pdfs(300, seed=1), first=700)]


def test_rows_are_written_in_their_order_batch_by_batch(tmp_path, parts, monkeypatch):
    whole = qp_export.convert(parts, tmp_path / "whole.hdf5")
    monkeypatch.setattr(qp_export, "BATCH_ROWS", 128)
    assert qp_export.convert(parts, tmp_path / "pieces.hdf5", facts={"skymill_version": 3}) == whole
    with h5py.File(tmp_path / "whole.hdf5") as one, h5py.File(tmp_path / "pieces.hdf5") as other:
        assert (one["data/pdfs"][:] == other["data/pdfs"][:]).all()
        assert one["ancil/id"][:].tolist() == list(range(BIG, BIG + 1000))
        assert set(one["ancil"]) == {*COLUMNS} - {"row"}
        assert other.attrs["skymill_version"] == 3
        assert one["data/pdfs"][:].sum(1) * 0.01 == pytest.approx(np.ones(1000), abs=1e-6)


def test_rows_without_a_pdf_are_left_out_and_counted(tmp_path):
    pdf = _pdfs(50)
    pdf[3], pdf[7], pdf[9, 4] = np.nan, 0, np.inf
    part = _part(tmp_path / "part", pdf)
    assert qp_export.convert([part], tmp_path / "sky.hdf5") == qp_export.Written(47, 3)
    with h5py.File(tmp_path / "sky.hdf5") as file:
        assert len(file["data/pdfs"]) == len(file["ancil/id"]) == 47
        assert not {BIG + 3, BIG + 7, BIG + 9} & set(file["ancil/id"][:].tolist())
        assert np.isfinite(file["data/pdfs"][:]).all()


def test_edges_may_be_given_and_words_are_kept(tmp_path):
    """The rows of a published version have a sample, and no metadata."""
    pdf = _pdfs(5)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(pdf.ravel()), 40)
    pq.write_table(pa.table({"sample": ["spectro"] * 5, "id": list(range(5)), "pdf": lists}), tmp_path / "p")
    qp_export.convert([tmp_path / "p"], tmp_path / "sky.hdf5", edges=EDGES)
    with h5py.File(tmp_path / "sky.hdf5") as file:
        assert file["ancil/sample"].asstr()[:].tolist() == ["spectro"] * 5
        assert file["meta/bins"].shape == (1, 41)


def test_an_export_that_fails_leaves_the_file_of_before(tmp_path, parts):
    out = tmp_path / "sky.hdf5"
    qp_export.convert(parts, out)
    before = out.read_bytes()
    empty = _part(tmp_path / "empty", np.zeros((4, 40), np.float16))
    with pytest.raises(StoreError, match="none of 4 rows has a PDF"):
        qp_export.convert([empty], out)
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_parts_of_other_bins_or_without_pdfs_are_refused(tmp_path, parts):
    other = _part(tmp_path / "other", _pdfs(10), edges=EDGES * 2)
    with pytest.raises(StoreError, match="2 parts do not have the same bins"):
        qp_export.convert([parts[0], other], tmp_path / "out.hdf5")
    with pytest.raises(StoreError, match="no parts"):
        qp_export.convert([], tmp_path / "out.hdf5")
    pq.write_table(
        pa.table({"id": [1]}).replace_schema_metadata({b"skymill": json.dumps({}).encode()}), tmp_path / "n"
    )
    with pytest.raises(StoreError, match="has no PDFs"):
        qp_export.convert([tmp_path / "n"], tmp_path / "out.hdf5")
    (tmp_path / "junk").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="cannot be read"):
        qp_export.convert([tmp_path / "junk"], tmp_path / "out.hdf5")
    with pytest.raises(StoreError, match="expected PDFs of 2 bins"):
        qp_export.convert([parts[0]], tmp_path / "out.hdf5", edges=np.array([0.0, 0.1, 0.2]))
