"""A scheduler's commands: not there, refusing, failing for a while, hanging; and what their words mean."""

import os
from pathlib import Path

import pytest

from cluster import commands
from cluster.commands import run_command
from cluster.jobs.topup import TopUp
from cluster.sites.batch import Standing, State, batch_of
from cluster.submission import Asked, Order, Submission
from schemas.errors import SiteDown, SiteError
from schemas.site import Pool, Site


@pytest.fixture
def write_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Function that puts a command of the shell on the path; pauses are short."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setattr(commands, "PAUSE_S", 0.01)

    def write(name: str, text: str) -> None:
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    return write


def site(kind: str) -> Site:
    return Site(name="lab", kind=kind)


@pytest.mark.parametrize("kind", ["slurm", "pbs", "sge", "lsf", "htcondor"])
def test_a_command_that_is_not_on_the_path_is_said_with_the_remedy(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    batch = batch_of(site(kind))
    for call in (
        lambda: batch.faults("driver", Pool()),
        lambda: batch.standings(["1"]),
        lambda: batch.cancel(["1"]),
    ):
        with pytest.raises(SiteError, match="cannot run") as caught:
            call()
        assert caught.value.exit_code == 10 and "--site" in caught.value.remedy


def test_a_refusal_is_not_tried_again_and_keeps_its_words(write_command, tmp_path: Path):
    write_command("sbatch", f"echo x >> {tmp_path}/calls; echo 'sbatch: error: Invalid account' >&2; exit 1")
    with pytest.raises(SiteError, match="Invalid account") as caught:
        run_command(["sbatch"])
    assert not isinstance(caught.value, SiteDown)
    assert (tmp_path / "calls").read_text().count("x") == 1


@pytest.mark.parametrize(
    "words",
    [
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        "Unable to contact slurm controller (connect failure)",
        "qsub: cannot connect to server lab (errno=15010)",
        "error: commlib error: got select error (Connection refused)",
        "Cannot communicate with LSF: mbatchd is down",
        "ERROR: Failed to connect to local queue manager",
    ],
)
def test_what_passes_is_tried_again(write_command, tmp_path: Path, words: str):
    calls = tmp_path / "calls"
    write_command(
        "ask",
        f"echo x >> {calls}; [ $(wc -l < {calls}) -ge 3 ] && echo 7 && exit; echo '{words}' >&2; exit 1",
    )
    assert run_command(["ask"]).strip() == "7"
    with pytest.raises(SiteDown) as caught:
        calls.unlink()
        run_command(["ask"], tries=2)
    assert caught.value.exit_code == 75 and words.split(":")[-1].strip() in caught.value.message


def test_a_command_that_hangs_or_is_killed_is_down(write_command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(commands, "PATIENCE_S", 0.2)
    write_command("hang", "exec sleep 60")
    write_command("die", "kill -9 $$")
    with pytest.raises(SiteDown, match="no answer within"):
        run_command(["hang"], tries=2)
    with pytest.raises(SiteDown, match="ended by a signal"):
        run_command(["die"], tries=2)


def test_an_answer_without_an_id_is_not_taken_for_one(write_command, tmp_path: Path):
    write_command("sbatch", "echo 'Welcome to the new cluster 2000'")
    (tmp_path / "job.sh").touch()
    with pytest.raises(SiteError, match="no job id"):
        batch_of(site("slurm")).submit(tmp_path / "job.sh", None)


def test_slurms_words(write_command):
    lines = {
        "7_0|RUNNING|node1|None": Standing(State.RUNNING, "node1", "running"),
        "7_1|PENDING||Resources": Standing(State.WAITING, "", "pending: Resources"),
        "7_2|PENDING||launch failed requeued held": Standing(
            State.HELD, "", "pending: launch failed requeued held"
        ),
        "7_3|PENDING||JobHeldUser": Standing(State.HELD, "", "pending: JobHeldUser"),
        "7_4|PENDING||PartitionTimeLimit": Standing(State.HELD, "", "pending: PartitionTimeLimit"),
        "7_5|REQUEUE_HOLD||None": Standing(State.HELD, "", "requeue_hold"),
        "7_6|COMPLETING|node1|None": Standing(State.UNKNOWN, "node1", "completing"),
        "7_7|NODE_FAIL|node1|None": Standing(State.ENDED, "node1", "node_fail"),
        "7_8|PENDING||BeginTime": Standing(State.WAITING, "", "pending: BeginTime"),
    }
    write_command("squeue", "cat <<'E'\n8|RUNNING|node2|None\n" + "\n".join(lines) + "\nE")
    assert batch_of(site("slurm")).standings(["7"]) == {"7": tuple(lines.values())}


def test_pbss_words(write_command):
    states = {"Q": State.WAITING, "R": State.RUNNING, "H": State.HELD, "E": State.ENDED, "S": State.WAITING}
    records = [f"Job Id: 7[{i}].lab\n    job_state = {letter}\n" for i, letter in enumerate(states)]
    write_command("qstat", "cat <<'E'\nJob Id: 7[].lab\n    job_state = B\n\n" + "\n".join(records) + "\nE")
    found = batch_of(site("pbs")).standings(["7[].lab.example.org"])["7[].lab.example.org"]
    assert [standing.state for standing in found] == list(states.values())
    waiting = "Job Id: 7[].lab\n    job_state = Q\n    comment = Not Running: No available\n\t resources\n"
    write_command("qstat", f"cat <<'E'\n{waiting}\nE")
    (whole,) = batch_of(site("pbs")).standings(["7[].lab"])["7[].lab"]
    assert whole == Standing(State.WAITING, "", "Not Running: No available resources")


def test_grid_engines_words(write_command):
    states = {
        "r": State.RUNNING,
        "qw": State.WAITING,
        "hqw": State.HELD,
        "Eqw": State.HELD,
        "dr": State.ENDED,
    }
    jobs = "".join(
        f"<job_list><JB_job_number>7</JB_job_number><state>{word}</state></job_list>" for word in states
    )
    write_command("qstat", f"echo '<job_info><queue_info/><job_info>{jobs}</job_info></job_info>'")
    found = batch_of(site("sge")).standings(["7"])["7"]
    assert [standing.state for standing in found] == list(states.values())
    assert "qstat -explain E" in found[3].words


def test_lsfs_and_htcondors_words(write_command):
    write_command("bjobs", "printf '7|1|RUN|16*n1|-\\n7|2|PSUSP|-|Held\\n7|3|EXIT|n1|-\\n7|4|UNKWN|n1|-\\n'")
    found = batch_of(site("lsf")).standings(["7"])["7"]
    assert [s.state for s in found] == [State.RUNNING, State.HELD, State.ENDED, State.UNKNOWN]
    assert [s.node for s in found] == ["n1", "", "n1", "n1"]
    write_command("condor_q", """echo '[{"ClusterId": 7, "JobStatus": 5, "HoldReason": "no such folder"}]'""")
    assert batch_of(site("htcondor")).standings(["7"])["7"] == (
        Standing(State.HELD, "", "held: no such folder"),
    )
    write_command("condor_q", "true")
    assert batch_of(site("htcondor")).standings(["7"]) == {"7": ()}


def test_what_is_pardoned_for_one_job_is_not_for_another(write_command):
    lost = "scancel: error: Kill job error on job id 1: Invalid job id specified"
    write_command("scancel", f"echo '{lost}' >&2; exit 1")
    batch_of(site("slurm")).cancel(["1"])
    write_command("scancel", f"echo '{lost}\nscancel: error: job id 2: Access/permission denied' >&2; exit 1")
    with pytest.raises(SiteError, match="permission denied"):
        batch_of(site("slurm")).cancel(["1", "2"])
    write_command("squeue", f"echo '{lost}\nUnable to contact slurm controller' >&2; exit 1")
    with pytest.raises(SiteDown):
        batch_of(site("slurm")).standings(["1", "2"])


@pytest.mark.parametrize(
    ("kind", "command", "words"),
    [
        ("htcondor", "condor_q", "Warning: the collector is slow"),
        ("htcondor", "condor_q", "[{}]"),
        ("htcondor", "condor_q", "7"),
        ("sge", "qstat", "<job_info><job_list>"),
        ("sge", "qstat", ""),
    ],
)
def test_an_answer_that_cannot_be_read_is_none(write_command, kind: str, command: str, words: str):
    write_command(command, f"echo '{words}'")
    with pytest.raises(SiteDown, match="nothing readable"):
        batch_of(site(kind)).standings(["7"])


@pytest.mark.parametrize(
    ("kind", "answers", "refused"),
    [
        ("sge", "h_rt 24:00:00,[node1=48:00:00]", False),
        ("sge", "h_rt 24:00:00,[node1=30:00:00]", True),
        ("sge", "h_rt 24:00:00,[node1=30:00:00], \\\n     [node2=48:00:00]", False),
        ("sge", "h_rt 24:00:00,[node1=INFINITY]", False),
        (
            "lsf",
            "DEFAULT LIMITS:\nRUNLIMIT\n 60.0 min\n\nMAXIMUM LIMITS:\nRUNLIMIT\n 2880.0 min of n1",
            False,
        ),
        ("lsf", "DEFAULT LIMITS:\nRUNLIMIT\n 60.0 min\n\nMAXIMUM LIMITS:\nRUNLIMIT\n 1440.0 min", True),
        ("lsf", "MAXIMUM LIMITS:\nRUNLIMIT\n 1440.0 min", True),
        ("lsf", "DEFAULT LIMITS:\nRUNLIMIT\n 60.0 min", False),
        ("slurm", "long|long|1-00:00:00|1|8000|\nmore|more|infinite|1|8000|", False),
        ("slurm", "long|long|1-00:00:00|1|8000|\nmore|more|1-02:00:00|1|8000|", True),
    ],
)
def test_the_longest_walltime_is_that_of_the_most_patient_place(
    write_command, tmp_path: Path, kind: str, answers: str, refused: bool
):
    (tmp_path / "answer").write_text(answers + "\n")
    write_command("sinfo", f"cat {tmp_path}/answer")
    write_command("bqueues", f"[ -n \"$1\" ] && cat {tmp_path}/answer || printf 'QUEUE_NAME\\nlong 30\\n'")
    write_command("qconf", f"[ $1 = -sq ] && cat {tmp_path}/answer || echo long")
    pool = Pool(queue="long,more" if kind == "slurm" else "long", walltime="1-12:00:00")
    faults = batch_of(site(kind)).faults("pools.a", pool)
    assert keys_of(faults) == ["walltime"] * refused, faults


def test_each_partition_that_is_not_there_is_named(write_command):
    write_command("sinfo", "echo 'long|long|infinite|8|64000|'")
    faults = batch_of(site("slurm")).faults("pools.a", Pool(queue="long,shrot"))
    assert faults == ["pools.a.queue: unknown partition 'shrot'; there are long"]


def test_jobs_that_are_held_are_cancelled_before_others_are_handed_in(write_command, tmp_path: Path):
    submission = Submission(tmp_path / "submission")
    submission.logs.mkdir(parents=True)
    order = Order("demo", ("true",), str(tmp_path), site("slurm"), {"workers": 2})
    write_command("squeue", "printf '7_0|REQUEUE_HOLD||None\\n7_1|NODE_FAIL|n1|None\\n8|RUNNING|n2|None\\n'")
    for command, answer in {"scancel": "", "sbatch": "9"}.items():
        write_command(command, f'echo {command} "$*" >> {tmp_path}/calls; echo {answer}')
    for asked in (Asked("7", "workers", 2), Asked("8", "workers", 1)):
        submission.add_job(asked)
    top_up = TopUp(submission, order, batch_of(order.site), every_s=30.0, until_s=float("inf"))
    top_up.look(100.0)
    cancelled, handed_in = (tmp_path / "calls").read_text().splitlines()
    assert cancelled == "scancel 7" and handed_in.startswith("sbatch ")
    assert [(job.id, job.count) for job in submission.jobs] == [("7", 2), ("8", 1), ("9", 1)]


BIG = Pool(queue="long", cores=64, memory_gib=500, walltime="4-00:00:00", gpus=4)


def keys_of(faults: list[str]) -> list[str]:
    return [fault.partition(":")[0].removeprefix("pools.a.") for fault in faults]


def test_what_no_node_has_is_a_fault_each(write_command):
    write_command(
        "sinfo",
        "echo 'long|long|3-00:00:00|32|256000|gpu:a100:2(S:0)'; echo 'long|long|3-00:00:00|64|64000+|'",
    )
    faults = batch_of(site("slurm")).faults("pools.a", BIG)
    assert keys_of(faults) == ["walltime", "memory_gib", "gpus"]
    assert "partition long allows 3-00:00:00" in faults[0] and "at most 250.00" in faults[1]
    assert keys_of(batch_of(site("slurm")).faults("pools.a", Pool())) == ["queue"], "it has no default one"
    write_command("qstat", "printf 'Queue: long\\n    resources_max.walltime = 24:00:00\\n'")
    write_command(
        "pbsnodes",
        "printf 'n1\\n     resources_available.mem = 256gb\\n     resources_available.ncpus = 32\\n'",
    )
    assert keys_of(batch_of(site("pbs")).faults("pools.a", BIG)) == ["walltime", "cores", "memory_gib"]
    write_command("qconf", 'case $1 in -sql) echo long;; -sq) echo "h_rt 24:00:00";; *) echo smp;; esac')
    assert keys_of(batch_of(site("sge")).faults("pools.a", BIG)) == ["walltime", "cores"]
    odd = BIG.model_copy(update={"directives": ("-pe mpi 64",), "walltime": "1:00:00"})
    (fault,) = batch_of(site("sge")).faults("pools.a", odd)
    assert fault == "pools.a.directives: unknown parallel environment 'mpi'; there are smp"
    write_command(
        "bqueues", "[ -n \"$1\" ] && printf 'RUNLIMIT\\n 1440.0 min\\n' || printf 'QUEUE_NAME\\nlong 30\\n'"
    )
    assert keys_of(batch_of(site("lsf")).faults("pools.a", BIG)) == ["walltime"]
    assert keys_of(batch_of(site("local")).faults("pools.a", BIG))[:2] == ["queue", "cores"]
    address = Site(name="a", kind="address", address="tcp://a:1")
    assert batch_of(address).faults("pools.a", BIG) == []
