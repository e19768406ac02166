"""Every kind of site passes the same suite: this machine for real, schedulers by commands that run the scripts."""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import batch_conformance as suite
import fake_scheduler

from cluster.sites.batch import Batch, batch_of
from cluster.submission import Submission
from schemas.errors import SiteError
from schemas.site import Pool, Site


@dataclass
class Place:
    kind: str
    batch: Batch
    pool: Pool


@pytest.fixture(params=["local", *fake_scheduler.COMMANDS])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    kind = request.param
    site = Site(name="lab", kind=kind, prologue=["export PROLOGUE=set"], warn_s=30)
    queue = fake_scheduler.QUEUES.get(kind, [""])[0]
    if kind != "local":
        folder = fake_scheduler.install(tmp_path / "bin", kind)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("FAKE_SCHEDULER", str(tmp_path / "jobs"))
    yield Place(kind, batch_of(site), Pool(queue=queue, memory_gib=0.5))
    fake_scheduler.end_all(tmp_path / "jobs")
    for process in psutil.process_iter(["cmdline"]):
        if str(tmp_path) in " ".join(process.info["cmdline"] or ()):
            with contextlib.suppress(psutil.NoSuchProcess):  # one that has just ended
                process.kill()


def test_an_array_runs_and_ends(place: Place, tmp_path: Path):
    suite.check_an_array_runs_and_ends(place.batch, tmp_path, place.kind, place.pool)


def test_a_job_is_seen_and_cancelled(place: Place, tmp_path: Path):
    suite.check_a_job_is_seen_and_cancelled(place.batch, tmp_path, place.kind, place.pool)


def test_a_job_is_started_again_and_noted_if_its_id_is_new(place: Place, tmp_path: Path):
    suite.check_a_job_is_started_again(place.batch, tmp_path, place.kind, place.pool)
    noted = Submission(tmp_path / "submission").jobs
    assert [(job.id, job.pool) for job in noted] == ([("2.lab", "driver")] if place.kind == "pbs" else [])


def test_a_job_it_never_had_is_forgotten(place: Place):
    suite.check_a_job_it_never_had_is_forgotten(place.batch, "99999.5" if place.kind == "local" else "99999")


def test_what_fits_has_no_fault_and_an_unknown_queue_has_one(place: Place, tmp_path: Path):
    assert place.batch.faults("driver", place.pool) == []
    (fault,) = place.batch.faults("pools.big", place.pool.model_copy(update={"queue": "nope"}))
    assert fault.startswith("pools.big.queue: ") and "'nope'" in fault
    if place.kind in fake_scheduler.QUEUES:
        assert f"there are {', '.join(fake_scheduler.QUEUES[place.kind])}" in fault
        job = suite.make_job(tmp_path, place.kind, "run", pool=Pool(queue="nope", memory_gib=0.5))
        with pytest.raises(SiteError, match="refused"):
            suite.hand_in(place.batch, job)
