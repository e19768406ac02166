"""What the interactive form asks of a scheduler."""

from pathlib import Path

import pytest

from cluster.sites import interactive
from cluster.sites.batch import batch_of
from schemas.errors import SiteError
from schemas.site import Site


@pytest.mark.parametrize(
    ("kind", "first", "last"),
    [
        ("slurm", "#SBATCH --requeue", "#SBATCH --no-requeue"),
        ("pbs", "#PBS -r y", "#PBS -r n"),
        ("sge", "#$ -r y", "#$ -r n"),
        ("lsf", "#BSUB -r", "#BSUB -rn"),
    ],
)
def test_a_job_of_a_worker_is_like_a_submitted_one_but_another_takes_its_place(
    tmp_path: Path, kind: str, first: str, last: str
):
    site = Site.model_validate(
        {"name": "x", "kind": kind, "prologue": ["module load a"], "scratch": "$TMPDIR"}
    )
    pool = site.pools["workers"]
    job = interactive.WorkerJob(
        "tcp://10.0.0.1:4000", 3, batch=batch_of(site), site=site, pool=pool, scratch=tmp_path, logs=tmp_path
    )
    lines = job._batch.script(job._job).splitlines()
    assert lines.index(first) < lines.index(last)
    assert lines.index("module load a") < lines.index("export PYTHONSAFEPATH=1")
    command = lines[-1]
    assert "dask_worker tcp://10.0.0.1:4000 --name 3" in command and '--local-directory "$TMPDIR"' in command
    assert "DASK_DISTRIBUTED__WORKER__MEMORY__SPILL=False" in command


def test_the_workers_are_jobs_of_a_pool_that_has_all_stages(tmp_path: Path):
    parts = {"transfer": {"stages": ["pull", "fetch"]}, "compute": {"stages": ["train", "infer"]}}
    site = Site.model_validate({"name": "x", "kind": "slurm", "pools": parts | {"whole": {"cores": 7}}})
    assert interactive.whole_pool(site) == ("whole", site.pools["whole"])
    with pytest.raises(SiteError, match="one pool with all stages") as caught:
        interactive.whole_pool(site.model_copy(update={"pools": {n: site.pools[n] for n in parts}}))
    assert "submit" in caught.value.remedy


def test_the_python_of_a_site_is_found_as_in_a_submitted_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/a b")
    site = Site(name="x", kind="slurm", python="~/bin/python -X dev")
    command = interactive.worker_command(
        "tcp://10.0.0.1:4000", "3", site=site, pool=site.pools["workers"], scratch=tmp_path
    )
    assert "'/home/a b/bin/python' -X dev -m distributed.cli.dask_worker" in command


def test_an_interface_that_this_machine_has_not_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "there.toml"
    path.write_text('schema = 1\nname = "there"\nkind = "slurm"\ninterface = "ib77"\n')
    with pytest.raises(SiteError, match=r"no 'ib77'; there are .*lo"):
        interactive.start(str(path), nodes=2, scratch=tmp_path, logs=tmp_path)
    path.write_text('schema = 1\nname = "there"\nkind = "address"\naddress = "tcp://10.0.0.1:8786"\n')
    with pytest.raises(SiteError, match="starts no workers") as caught:
        interactive.start(str(path), nodes=2, scratch=tmp_path, logs=tmp_path)
    assert "tcp://10.0.0.1:8786" in caught.value.remedy
