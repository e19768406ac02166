"""Submitting, looking, cancelling and trying again: with commands that answer as Slurm's do, and once for real."""

import ast
import sys
import time
from pathlib import Path

import psutil
import pytest

from cluster.lease import VARIABLE, Lease
from cluster.submission import Asked, End, Order, Submission, write_json
from pipeline import submitted
from pipeline.cli import main
from pipeline.submitting import hand_in
from schemas.runfile import load_run_file
from schemas.site import Site

RUN_FILE = """
schema = 1
name = "demo"
output = "{0}/runs"
samples.spectro.sql = "SELECT specobjid, ra, dec, z FROM SpecObj"
database.dsn = "{1}"
"""
SITE = """
schema = 1
name = "lab"
kind = "slurm"
interface = "eth0"
node_local = []
"""
PROGRAMS = {
    "sinfo": "echo 'debug|debug*|1-00:00:00|2|5000|(null)'",
    "sbatch": """
        if [ -e {0}/hiccup ]; then rm {0}/hiccup; echo 'sbatch: error: Socket timed out' >&2; exit 1; fi
        for script; do :; done
        case $script in *workers.sh) [ -e {0}/full ] && {{ echo 'sbatch: error: QOSMaxSubmitJob' >&2; exit 1; }} ;; esac
        id=$(( $(cat {0}/last) + 1 )); echo $id > {0}/last; echo $id >> {0}/ever
        echo "$id|RUNNING|node$id|None" > {0}/jobs/$id; echo $id""",
    "squeue": """
        for ids; do :; done
        for id in $(echo $ids | tr , ' '); do cat {0}/jobs/$id 2> /dev/null; done; exit 0""",
    "scancel": "for id; do rm -f {0}/jobs/$id; echo $id >> {0}/cancelled; done",
}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run file, a site, and a Slurm whose jobs never do anything: a file each in ``jobs``."""
    (tmp_path / "run.toml").write_text(RUN_FILE.format(tmp_path, "host=/nowhere dbname=none"))
    (tmp_path / "lab.toml").write_text(SITE)
    (tmp_path / "last").write_text("100")
    for folder in ("bin", "jobs"):
        (tmp_path / folder).mkdir()
    for name, text in PROGRAMS.items():
        (tmp_path / "bin" / name).write_text("#!/bin/sh\n" + text.format(tmp_path) + "\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setattr("cluster.commands.PAUSE_S", 0.01)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def submit(lab: Path, *words: str) -> int:
    return main(["submit", str(lab / "run.toml"), "--site", "lab.toml", "--nodes", "2", *words])


def submission(lab: Path) -> Submission:
    return Submission.of(lab / "runs" / "demo")


def jobs(lab: Path) -> list[str]:
    return sorted(path.name for path in (lab / "jobs").iterdir())


def test_a_submission_keeps_what_was_submitted_and_says_what_to_do_next(
    lab: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PGPASSWORD", "hush-hush")
    monkeypatch.setenv("SKYMILL_TRAINING__EPOCHS", "3")
    (lab / "hiccup").touch()
    assert submit(lab, "training.batch=16") == 0
    out = capsys.readouterr().out
    assert "driver     job 101" in out and "workers    job 102, 2 at a time" in out
    assert "database.password_file is sure" in out, (
        "whether the scheduler hands the password on is its choice"
    )
    for verb in ("status", "logs", "cancel"):
        assert f"skymill {verb} {lab}/run.toml" in out
    found = submission(lab)
    order = found.order
    assert order and [(job.id, job.pool, job.count) for job in found.jobs] == [
        ("101", "driver", 1),
        ("102", "workers", 2),
    ]
    assert order.argv == (sys.executable, "-m", "pipeline.cli", "run", str(found.path / "run.toml"))
    monkeypatch.delenv("SKYMILL_TRAINING__EPOCHS")
    kept = load_run_file(found.path / "run.toml")
    meant = ["training.batch=16", "training.epochs=3"]
    assert kept == load_run_file(lab / "run.toml", words=meant), "words and environment are in the copy"
    for path in found.path.rglob("*"):
        assert not path.is_file() or "hush-hush" not in path.read_text(), "a password is written nowhere"


def test_a_second_submission_is_refused_while_the_first_is_there(
    lab: Path, capsys: pytest.CaptureFixture[str]
):
    assert submit(lab) == 0
    assert submit(lab) == 9
    err = capsys.readouterr().err
    assert "run demo is submitted to lab, as jobs 101, 102" in err and "skymill cancel" in err
    assert jobs(lab) == ["101", "102"] and len(submission(lab).jobs) == 2


def test_where_the_workers_are_refused_the_driver_is_cancelled_and_nothing_is_left(
    lab: Path, capsys: pytest.CaptureFixture[str]
):
    (lab / "full").touch()
    assert submit(lab) == 10
    assert "QOSMaxSubmitJob" in capsys.readouterr().err
    assert jobs(lab) == [] and (lab / "cancelled").read_text().split() == ["101"]
    assert not (lab / "runs" / "demo").exists()


def test_a_run_that_is_submitted_is_not_begun_here_as_well(lab: Path, capsys: pytest.CaptureFixture[str]):
    assert submit(lab) == 0
    assert main(["run", str(lab / "run.toml")]) == 9
    assert "run demo is submitted to lab, as jobs 101, 102" in capsys.readouterr().err
    lease = Lease(submission(lab).lease_file, holder="job 101 on node101")
    assert lease.take(lambda: True)
    try:
        (lab / "jobs" / "101").unlink()
        (lab / "jobs" / "102").unlink()
        assert main(["run", str(lab / "run.toml")]) == 9
        assert "is being done by job 101 on node101" in capsys.readouterr().err
    finally:
        lease.release()


def test_the_driver_of_the_submission_itself_is_let_in(lab: Path, monkeypatch: pytest.MonkeyPatch):
    assert submit(lab) == 0
    lease = Lease(submission(lab).lease_file, holder="job 101 on node101")
    assert lease.take(lambda: True)
    try:
        monkeypatch.setenv(VARIABLE, lease.nonce)
        assert main(["run", str(lab / "run.toml")]) == 75, "its database does not answer"
        monkeypatch.setenv(VARIABLE, "another")
        assert main(["run", str(lab / "run.toml")]) == 9
    finally:
        lease.release()


def test_status_tells_what_jobs_wait_for_and_what_the_driver_said(
    lab: Path, capsys: pytest.CaptureFixture[str]
):
    assert submit(lab) == 0
    (lab / "jobs" / "101").write_text("101|PENDING||Priority\n")
    (lab / "jobs" / "102").write_text("102_0|RUNNING|node7|None\n102_1|PENDING||Resources\n")
    assert main(["status", str(lab / "run.toml")]) == 0
    out = capsys.readouterr().out
    assert "driver     job 101: waiting (pending: Priority)" in out
    assert "workers    job 102: 1 running, 1 waiting on node7 (pending: Resources)" in out
    assert "the driver has not said anything yet" in out
    write_json(submission(lab).status_file, {"at": time.time() - 7, "lines": ["fetch    3/9 units"]})
    (lab / "jobs" / "101").unlink()
    assert main(["status", str(lab / "run.toml")]) == 0
    out = capsys.readouterr().out
    assert "fetch    3/9 units" in out and "as the driver said 7 s ago" in out
    assert "the driver's job is gone: `skymill cancel`, then" in out
    for name in ("squeue", "sinfo"):
        (lab / "bin" / name).write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2; exit 1\n")
    assert main(["status", str(lab / "run.toml")]) == 0
    out = capsys.readouterr().out
    assert "the scheduler of lab does not say: squeue failed 5 times" in out and "fetch    3/9 units" in out


def test_status_of_jobs_that_are_gone_says_how_to_go_on(
    lab: Path, capsys: pytest.CaptureFixture[str], database_dsn: str
):
    (lab / "run.toml").write_text(RUN_FILE.format(lab, database_dsn))
    assert submit(lab) == 0
    for name in jobs(lab):
        (lab / "jobs" / name).unlink()
    assert main(["status", str(lab / "run.toml")]) == 0
    out = capsys.readouterr().out
    assert "its jobs at lab are gone" in out and "`skymill submit` goes on" in out and "not started" in out
    assert submit(lab) == 0
    assert jobs(lab) == ["103", "104"]
    assert (lab / "runs" / "demo" / "submission.1" / "order.json").exists()
    submission(lab).write_end(End("failed", 8, "w1 failed too often"))
    assert main(["status", str(lab / "run.toml")]) == 0
    assert "has ended: failed (exit code 8): w1 failed too often" in capsys.readouterr().out


def test_status_does_not_wait_for_a_database_that_a_lost_host_has_left(
    lab: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["database.dsn=embedded", f"database.directory={lab}/db"]
    assert submit(lab, *words) == 0
    for name in jobs(lab):
        (lab / "jobs" / name).unlink()
    (lab / "db" / "data").mkdir(parents=True)
    (lab / "db" / "data" / "postmaster.pid").write_text("1\n")
    (lab / "db" / "host").write_text(f"node101\n{submission(lab).lease_file}\nn1")
    write_json(submission(lab).status_file, {"at": time.time(), "lines": ["fetch    3/9 units"]})
    assert main(["status", str(lab / "run.toml"), *words]) == 0
    out = capsys.readouterr().out
    assert "its jobs at lab are gone" in out and "fetch    3/9 units" in out
    assert submit(lab, *words) == 0, "the job itself takes the database over"


def test_cancel_ends_the_jobs_and_a_new_submission_is_taken_at_once(
    lab: Path, capsys: pytest.CaptureFixture[str]
):
    assert submit(lab) == 0
    submission(lab).add_job(Asked("150", "workers", 1))
    (lab / "jobs" / "150").write_text("150|RUNNING|node9|None\n")
    assert main(["cancel", str(lab / "run.toml")]) == 0
    assert "demo: cancelled; what is done stays done" in capsys.readouterr().out
    assert jobs(lab) == [] and (end := submission(lab).end) and end.state == "cancelled"
    assert main(["cancel", str(lab / "run.toml")]) == 0
    assert "is over (cancelled); there is nothing to cancel" in capsys.readouterr().out
    assert submit(lab) == 0 and jobs(lab) == ["103", "104"] and submission(lab).end is None


def test_cancel_of_jobs_that_do_not_go_says_so(
    lab: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pipeline.cancelling.LEAVE_S", 0.1)
    monkeypatch.setattr(submitted, "GONE_S", 0.1)
    assert submit(lab) == 0
    (lab / "bin" / "scancel").write_text("#!/bin/sh\nexit 0\n")
    assert main(["cancel", str(lab / "run.toml")]) == 75
    assert "it still shows 101, 102" in capsys.readouterr().out
    assert submit(lab) == 9
    assert "is over, but jobs 101, 102 has not left yet" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["cancel", "logs"])
def test_a_run_that_was_never_submitted_is_told(lab: Path, verb: str, capsys: pytest.CaptureFixture[str]):
    assert main([verb, str(lab / "run.toml")]) == 1
    err = capsys.readouterr().err
    assert "demo: was never submitted" in err and "skymill submit" in err
    assert not (lab / "runs").exists()


def test_logs_shows_the_ends_of_all_logs_or_of_one(lab: Path, capsys: pytest.CaptureFixture[str]):
    assert submit(lab) == 0
    capsys.readouterr()
    assert main(["logs", str(lab / "run.toml")]) == 0
    assert "no job has written a log yet" in capsys.readouterr().out
    for name in ("skymill-demo-driver-101.out", "skymill-demo-workers-102_1.out"):
        (submission(lab).logs / name).write_text("".join(f"{name} {number}\n" for number in range(9)))
    assert main(["logs", str(lab / "run.toml"), "--lines", "2"]) == 0
    out = capsys.readouterr().out
    assert "driver-101.out 7\n" in out and "102_1.out 8\n" in out and "out 6\n" not in out
    assert main(["logs", str(lab / "run.toml"), "--job", "102"]) == 0
    out = capsys.readouterr().out
    assert "102_1.out 8\n" in out and "driver" not in out
    assert main(["logs", str(lab / "run.toml"), "--job", "77"]) == 1
    assert "no log of '77'; there are: skymill-demo-driver-101.out" in capsys.readouterr().err


def test_retry_of_a_submitted_run_submits_it_again_for_that(lab: Path, capsys: pytest.CaptureFixture[str]):
    assert submit(lab) == 0
    assert main(["retry", str(lab / "run.toml")]) == 9
    assert "run demo is submitted to lab" in capsys.readouterr().err
    for name in jobs(lab):
        (lab / "jobs" / name).unlink()
    submission(lab).write_end(End("done"))
    (lab / "lab.toml").unlink()
    assert main(["retry", str(lab / "run.toml"), "seed=5"]) == 0
    order = submission(lab).order
    assert order and order.argv[-2:] == ("retry", str(submission(lab).path / "run.toml"))
    assert order.nodes == {"workers": 2} and jobs(lab) == ["103", "104"]
    assert load_run_file(submission(lab).path / "run.toml").seed == 5


def test_an_order_is_begun_by_a_real_job_of_this_machine_and_cancelled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "run.toml").write_text(RUN_FILE.format(tmp_path, "host=/nowhere dbname=none"))
    site = Site.model_validate({"name": "here", "kind": "local", "warn_s": 10})
    program = (
        f"import os, time, pathlib; path = pathlib.Path('{tmp_path.name}'); "
        "path.with_suffix('.new').write_text(str(dict(os.environ))); path.with_suffix('.new').rename(path); "
        "time.sleep(600)"
    )
    words = (sys.executable, "-c", program)
    order = Order(str(tmp_path / "runs" / "demo"), words, str(tmp_path), site, {"workers": 0})
    found = hand_in(order, only_print=False, files={"note.txt": "kept"})
    try:
        wait_for((tmp_path / tmp_path.name).exists)
        environment = ast.literal_eval((tmp_path / tmp_path.name).read_text())
        assert environment["SKYMILL_SUBMISSION"] == str(found.path) and environment[VARIABLE]
        assert [job.pool for job in found.jobs] == ["driver"], "a pool of no jobs has none"
        assert (found.path / "note.txt").read_text() == "kept"
    finally:
        code = main(["cancel", str(tmp_path / "run.toml")])
        wait_for(lambda: not submitted.present(found, order))
    assert code == 0 and "demo: cancelled" in capsys.readouterr().out
    assert found.end and found.end.state == "cancelled"
    assert not [one for one in psutil.process_iter(["cmdline"]) if program in (one.info["cmdline"] or [])]


def wait_for(what, *, within_s: float = 120.0):
    deadline = time.monotonic() + within_s
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)
    return found


def test_a_scaling_run_is_handed_in_like_a_run_and_leaves_the_database_to_its_driver(
    lab: Path, capsys: pytest.CaptureFixture[str]
):
    left = lab / "db" / "data" / "postmaster.pid"
    left.parent.mkdir(parents=True)
    left.write_text("1\n")
    words = ["database.dsn=embedded", f"database.directory={lab}/db"]
    command = ["scale", str(lab / "run.toml"), "--site", "lab.toml", "--nodes", "1,3", "--stage", "none"]
    assert main([*command, *words]) == 0
    assert not left.exists(), "the driver's job would take it for that of another host's server"
    out = capsys.readouterr().out
    found = Submission.of(lab / "runs" / "demo-scale")
    assert "driver     job 101" in out and "workers    job 102, 3 at a time" in out
    assert found.order and found.order.argv[5:7] == ("--nodes", "1,3")
    assert main(["status", out.partition("skymill status ")[2].partition(" |")[0]]) == 0
    assert "demo-scale: submitted to lab" in capsys.readouterr().out
