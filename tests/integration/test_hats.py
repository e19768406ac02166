"""The catalogue as HATS: what lsdb opens."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import LocalCluster

hats = pytest.importorskip("hats", reason="needs the extra: pip install skymill[hats]")

from pipeline.stores.hats import write_hats  # noqa: E402  (after importorskip)

BIG = 2**63 + 12345


def part(path: Path, ids: np.ndarray, seed: int) -> str:
    random = np.random.default_rng(seed)
    pdf = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(ids.size * 4, np.float16)), 4)
    columns = {
        "id": ids,
        "ra": random.uniform(0, 360, ids.size),
        "dec": random.uniform(-90, 90, ids.size),
        "z_phot": random.random(ids.size, np.float32),
        "pdf": pdf,
    }
    pq.write_table(pa.table(columns), path)
    return str(path)


@pytest.mark.filterwarnings("ignore")  # of hats-import and its many packages
def test_a_catalogue_is_written_whole_with_its_large_ids_and_pdfs(tmp_path: Path):
    ids = np.arange(BIG, BIG + 200, dtype=np.uint64)
    parts = [part(tmp_path / f"{number}.parquet", ids[number::2], number) for number in (0, 1)]
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        size = write_hats(
            parts=parts, out=str(tmp_path / "hats"), name="sky", address=cluster.scheduler_address
        )
    catalogue = hats.read_hats(tmp_path / "hats")
    assert size > 0
    assert catalogue.catalog_info.total_rows == ids.size
    table = pq.ParquetDataset(tmp_path / "hats" / "dataset").read(columns=["id", "pdf"])
    assert sorted(table["id"].to_pylist()) == ids.tolist()
    assert table["pdf"].type.list_size == 4
