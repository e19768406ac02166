"""What is wrong with a submission is told with the remedy, all at once, before anything is submitted."""

import socket
from pathlib import Path

import pytest

from cluster.submission import FOLDER
from pipeline.cli import main
from pipeline.stores.takeover import Note, other_host_fault, read_note

RUN_FILE = """
schema = 1
name = "demo"
output = "{0}/runs"
samples.spectro.sql = "SELECT specobjid, ra, dec, z FROM SpecObj"
database.directory = "{0}/db"
"""
SLURM = """
schema = 1
name = "lab"
kind = "slurm"
interface = "eth0"
node_local = []
warn_s = 30
"""
LOCAL = """
schema = 1
name = "here"
kind = "local"
warn_s = 30
"""
SINFO = "#!/bin/sh\necho 'debug|debug*|1-00:00:00|2|5000|(null)'\n"
NONE = "#!/bin/sh\ntouch {0}/asked; exit 1\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run file, two site files, and a Slurm with one partition whose ``sbatch`` tells of itself."""
    (tmp_path / "run.toml").write_text(RUN_FILE.format(tmp_path))
    (tmp_path / "slurm.toml").write_text(SLURM)
    (tmp_path / "here.toml").write_text(LOCAL)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"sinfo": SINFO, "sbatch": NONE.format(tmp_path)}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(
    here: Path, capsys: pytest.CaptureFixture[str], *words: str, site: str = "slurm.toml", code: int = 10
) -> str:
    """Submit, see that it was refused and nothing is left behind, and return what was said."""
    found = main(["submit", str(here / "run.toml"), "--site", site, *words])
    said = capsys.readouterr().err
    assert found == code, said
    assert "remedy:" in said and "Traceback" not in said
    assert not (here / "runs").exists() and not (here / "asked").exists(), "nothing was submitted"
    return said


def test_an_unknown_site_is_named_with_those_that_there_are(here: Path, capsys: pytest.CaptureFixture[str]):
    said = refused(here, capsys, site="nowhere", code=2)
    assert "unknown site 'nowhere'" in said and "local" in said


def test_an_unknown_queue_is_named_with_those_that_there_are(here: Path, capsys: pytest.CaptureFixture[str]):
    (here / "slurm.toml").write_text(SLURM + '[pools.workers]\nqueue = "quick"\n')
    assert "pools.workers.queue: unknown partition 'quick'; there are debug" in refused(here, capsys)


def test_a_walltime_shorter_than_one_block_is_told_with_the_numbers(
    here: Path, capsys: pytest.CaptureFixture[str]
):
    (here / "slurm.toml").write_text(SLURM + '[pools.workers]\nmemory_gib = 2\nwalltime = "00:02:00"\n')
    said = refused(here, capsys, "cube.rows_per_block=1024", "politeness.requests_per_second=10")
    assert "pools.workers.walltime: 00:02:00 (120 s) is too short: 153 s are needed" in said
    assert "102 s for one block of 1024 rows at 10 requests a second" in said and "30 s to leave" in said


def test_workers_that_share_the_rate_need_longer_for_a_block_each(
    here: Path, capsys: pytest.CaptureFixture[str]
):
    (here / "slurm.toml").write_text(SLURM + '[pools.workers]\nmemory_gib = 2\nwalltime = "00:05:00"\n')
    words = ("cube.rows_per_block=1024", "politeness.requests_per_second=10", "--nodes", "4")
    assert "460 s are needed" in refused(here, capsys, *words)
    assert main(["submit", str(here / "run.toml"), "--site", "slurm.toml", "--print", *words[:2]]) == 0
    words += ("samples.spectro.limit=2000",)
    assert main(["submit", str(here / "run.toml"), "--site", "slurm.toml", "--print", *words]) == 0


def test_a_memory_that_no_node_has_is_told(here: Path, capsys: pytest.CaptureFixture[str]):
    (here / "slurm.toml").write_text(SLURM + "[pools.workers]\nmemory_gib = 64\n")
    assert "pools.workers.memory_gib: 64 asked for, a node of partition debug" in refused(here, capsys)


def test_a_pool_with_less_memory_than_a_block_needs_is_told(here: Path, capsys: pytest.CaptureFixture[str]):
    (here / "slurm.toml").write_text(SLURM + "[pools.workers]\nmemory_gib = 1.5\n")
    assert "a worker needs 2.47 GiB, found 1.5" in refused(here, capsys, "images.pixels=384")


def test_a_scheduler_that_is_not_on_the_path_is_told_once(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(here / "runs"))
    said = refused(here, capsys)
    assert said.count("sinfo") == 1 and "log in where the batch scheduler's commands are" in said


def test_an_interface_that_this_machine_has_not_is_told_with_those_it_has(
    here: Path, capsys: pytest.CaptureFixture[str]
):
    (here / "here.toml").write_text(LOCAL + 'interface = "ib7"\n[pools.workers]\nmemory_gib = 2\n')
    said = refused(here, capsys, site="here.toml")
    assert "there is no 'ib7' on this machine" in said and socket.if_nameindex()[0][1] in said


