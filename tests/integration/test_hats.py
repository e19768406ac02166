"""The catalogue as HATS: what lsdb opens."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import Client, LocalCluster

from pipeline.stores import catalogue
from pipeline.stores.catalogue_rows import CataloguePart
from pipeline.stores.catalogue_versions import PdfSpec, Version
from pipeline.stores.postgres import connect, transaction

hats = pytest.importorskip("hats", reason="needs the extra: pip install skymill[hats]")

from pipeline.stores.hats import _replace, write_hats  # noqa: E402  (after importorskip)

BIG = 2**63 + 12345
PDF = PdfSpec((0.0, 0.1, 0.2, 0.3, 0.4), "float16")
METADATA = {b"skymill": b'{"pdf_edges": [0.0, 0.1, 0.2, 0.3, 0.4], "pdf_dtype": "float16"}'}


def write_part(path: Path, ids: np.ndarray) -> None:
    random = np.random.default_rng(ids.size)
    columns = {
        "id": ids,
        "ra": random.uniform(0, 360, ids.size),
        "dec": random.uniform(-90, 90, ids.size),
        "z_spec": np.full(ids.size, np.nan, np.float32),
        "z_phot": random.random(ids.size, np.float32),
        "z_phot_err": np.full(ids.size, 0.02, np.float32),
        "flags": np.zeros(ids.size, np.int32),
        "split": np.full(ids.size, 255, np.uint8),
        "pdf": pa.FixedSizeListArray.from_arrays(pa.array(np.ones(ids.size * 4, np.float16)), 4),
    }
    pq.write_table(pa.table(columns).replace_schema_metadata(METADATA), path)


def publish(connection, folder: Path, sizes: dict[str, int]) -> Version:
    """Publish samples whose keys are the same numbers."""
    digest = str(sizes)
    version = catalogue.begin_version(connection, "sky", digest=digest, run="r", provenance={}, pdf=PDF)
    for sample, size in sizes.items():
        path = folder / f"{sample}.parquet"
        write_part(path, np.arange(BIG, BIG + size, dtype=np.uint64))
        part = CataloguePart(f"{sample}/00000", path, sample, "d")
        with transaction(connection) as cursor:
            catalogue.load_part(cursor, version, part, provenance="0123456789abcdef")
        path.unlink()  # what is published is not read from the run's folder
    return catalogue.finish_version(connection, version, parts={f"{sample}/00000": "d" for sample in sizes})


@pytest.mark.filterwarnings("ignore")  # of hats-import and its many packages
def test_the_version_shown_is_written_whole_and_takes_the_place_of_another(tmp_path: Path, database_dsn: str):
    out = tmp_path / "hats" / "sky"
    out.mkdir(parents=True)
    (out / "of an earlier version").touch()
    (tmp_path / "hats" / ".sky.new" / "of an export that was killed").mkdir(parents=True)
    with closing(connect(database_dsn)) as connection:
        wanted = publish(connection, tmp_path, {"spectro": 120, "targets": 80})
        publish(connection, tmp_path, {"spectro": 3})
        shown = catalogue.rollback(connection, "sky")
        assert shown == wanted
        workers = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0")
        with workers, Client(workers, set_as_default=False) as client:
            write_hats(connection=connection, version=shown, out=out, client=client)
    found = hats.read_hats(out)
    assert found.catalog_info.total_rows == 200
    assert found.catalog_info.extra_dict()["skymill_version"] == "1"
    table = pq.ParquetDataset(out / "dataset").read(columns=["sample", "id", "provenance", "healpix", "pdf"])
    keys = set(zip(table["sample"].to_pylist(), table["id"].to_pylist(), strict=True))
    assert keys == {(s, BIG + i) for s, size in (("spectro", 120), ("targets", 80)) for i in range(size)}
    assert set(table["provenance"].to_pylist()) == {"0123456789abcdef"}
    assert min(table["healpix"].to_pylist()) >= 0
    assert table["pdf"].type.list_size == 4
    assert {path.name for path in out.parent.iterdir()} == {"sky", ".sky.lock"}
    assert not (out / "of an earlier version").exists()


@pytest.mark.parametrize("cut", [1, 2])
def test_a_replacement_cut_off_at_any_move_loses_neither_catalogue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
):
    new, out, rename = tmp_path / "new", tmp_path / "sky", Path.rename
    for folder in (new, out):
        folder.mkdir()
        (folder / folder.name).touch()
    moves = iter(range(1, 9))

    def rename_or_die(self: Path, target: Path) -> Path:
        if next(moves) == cut:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename_or_die)
        with pytest.raises(KeyboardInterrupt):
            _replace(new, out)
    assert {"new", "sky"} <= {path.name for path in tmp_path.rglob("*") if path.is_file()}
    _replace(new, out)
    assert (out / "new").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["sky"]
