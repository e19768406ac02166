"""Pulling a sample: partitions, parts, order, split."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.desk import Manners
from cluster.work import whoami
from pipeline.sandbox.options import Faults, SandboxOptions
from pipeline.sandbox.process import start
from pipeline.sources.sample_sql import read_sample_sql
from pipeline.sources.skyserver import SkyServer
from pipeline.stages.pull import plan_partitions, pull_partition, row_limit
from pipeline.stores.rows import RowsSpec, order_rows, write_part
from pipeline.stores.staging import Staging, place
from schemas.config import Politeness, Sample, Source
from schemas.errors import PlanError, SourceDown, SourceError

WIDE = "SELECT specobjid, ra, dec, z, zErr FROM SpecObj WHERE class='GALAXY'"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sky")
    (folder / "jpeg").mkdir()
    (folder / "cutouts.csv").write_text("ra,dec,scale,width,height,file\n0.25,0.0,0.4,64,64,none.jpg\n")
    (folder / "jpeg" / "none.jpg").write_bytes(b"")
    objects, spectra = (
        ["objID,ra,dec,type"],
        [
            "specObjID,bestObjID,plate,mjd,fiberID,ra,dec,z,zErr,zWarning,zOffset,velDisp,velDispErr,class,subClass"
        ],
    )
    for row in range(300):
        plate = 266 if row < 150 else 12547
        ra, dec, key = row + 0.25, row / 10, (plate << 50) + (row << 38)
        subclass = "STARFORMING" if row < 150 else ""
        objects.append(f"{10**18 + row},{ra},{dec},3")
        spectra.append(
            f"{key},{10**18 + row},{plate},5,{row + 1},{ra},{dec},{row / 1000},1e-5,0,0,200,5,GALAXY,{subclass}"
        )
    (folder / "photoobj.csv").write_text("\n".join(objects) + "\n")
    (folder / "specobj.csv").write_text("\n".join(spectra) + "\n")
    options = SandboxOptions(sky=str(folder), faults=Faults(sql_transient=0.3, seed=2))
    with start(options, folder / "log") as sandbox:
        manners = Manners(sandbox.url, queries_per_minute=60_000)
        yield SkyServer(sandbox.url, manners, Source(), Politeness(), backoff_s=0.05)


def pull(server: SkyServer, folder: Path, **settings) -> tuple[list, list[Path], Sample]:
    sample = Sample(**{"sql": WIDE, "rows_per_partition": 100, **settings})
    sample_sql = read_sample_sql(sample.sql, key=sample.key)
    partitions, parts = plan_partitions(server, sample_sql, sample, name="spectro"), []
    for partition in partitions:
        receipt = pull_partition(
            partition=partition,
            sample_sql=sample_sql,
            server=server,
            final=str(folder / f"{partition.index:05d}.parquet"),
            staging=Staging(str(folder / "staging"), "pull", partition.key),
            label="z",
        )
        place(receipt)
        assert receipt.worker == whoami()
        parts.append(Path(receipt.products[0].final))
    return partitions, parts, sample


def spec(limit: int | None = None) -> RowsSpec:
    return RowsSpec("specobjid", "z", 137, 0.7, 0.15, 10, 64, limit)


@pytest.mark.parametrize("partition_by", ["plate", ""])
def test_a_sample_comes_whole_with_exact_ids_whatever_the_partitions(server, tmp_path, partition_by):
    partitions, parts, _ = pull(server, tmp_path, partition_by=partition_by)
    assert sum(partition.rows for partition in partitions) == 300
    report = order_rows(parts, tmp_path / "rows.parquet", spec())
    rows = pq.read_table(tmp_path / "rows.parquet")
    assert rows["id"].type == pa.uint64() and rows["id"][-1].as_py() >> 50 == 12547
    assert (np.diff(rows["id"].to_numpy()) > 0).all() and rows["row"].to_pylist() == list(range(300))
    assert report.splits == {"train": 210, "validation": 50, "test": 40, "unlabelled": 0}
    assert report.features == ("feature_zErr",)


def test_a_limit_takes_the_first_keys_and_asks_for_no_more(server, tmp_path):
    partitions, parts, sample = pull(server, tmp_path, partition_by="plate", limit=120)
    assert len(partitions) == 1
    order_rows(parts, tmp_path / "rows.parquet", spec(120))
    assert pq.read_table(tmp_path / "rows.parquet").num_rows == 120
    assert row_limit(read_sample_sql(WIDE.replace("SELECT", "SELECT TOP 9", 1), key="specobjid"), sample) == 9


def test_a_sample_without_rows_is_refused(server, tmp_path):
    with pytest.raises(PlanError, match="no rows"):
        pull(server, tmp_path, sql=WIDE + " AND z > 9")


def test_a_column_that_is_missing_is_refused_at_once(server, tmp_path):
    with pytest.raises(SourceError, match="nosuch"):
        pull(server, tmp_path, sql=WIDE + " AND nosuch > 9")


def test_a_count_that_differs_from_the_plan_names_both(server, tmp_path):
    sample_sql = read_sample_sql(WIDE, key="specobjid")
    partition = plan_partitions(server, sample_sql, Sample(sql=WIDE), name="s")[0]
    changed = type(partition)("s", 0, partition.predicate, 299)
    with pytest.raises(SourceError, match="counted 299 rows, the answer has 300"):
        pull_partition(
            partition=changed,
            sample_sql=sample_sql,
            server=server,
            final="x",
            staging=Staging(str(tmp_path), "p", "s/0"),
            label="z",
        )


@pytest.mark.parametrize("column", ["ra", "z"])
def test_text_where_numbers_must_be_is_refused_in_the_first_partition(server, tmp_path, column):
    sql = WIDE.replace(f" {column},", f" class AS {column},")
    sample_sql = read_sample_sql(sql, key="specobjid")
    with pytest.raises(PlanError, match=f"numbers in the column {column}, found string, as 'GALAXY'"):
        pull_partition(
            partition=plan_partitions(server, sample_sql, Sample(sql=sql), name="s")[0],
            sample_sql=sample_sql,
            server=server,
            final="x",
            staging=Staging(str(tmp_path), "p", "s/0"),
            label="z",
        )


def test_a_server_that_is_not_there_is_down():
    url = "http://127.0.0.1:9"
    server = SkyServer(url, Manners(url), Source(), Politeness(retries=1), backoff_s=0.01)
    with pytest.raises(SourceDown):
        server.query("SELECT 1 AS a", ["a"])


def test_duplicates_and_bad_positions_are_reported_and_the_file_is_the_same_each_time(tmp_path):
    table = pa.table(
        {
            "specobjid": pa.array([5, 5, 1, 2**63 + 3], pa.uint64()),
            "ra": [10.0, 11.0, float("nan"), 400.0],
            "dec": [0.0, 0.0, 1.0, 2.0],
            "z": [0.1, 0.2, None, 0.3],
        }
    )
    write_part(table, tmp_path / "a.parquet")
    write_part(table.take([3, 2, 1, 0]), tmp_path / "b.parquet")
    first = order_rows([tmp_path / "a.parquet"], tmp_path / "rows.parquet", spec())
    again = order_rows([tmp_path / "b.parquet"], tmp_path / "rows.parquet", spec())
    assert first == again
    assert (first.duplicates, first.bad_position_count) == ({5: 2}, 2)
    assert first.rows == 3 and first.splits["unlabelled"] == 1


def test_a_column_of_text_that_is_empty_in_one_partition_is_put_in_order_with_the_others(server, tmp_path):
    sql = WIDE.replace("zErr", "zErr, subClass")
    _, parts, _ = pull(server, tmp_path, sql=sql, partition_by="plate")
    kinds = [pq.read_schema(part).field("subClass").type for part in parts]
    assert kinds == [pa.string(), pa.null()]
    report = order_rows(parts, tmp_path / "rows.parquet", spec())
    assert (report.rows, report.features) == (300, ("feature_zErr",))
