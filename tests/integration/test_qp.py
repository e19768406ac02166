"""The PDFs of a published version as one file that qp opens."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.estimates import median_of
from model.pdfs import cumulative, mode_of, normalised
from pipeline.stores import catalogue
from pipeline.stores.catalogue_rows import CataloguePart
from pipeline.stores.catalogue_versions import PdfSpec
from pipeline.stores.postgres import connect, transaction
from schemas.errors import StoreError

h5py = pytest.importorskip("h5py", reason="needs the extra: pip install skymill[qp]")

from pipeline.stores.qp_export import Written, convert, write_qp  # noqa: E402  (after importorskip)

EDGES = (0.0, 0.1, 0.2, 0.3, 0.4)
METADATA = {b"skymill": b'{"pdf_edges": [0.0, 0.1, 0.2, 0.3, 0.4], "pdf_dtype": "float16"}'}
BIG = 2**63 + 12345


def _publish(connection, folder, rows):
    pdf = np.random.default_rng(0).random((rows, 4)).astype(np.float16)
    pdf[5] = np.nan
    columns = {
        "id": np.arange(BIG, BIG + rows, dtype=np.uint64),
        "ra": np.linspace(0, 359, rows),
        "dec": np.linspace(-80, 80, rows),
        "z_spec": np.full(rows, np.nan, np.float32),
        "z_phot": np.random.default_rng(1).random(rows).astype(np.float32),
        "z_phot_err": np.full(rows, 0.02, np.float32),
        "flags": np.zeros(rows, np.int32),
        "split": np.full(rows, 255, np.uint8),
        "pdf": pa.FixedSizeListArray.from_arrays(pa.array(pdf.ravel()), 4),
    }
    path = folder / "part.parquet"
    pq.write_table(pa.table(columns).replace_schema_metadata(METADATA), path)
    version = catalogue.begin_version(
        connection, "sky", digest="d", run="r", provenance={}, pdf=PdfSpec(EDGES, "float16")
    )
    part = CataloguePart("spectro/00000", path, "spectro", "d")
    with transaction(connection) as cursor:
        catalogue.load_part(cursor, version, part, provenance="0123456789abcdef")
    return catalogue.finish_version(connection, version, parts={"spectro/00000": "d"}), columns, pdf


def test_the_version_shown_is_written_whole_with_its_ids(tmp_path, database_dsn):
    out = tmp_path / "qp" / "sky.hdf5"
    with closing(connect(database_dsn)) as connection:
        version, columns, pdf = _publish(connection, tmp_path, 60)
        assert write_qp(connection=connection, version=version, out=out) == Written(59, 1)
        with pytest.raises(StoreError, match="has no PDFs"):
            write_qp(connection=connection, version=replace(version, pdf=None), out=out)
    with h5py.File(out) as file:
        ids = file["ancil/id"][:]
        place = (ids - np.uint64(BIG)).astype(int)
        assert sorted(place) == [i for i in range(60) if i != 5]
        expected = pdf[place].astype("f8")
        assert file["data/pdfs"][:] * 0.1 == pytest.approx(
            expected / expected.sum(1, keepdims=True), abs=1e-6
        )
        assert file["ancil/z_phot"][:].tolist() == columns["z_phot"][place].tolist()
        assert file["ancil/sample"].asstr()[0] == "spectro"
        assert file.attrs["skymill_digest"] == "d"
    assert {path.name for path in out.parent.iterdir()} == {"sky.hdf5", ".sky.hdf5.lock"}


@pytest.mark.filterwarnings("ignore")  # of qp and its packages
def test_qp_opens_the_file_and_agrees_on_mean_median_mode_and_cdf(tmp_path):
    qp = pytest.importorskip("qp", reason="pip install qp-prob")
    edges, random = np.linspace(0, 0.4, 41), np.random.default_rng(0)
    middle, out = (edges[1:] + edges[:-1]) / 2, tmp_path / "sky.hdf5"
    centre, width = random.uniform(0.05, 0.35, (1000, 1)), random.uniform(0.01, 0.05, (1000, 1))
    stored = normalised(np.exp(-(((middle - centre) / width) ** 2) / 2)).astype(np.float16)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(stored.ravel()), 40)
    pq.write_table(
        pa.table({"id": np.arange(BIG, BIG + 1000, dtype=np.uint64), "pdf": lists}), tmp_path / "p"
    )
    convert([tmp_path / "p"], out, edges=edges)
    found, pdf = qp.read(str(out)), normalised(stored)
    assert (found.npdf, found.gen_class.name) == (1000, "hist")
    assert np.squeeze(found.metadata["bins"]) == pytest.approx(edges)
    assert found.mean().ravel() == pytest.approx((pdf * middle).sum(1), abs=1e-6)
    assert found.median().ravel() == pytest.approx(median_of(pdf, edges), abs=1e-6)
    assert found.cdf(edges) == pytest.approx(cumulative(pdf), abs=1e-6)
    assert found.mode(middle).ravel() == pytest.approx(
        mode_of(pdf, edges), abs=0.0101
    )  # of equal bins it takes any
    assert found.ancil["id"].dtype == np.uint64 and found.ancil["id"][-1] == BIG + 999
    pieces = list(qp.iterator(str(out), chunk_size=400))
    assert [(start, stop) for start, stop, _ in pieces] == [(0, 400), (400, 800), (800, 1000)]
