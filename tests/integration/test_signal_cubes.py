"""Signals computed into a cube: what it says of itself, what is computed again, and how little silence takes."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr

from cluster.desk import Manners
from pipeline.sources.choice import source_of
from pipeline.stages.fetch import fetch_block
from pipeline.stores.cube import CubeSpec, create_cube, read_block
from pipeline.stores.staging import Staging, place
from schemas.config import RunFile
from schemas.errors import StoreError
from schemas.flags import Status
from schemas.records import Block, Receipt

SAMPLES, ROWS = 4096, 6
BLOCK = Block("s", 0, 0, ROWS)
SIGNAL = {
    **{"mass_solar": 1e6, "mu_solar": 10.0, "spin": 0.5, "e0": 0.1, "p0": 8.5, "iota_rad": 0.7, "z": 0.1},
    **{"theta_s_rad": 1.0, "phi_s_rad": 2.0, "theta_k_rad": 0.5, "phi_k_rad": 4.0, "phase_rad": 0.3},
    **{"gamma_rad": 0.6, "alpha_rad": 0.9, "cutoff": 0.0, "waveform": 0.0},
}
RUN = RunFile.model_validate(
    {
        "schema": 1,
        "name": "a",
        "samples": {"s": {"sql": "SELECT id, ra, dec FROM t", "key": "id"}},
        "training": {"sample": "s"},
        "images": {"source": "emri", "pixels": SAMPLES},
        "cube": {"dtype": "float32", "rows_per_chunk": 1, "rows_per_block": 8},
    }
)


def a_cube(folder: Path, snr: list[float], **columns: float) -> Path:
    rows = np.arange(ROWS)
    table = {"row": rows, "id": rows.astype("u8"), "ra": rows * 1.0, "dec": rows * 1.0}
    table |= {"label": (np.array(snr) > 0).astype("f4"), "split": np.zeros(ROWS, "u1"), "feature_snr": snr}
    table |= {f"feature_{name}": np.full(ROWS, value) for name, value in columns.items()}
    pq.write_table(pa.table(table), folder / "rows.parquet")
    create_cube(folder / "s.zarr", folder / "rows.parquet", CubeSpec.of(RUN, "s"))
    return folder / "s.zarr"


def fetched(cube: Path) -> Receipt:
    staging = Staging(str(cube.parent / "staging"), "fetch", BLOCK.key)
    source = source_of(RUN, "http://nobody:1")
    receipt = fetch_block(
        cube=str(cube), block=BLOCK, source=source, manners=Manners("http://nobody:1"), staging=staging
    )
    place(receipt)
    return receipt


def test_a_block_is_computed_once_and_says_what_its_samples_are(tmp_path: Path):
    snr = [60.0, 0.0, 25.0, np.nan, 0.0, 80.0]
    cube = a_cube(tmp_path, snr, **SIGNAL)
    first = fetched(cube)
    assert (first.facts["ok"], first.facts["requests"], first.facts["reasons"]) == (5, 0, {"invalid": 1})
    assert [(failure.row, failure.status) for failure in first.failures] == [(3, Status.INVALID)]
    with xr.open_zarr(cube, consolidated=True) as dataset:
        assert dataset["image"].dims == ("row", "sample", "band") and dataset["image"].units == "sigma"
        assert dataset["sample"].values[:3].tolist() == [0, 30, 60] and dataset["sample"].units == "s"
        assert dataset["band"].values.tolist() == ["I", "II"]
        loud = np.sqrt((dataset["image"].values ** 2).sum((1, 2)))
    assert loud == pytest.approx(snr, rel=1e-4, nan_ok=True)

    again = fetched(cube)
    assert again.digest == first.digest and again.facts["decode_s"] == 0
    with pytest.raises(StoreError, match="of another run: objects"):
        a_cube(tmp_path, snr, **SIGNAL | {"spin": 0.6})


def test_noise_alone_has_no_parameters_and_takes_no_room(tmp_path: Path):
    cube = a_cube(tmp_path, [0.0] * ROWS)  # columns of NULL alone are no features
    assert fetched(cube).facts["ok"] == ROWS
    shard = cube / "image" / "c" / "0" / "0" / "0"
    assert shard.stat().st_size == 8 * 16 + 4
    assert not read_block(cube, BLOCK).image.any()
