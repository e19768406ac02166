"""What a submission works out from its two files: the length of a block, and what is, and is not, made anew."""

from pathlib import Path

import pytest

from cluster.jobs.asking import python_of
from pipeline import units
from pipeline.site_fit import block_seconds
from pipeline.submission_checks import counts_of
from pipeline.submitting import copy_of, order_of
from schemas.config import RunFile
from schemas.runfile import check_run_file, load_run_file
from schemas.site import Site

SQL = "SELECT specobjid, ra, dec, z FROM SpecObj"


def run_file(**sections: object) -> RunFile:
    samples = {"spectro": {"sql": SQL, "limit": 300}, "targets": {"sql": SQL, "limit": 100}}
    found = {"schema": 1, "name": "demo", "samples": samples, "politeness": {"requests_per_second": 10}}
    return check_run_file({**found, "cube": {"rows_per_block": 128}, **sections})


def site(**keys: object) -> Site:
    return Site.model_validate({"name": "lab", "kind": "slurm", **keys})


@pytest.mark.parametrize(
    ("nodes", "threads", "seconds"), [(1, 1, 12.8), (2, 1, 25.6), (2, 2, 51.2), (9, 1, 51.2)]
)
def test_workers_share_the_polite_rate_but_no_more_of_them_than_there_are_blocks(
    nodes: int, threads: int, seconds: float
):
    pools = {
        "download": {"stages": ["pull", "fetch"], "threads": threads},
        "compute": {"stages": ["train", "infer"], "nodes": 50},
    }
    lab = site(pools=pools)
    assert block_seconds(run_file(), lab, counts_of(lab, nodes)) == pytest.approx(seconds)


def test_of_a_scheduler_that_is_there_only_the_driver_is_a_job_and_it_is_told_the_address():
    there = site(kind="address", address="tcp://192.0.2.9:8786")
    order = order_of(run_file(), there, nodes=3, verb="run")
    assert order.nodes == {} and order.argv[-2:] == (
        'cluster.address="tcp://192.0.2.9:8786"',
        "cluster.pooled=false",
    )
    assert load_words(*order.argv[-2:]).cluster.address == "tcp://192.0.2.9:8786"


def load_words(*words: str) -> RunFile:
    return load_run_file(Path("surveys/default.toml").absolute(), words=words, environ={})


def test_python_may_be_a_command_of_several_words():
    order = order_of(run_file(), site(python="apptainer exec mill.sif python3"), nodes=1, verb="run")
    assert order.argv[:6] == ("apptainer", "exec", "mill.sif", "python3", "-m", "pipeline.cli")
    assert python_of(order.site) == order.argv[:4]


def test_the_copy_of_a_run_file_means_the_same(tmp_path: Path):
    whole = run_file(
        search={"fields": {"training.batch": [16, 32]}}, model={"overrides": {"head": {"bins": 90}}}
    )
    (tmp_path / "run.toml").write_text(copy_of(whole))
    assert load_run_file(tmp_path / "run.toml", environ={}) == whole


def test_the_host_of_the_sandbox_changes_nothing_that_was_made():
    one, other = run_file(), run_file(sandbox={"host": "192.0.2.7"})
    assert one != other
    assert units.plan_unit(one, "spectro") == units.plan_unit(other, "spectro")
    assert units.rows_unit(one, "spectro", {}) == units.rows_unit(other, "spectro", {})
