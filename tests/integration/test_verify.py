"""What `skymill verify` finds, and what it forgets so that it is made again."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.ledger import Ledger
from pipeline.mill import Mill
from pipeline.stores.cube import CubeSpec, content_digest, create_cube, read_block, write_block
from pipeline.stores.staging import Staging, place
from pipeline.verify import damaged_units, forget
from pipeline.view import Lines
from schemas.config import RunFile
from schemas.records import Receipt, Unit, blocks_of

ROWS = 40
BLOCKS = blocks_of("s", ROWS, rows_per_block=20)
UNITS = [Unit("fetch", block.key, "inputs", {"block": block}) for block in BLOCKS]


@pytest.fixture
def mill(tmp_path: Path, database_dsn: str):
    run_file = RunFile.model_validate(
        {
            "schema": 1,
            "name": "mill",
            "output": str(tmp_path),
            "samples": {"s": {"sql": "SELECT specobjid, ra, dec, z FROM SpecObj"}},
            "training": {"sample": "s"},
            "images": {"pixels": 8},
            "cube": {"rows_per_chunk": 10, "rows_per_block": 20},
        }
    )
    with Ledger.open(database_dsn) as ledger:
        ledger.open_run("mill", {}, provenance={"code_version": "0", "packages": {}}, seed=1)
        with Mill(run_file, dsn=database_dsn, ledger=ledger, view=Lines()) as mill:
            fetch_everything(mill)
            yield mill


def fetch_everything(mill: Mill) -> None:
    cube = mill.run_file.cube_path("s")
    table = {"row": np.arange(ROWS), "id": np.arange(ROWS, dtype=np.uint64)}
    table |= {name: np.zeros(ROWS) for name in ("ra", "dec")}
    table |= {"label": np.zeros(ROWS, np.float32), "split": np.zeros(ROWS, np.uint8)}
    pq.write_table(pa.table(table), Path(mill.run_file.output) / "rows.parquet")
    create_cube(cube, Path(mill.run_file.output) / "rows.parquet", CubeSpec.of(mill.run_file, "s"))
    mill.ledger.todo(UNITS)
    for unit, block in zip(UNITS, BLOCKS, strict=True):
        attempt = mill.ledger.begin(unit)
        arrays = {
            "image": np.full((block.rows, 8, 8, 3), 7, np.uint8),
            "digest": np.ones((block.rows, 16), np.uint8),
            "status": np.ones(block.rows, np.uint8),
        }
        with Staging(
            str(mill.run_file.staging_folder("fetch")), "fetch", unit.key, attempt
        ).opened() as folder:
            products = write_block(cube, block, arrays, folder)
        digest = content_digest(arrays["status"], arrays["digest"], arrays["image"])
        receipt = Receipt(block.rows, 0, 0.0, digest, products)
        assert mill.ledger.accept(unit, attempt, receipt, place=lambda receipt=receipt: place(receipt))


def test_an_undamaged_run_has_no_damage(mill: Mill):
    assert not damaged_units(mill)


@pytest.mark.parametrize("shard", ["image/c/1/0/0/0", "digest/c/1/0", "status/c/1"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_block_that_lost_any_of_its_products_is_fetched_again(mill: Mill, shard, damage):
    cube = mill.run_file.cube_path("s")
    damage(cube / shard)
    damaged = damaged_units(mill)
    assert {unit.key: paths for unit, paths in damaged.items()} == {BLOCKS[1].key: [cube / shard]}
    forget(mill, damaged)
    assert [unit.key for unit in mill.ledger.todo(UNITS)] == [BLOCKS[1].key]
    assert not read_block(cube, BLOCKS[1]).status.any() and read_block(cube, BLOCKS[0]).status.all()
    assert not damaged_units(mill)
