"""Blocks that kill their workers: the run goes on, names them, and asks for them again when told to."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.codecs import Crc32cCodec

from pipeline.ledger import Ledger
from pipeline.lost import lost_blocks
from pipeline.mill import Mill
from pipeline.stages.lost import lost_cutouts, lost_predictions
from pipeline.stores.staging import Staging, place, verify
from pipeline.summary import progress_lines
from pipeline.view import open_view
from schemas.config import RunFile
from schemas.errors import WorkerError
from schemas.flags import Status
from schemas.records import Block, Unit

ROWS = 100
OK, TIMEOUT, OUTSIDE = Status.OK, Status.TIMEOUT, Status.OUTSIDE_FOOTPRINT


def blocks(stage: str) -> list[Unit]:
    found = [Block("spectro", 0, 0, 64), Block("spectro", 1, 64, ROWS)]
    return [Unit(stage, block.key, f"{stage}{block.index}", {"block": block}) for block in found]


def a_cube(path: Path) -> Path:
    """Write the arrays that are read here, as a cube of 64 rows a shard."""
    status = np.full(ROWS, OK, "u1")
    status[[3, 5, 7]] = TIMEOUT, OUTSIDE, Status.PENDING
    columns = {
        "image": np.full((ROWS, 8, 8, 3), 9, "u1"),
        "digest": np.ones((ROWS, 16), "u1"),
        "status": status,
        "id": np.arange(ROWS).astype("u8") + np.uint64(2**63),
    }
    group = zarr.open_group(path, mode="w", zarr_format=3)
    for name, data in columns.items():
        chunk = (16 if name == "image" else 64, *data.shape[1:])
        group.create_array(
            name,
            shape=data.shape,
            dtype=data.dtype,
            chunks=chunk,
            shards=(64, *data.shape[1:]),
            compressors=[Crc32cCodec()],
            filters=None,
        )[:] = data
    return path


def test_cutouts_that_a_lost_block_held_stay_and_all_others_are_lost(tmp_path: Path):
    cube = a_cube(tmp_path / "spectro.zarr")
    staging = Staging(str(tmp_path / "staging"), "fetch", "spectro/00000")
    receipt = lost_cutouts(blocks("fetch")[0], why="it died", cube=str(cube), staging=staging)
    place(receipt)
    status = zarr.open_group(cube)["status"][:64]
    assert [status[3], status[5], status[7]] == [Status.BLOCK_LOST, OUTSIDE, Status.BLOCK_LOST]
    assert (np.delete(status, [3, 5, 7]) == OK).all()
    assert [(f.row, f.id - 2**63, f.status, f.detail) for f in receipt.failures] == [
        (3, 3, Status.BLOCK_LOST, "it died"),
        (5, 5, OUTSIDE, ""),
        (7, 7, Status.BLOCK_LOST, "it died"),
    ]
    assert receipt.facts["reasons"] == {"block lost": 2, "outside footprint": 1}
    assert len(receipt.products) == 3 and not verify(receipt.products)
    Path(receipt.products[0].final).write_bytes(b"torn")
    assert verify(receipt.products) == [receipt.products[0]]


def test_of_a_block_without_pixels_only_the_status_is_written(tmp_path: Path):
    cube = a_cube(tmp_path / "spectro.zarr")
    (cube / "image" / "c" / "1" / "0" / "0" / "0").unlink()
    staging = Staging(str(tmp_path / "staging"), "fetch", "spectro/00001")
    receipt = lost_cutouts(blocks("fetch")[1], why="it died", cube=str(cube), staging=staging)
    place(receipt)
    status = zarr.open_group(cube)["status"][:]
    assert (status[64:] == Status.BLOCK_LOST).all() and (status[:3] == OK).all()
    assert (receipt.rows, len(receipt.failures), len(receipt.products)) == (36, 36, 1)


def test_good_cutouts_of_a_lost_block_are_named_as_not_predicted(tmp_path: Path):
    cube = a_cube(tmp_path / "spectro.zarr")
    receipt = lost_predictions(blocks("infer")[0], why="it died", cube=str(cube))
    assert (receipt.rows, receipt.products, len(receipt.failures)) == (0, (), 61)
    assert {failure.status for failure in receipt.failures} == {Status.NOT_PREDICTED}


WORK = """
import os
from schemas.records import Receipt

def work(deadly, **others):
    if deadly:
        os._exit(9)
    return Receipt(rows=1, bytes=0, seconds=0.0, digest="d", facts={"ok": 1, "reasons": {}})
"""


@pytest.fixture
def mill(database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "lost_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)  # spawned workers have the same
    run_file = RunFile.model_validate(
        {
            "schema": 1,
            "name": "demo",
            "output": str(tmp_path),
            "samples": {"spectro": {"sql": "SELECT specobjid, ra, dec FROM SpecObj", "key": "specobjid"}},
            "cluster": {"workers": 1, "memory_gib": 1.0, "attempts": 2},
        }
    )
    with Ledger.open(database_dsn) as ledger:
        ledger.open_run("demo", {"name": "demo"}, provenance={}, seed=1)
        with Mill(run_file, dsn=database_dsn, ledger=ledger, view=open_view(quiet=True)) as mill:
            yield mill


def test_a_block_that_kills_is_given_up_named_and_asked_for_again_but_not_one_that_is_the_whole_stage(
    mill: Mill,
):
    cube = a_cube(mill.run_file.cube_path("spectro"))

    def drive(stage: str, units: list[Unit], *, deadly: bool = True) -> list[str]:
        def arguments(unit: Unit, staging: Staging) -> dict[str, object]:
            return {
                "deadly": deadly and unit.arguments["block"].index == 0,
                "cube": str(cube),
                "staging": staging,
            }

        return sorted(mill.drive(units, "lost_work:work", arguments))

    keys = ["spectro/00000", "spectro/00001"]
    assert drive("fetch", blocks("fetch")) == keys
    (lost,) = lost_blocks(mill.ledger)
    assert (lost.stage, lost.key) == ("fetch", keys[0]) and "died 2 times" in lost.why
    assert zarr.open_group(cube)["status"][3] == Status.BLOCK_LOST
    assert mill.ledger.failure_counts()["spectro", "block lost", False] == 2
    assert f"lost      fetch {keys[0]}: {lost.why}" in progress_lines(mill.ledger)
    assert mill.ledger.todo(blocks("fetch")) == [] and mill.ledger.errors() == []
    assert mill.ledger.reset("fetch", mill.ledger.retryable("fetch")) == 1
    assert drive("fetch", blocks("fetch"), deadly=False) == keys
    assert lost_blocks(mill.ledger) == []
    with pytest.raises(WorkerError, match=r"infer: 1 of 1 units failed.*died 2 times"):
        drive("infer", blocks("infer")[:1])
    assert [error[:2] for error in mill.ledger.errors()] == [("infer", keys[0])]
