"""The flow's own decisions, on a real ledger and a real catalogue: what is planned, kept, and done again."""

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import flow
from pipeline.checks import check_fetched, check_products
from pipeline.ledger import Ledger
from pipeline.mill import Mill
from pipeline.stores import catalogue
from pipeline.stores.catalogue_versions import list_versions
from pipeline.stores.lock import locked
from pipeline.verbs import own_files
from pipeline.view import Lines
from schemas.config import RunFile
from schemas.errors import Busy, PlanError, SourceError, StoreError
from schemas.flags import Status
from schemas.records import ObjectFailure, Product, Receipt, Unit

SAMPLE = {"sql": "SELECT specobjid, ra, dec, z FROM SpecObj"}
SKYMILL = str(Path(sys.executable).with_name("skymill"))
RUN_FILE = """
schema = 1
name = "demo"
output = "{output}"
samples.spectro.sql = "SELECT specobjid, ra, dec, z FROM SpecObj"
cube.path = "{cube}"
database.dsn = "{dsn}"
"""
TRAINED = Receipt(1, 0, 0.0, "model", facts={"code": "1", "packages": {}})


@pytest.fixture
def mill(database_dsn: str, tmp_path: Path) -> Iterator[Mill]:
    data = {"schema": 1, "name": "demo", "output": str(tmp_path), "samples": {"spectro": SAMPLE}}
    run_file = RunFile.model_validate(data)
    with Ledger.open(database_dsn) as ledger:
        ledger.open_run("demo", {}, provenance={}, seed=1)
        yield Mill(run_file, dsn=database_dsn, ledger=ledger, view=Lines())


def keep(mill: Mill, stage: str, key: str, receipt: Receipt) -> None:
    unit = Unit(stage, key, "i")
    mill.ledger.todo([unit])
    mill.ledger.accept(unit, mill.ledger.begin(unit), receipt)


def predicted(folder: Path, rows: int = 20) -> dict[str, Receipt]:
    """One part as the infer stage leaves it."""
    z = np.linspace(0.1, 0.2, rows).astype("f4")
    columns = {
        "row": np.arange(rows),
        "id": np.arange(rows, dtype="u8"),
        "ra": np.linspace(0, 10, rows),
        "dec": np.linspace(-5, 5, rows),
        "z_spec": z,
        "z_phot": z,
        "z_phot_err": z,
        "flags": np.zeros(rows, "i4"),
        "split": np.full(rows, 2, "u1"),
    }
    path = folder / "00000.parquet"
    pq.write_table(pa.table(columns), path)
    product = Product(str(path), str(path), path.stat().st_size, "ab" * 32)
    return {"spectro/00000": Receipt(rows, 0, 0.0, "part", (product,))}


def test_a_version_that_was_dropped_is_published_anew_and_one_that_is_there_is_not(
    mill: Mill, tmp_path: Path
):
    trail = flow.Trail(train={"model": TRAINED}, infer=predicted(tmp_path))
    other = dataclasses.replace(TRAINED, digest="an older model")
    flow.publish(mill, flow.Trail(train={"model": other}, infer=trail.infer))
    assert flow.publish(mill, trail)["photoz"].facts["version"] == 2
    keep(mill, "report", flow.REPORT, Receipt(1, 0, 0.0, "r"))
    mill.worked = 0
    assert flow.publish(mill, trail)["photoz"].facts["version"] == 2
    assert not mill.worked
    catalogue.rollback(mill.ledger.connection, "photoz")
    catalogue.drop(mill.ledger.connection, "photoz", 2)
    assert flow.publish(mill, trail)["photoz"].facts["version"] == 3
    assert mill.worked
    assert not mill.ledger.receipts("report")
    states = [(found.version, found.state) for found in list_versions(mill.ledger.connection, "photoz")]
    assert states == [(1, "retired"), (3, "published")]