def test_a_sandbox_on_a_site_without_an_interface_is_told(here: Path, capsys: pytest.CaptureFixture[str]):
    (here / "slurm.toml").write_text(SLURM.replace('interface = "eth0"', ""))
    assert "workers on other nodes do not reach" in refused(here, capsys)


def test_nodes_without_internet_cannot_have_the_downloads(here: Path, capsys: pytest.CaptureFixture[str]):
    (here / "slurm.toml").write_text(SLURM + "[pools.workers]\ninternet = false\nmemory_gib = 2\n")
    said = refused(here, capsys, "source.url=https://sky.example.org")
    assert "pools.workers: has the stages pull or fetch, but internet = false" in said


def test_a_disk_that_other_nodes_do_not_see_is_told(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OWN_DISK", str(here))
    (here / "slurm.toml").write_text(SLURM.replace("[]", f'["$OWN_DISK/runs", "{here}/db"]'))
    said = refused(here, capsys, "cube.path=/dev/shm/cube")
    assert f"output: {here}/runs/demo is on a disk of this machine (node_local has $OWN_DISK/runs)" in said
    assert f"database.directory: {here}/db is on a disk of this machine" in said
    assert "cube.path: /dev/shm/cube is on a disk of this machine (it is in memory)" in said
    assert "the folder you submit from" not in said


@pytest.mark.parametrize("word", ["cluster.address=tcp://192.0.2.1:8786", "cluster.site=local"])
def test_a_submitted_run_has_no_other_workers(here: Path, word: str, capsys: pytest.CaptureFixture[str]):
    assert "a submitted run has workers of its own" in refused(here, capsys, word)


def test_all_faults_are_told_together(here: Path, capsys: pytest.CaptureFixture[str]):
    (here / "slurm.toml").write_text(SLURM + '[pools.workers]\nqueue = "quick"\nmemory_gib = 1\n')
    said = refused(here, capsys, "model.preset=none", "cluster.site=local")
    assert "the submission has 4 faults" in said
    for words in ("no preset 'none'", "queue: unknown", "memory_gib: a worker needs", "cluster.site"):
        assert words in said


def test_no_nodes_at_all_are_refused(here: Path, capsys: pytest.CaptureFixture[str]):
    assert "--nodes: expected at least 1, found 0" in refused(here, capsys, "--nodes", "0")
    said = refused(here, capsys, "seed=minus", "--nodes", "0", code=2)
    assert "seed:" in said and "--nodes: expected at least 1" in said
    (here / "slurm.toml").write_text(SLURM + "[pools.workers]\nnodes = 0\n")
    assert "none with the stage 'pull' has a job" in refused(here, capsys)


def test_faults_of_both_files_are_told_together(here: Path, capsys: pytest.CaptureFixture[str]):
    (here / "slurm.toml").write_text(SLURM + "colour = 1\n")
    said = refused(here, capsys, "seed=minus", code=2)
    assert "seed:" in said and "colour: unknown key" in said


def test_a_database_that_another_host_has_is_told(here: Path, capsys: pytest.CaptureFixture[str]):
    (here / "db" / "data").mkdir(parents=True)
    (here / "db" / "data" / "postmaster.pid").write_text("1\n")
    (here / "db" / "host").write_text("elsewhere")
    assert read_note(here / "db") == Note("elsewhere") and other_host_fault(here / "db")
    code = main(["submit", str(here / "run.toml"), "--site", "slurm.toml"])
    assert code == 6 and "was started on elsewhere and not stopped there" in capsys.readouterr().err
    assert not (here / "runs").exists()


def test_printing_shows_every_script_and_touches_nothing(here: Path, capsys: pytest.CaptureFixture[str]):
    download = '[pools.download]\nstages = ["pull", "fetch"]\nnodes = 1\n'
    gpu = '[pools.gpu]\ngpus = 1\nstages = ["train", "infer"]\n'
    (here / "slurm.toml").write_text(SLURM + download + gpu)
    words = ["submit", str(here / "run.toml"), "--site", "slurm.toml", "--nodes", "3", "--print"]
    before = sorted(path.name for path in here.iterdir())
    assert main(words) == 0
    out = capsys.readouterr().out
    folder = here / "runs" / "demo" / FOLDER
    for header in ("driver: 1 x", "download: 1 x", "gpu: 3 x"):
        assert f"#---- {header} {folder}/{header.partition(':')[0]}.sh" in out
    assert "#SBATCH --array=0-2" in out and "--gres=gpu:1" in out
    assert f"cluster.jobs.driver {folder}" in out and f"cluster.jobs.worker {folder} gpu" in out
    assert sorted(path.name for path in here.iterdir()) == before
