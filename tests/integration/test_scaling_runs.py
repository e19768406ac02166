"""``skymill scale`` as a user types it: a fetch on one and on two workers, and blocks without work."""

import csv
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import LocalCluster

from cluster.work import Task
from pipeline.scale import empty
from pipeline.scale.workers import LimitedSession
from schemas.config import Cluster

SKYMILL = str(Path(sys.executable).with_name("skymill"))
RUN_FILE = """
schema = 1
name = "small"
output = "{folder}"
database.dsn = "{dsn}"
samples.spectro.sql = "SELECT specobjid, ra, dec, z FROM SpecObj WHERE class = 'GALAXY'"
samples.spectro.limit = 32
cube.rows_per_chunk = 8
cube.rows_per_block = 8
training.batch = 8
sandbox.latency_s = 0.05
politeness.requests_per_second = 1000
cluster.memory_gib = 2
"""


@pytest.fixture
def run_file(tmp_path: Path, database_dsn: str) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(RUN_FILE.format(folder=tmp_path / "runs", dsn=database_dsn))
    return path


def scale(run_file: Path, *words: str) -> tuple[int, str, str]:
    done = subprocess.run([SKYMILL, "scale", run_file, *words], capture_output=True, text=True, timeout=800)
    return done.returncode, done.stdout, done.stderr


def rows_of(run_file: Path) -> list[dict[str, str]]:
    with (run_file.parent / "runs" / "small-scale" / "scaling.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_fetch_is_measured_on_one_and_two_workers_and_the_users_run_is_left_alone(run_file: Path):
    code, told, faults = scale(run_file, "--nodes", "2,1", "--stage", "fetch", "--repeats", "1")
    assert code == 0, faults
    assert "fetch: efficiency" in told and "cannot tell" in told
    rows = rows_of(run_file)
    assert sorted(row["nodes"] for row in rows) == ["1", "2"]
    for row in rows:
        assert (row["stage"], row["mode"], row["units"], row["rows"]) == ("fetch", "strong", "4", "32")
        parts = sum(float(row[f"{part}_s"]) for part in ("work", "wait", "io", "scheduler", "idle"))
        assert parts == pytest.approx(float(row["slots"]) * float(row["wall_s"]), rel=0.02)
        assert float(row["wait_s"]) > 0.1, "every answer is late"
        assert row["bottleneck"]
    page = (run_file.parent / "runs" / "small-scale" / "scaling.html").read_text()
    assert page.count("<svg") == 3 and "Universal scalability law" in page
    assert "http://" not in page.split("<main>")[1].replace("http://www.w3.org", "")
    assert [path.name for path in (run_file.parent / "runs").iterdir()] == ["small-scale"]


def test_numbers_of_nodes_that_cannot_be_are_refused_before_anything_is_made(run_file: Path):
    code, _, words = scale(run_file, "--nodes", "2,two")
    assert code == 3 and "--nodes: expected" in words and "Traceback" not in words
    assert not (run_file.parent / "runs").exists()


@pytest.fixture
def session(tmp_path: Path) -> Iterator[LimitedSession]:
    """The session of a worker that says, as those of a submission do, which stages it is for."""
    kept = {"dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"dashboard": False}}
    fetching = LocalCluster(n_workers=1, threads_per_worker=1, resources={"fetch": 1.0}, **kept)
    with (
        fetching,
        LimitedSession(Cluster(address=fetching.scheduler_address, pooled=True), scratch=tmp_path) as found,
    ):
        yield found


def test_blocks_without_work_need_no_ledger_and_go_to_workers_of_any_stage(session: LimitedSession):
    session.await_workers(1, ("",), say=print)
    session.forget_stages()
    nodes = session.limit(1)
    assert empty.bare(session, 20, nodes.workers) > 0
    assert empty.session(session, 20) > 0
    (outcome,) = session.run([Task("none-1", empty.WORK, stage=empty.STAGE)])
    assert outcome.error is None and outcome.value.worker