def test_a_run_that_was_refused_is_checked_again_until_its_blocks_are_there(mill: Mill):
    facts = {"wanted": 10**12, "partitions": [{}]}
    plans = {"spectro": Receipt(10**12, 0, 0.0, "p", facts=facts)}
    assert not flow.is_fetched(mill)
    with pytest.raises(PlanError, match="GiB of disk"):
        flow.needs(mill, plans).check(mill.run_file)
    mill.ledger.todo([Unit("fetch", f"spectro/{i:05d}", "i") for i in range(2)])
    keep(mill, "fetch", "spectro/00000", Receipt(5, 0, 0.0, "b"))
    assert not flow.is_fetched(mill)
    keep(mill, "fetch", "spectro/00001", Receipt(5, 0, 0.0, "b"))
    assert flow.is_fetched(mill)
    mill.worked = 1
    assert not flow.is_fetched(mill), "what was planned anew just now is checked"


def test_two_runs_of_one_cube_never_work_at_once(database_dsn: str, tmp_path: Path):
    cube, path = tmp_path / "cubes", tmp_path / "run.toml"
    path.write_text(RUN_FILE.format(output=tmp_path, cube=cube, dsn=database_dsn))
    with locked(cube / ".lock-spectro", what="it"):
        done = subprocess.run([SKYMILL, "plan", path], capture_output=True, text=True)
    words = f"another driver works on the cube {cube}/spectro.zarr: pid"
    assert (done.returncode, words in done.stderr) == (9, True), done.stderr


def test_one_run_in_two_databases_has_one_driver(mill: Mill, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pipeline.stores.lock.PATIENCE_S", 0.0)
    with own_files(mill.run_file):
        assert not mill.run_file.cube_folder.exists(), "a folder that is restored finds its place empty"
        with pytest.raises(Busy, match="works on the folder of run demo"), own_files(mill.run_file):
            raise AssertionError


def test_predictions_that_are_there_need_no_room(mill: Mill):
    plans = {"spectro": Receipt(100, 0, 0.0, "p", facts={"wanted": 100, "partitions": [{}]})}
    whole = flow.needs(mill, plans).disk_gib
    keep(mill, "infer", "spectro/00000", Receipt(100, 0, 0.0, "b"))
    assert flow.needs(mill, plans).disk_gib < whole


def test_any_product_that_is_lost_is_missed_not_only_the_first_of_a_unit(mill: Mill):
    paths = [mill.folder / "cube" / "spectro.zarr" / name for name in ("image", "status", "digest")]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    products = tuple(Product("/staged", str(path), 0, "0") for path in paths)
    keep(mill, "fetch", "spectro/00000", Receipt(5, 0, 0.0, "b", products))
    check_products(mill)
    paths[1].unlink()
    with pytest.raises(StoreError, match=r"1 products .* are gone, the first: .*status"):
        check_products(mill)


def test_no_cutout_at_all_is_told_with_reasons_and_words_and_some_are_enough(mill: Mill):
    failures = tuple(
        ObjectFailure("spectro", row, row, Status.WRONG_SIZE, "" if row < 2 else "48 pixels, not 64")
        for row in range(3)
    )
    twice = ObjectFailure("spectro", 0, 9, Status.DUPLICATE, "came 2 times")
    keep(mill, "rows", "spectro", Receipt(3, 0, 0.0, "r", failures=(twice,)))
    keep(
        mill, "fetch", "spectro/00000", Receipt(3, 0, 0.0, "b", (), failures, {"reasons": {"wrong size": 3}})
    )
    fetched = {key: receipt for key, (_, receipt) in mill.ledger.receipts("fetch").items()}
    with pytest.raises(SourceError, match=r"none of 3 cutouts .*: 3 wrong size \(48 pixels, not 64\)"):
        check_fetched(mill.ledger, fetched)
    better = dataclasses.replace(fetched["spectro/00000"], facts={"reasons": {"wrong size": 2}})
    check_fetched(mill.ledger, {"spectro/00000": better})
