"""The driver's job of a submission, as a process of its own: its lease, its children, and its end."""

import json
import signal
import sys
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent))
from job_field import TIMES, Field, field, shell

from cluster.sites.batch import AGAIN
from cluster.submission import End

WORK = """
echo "$$" >> pids
trap 'echo told >> told; exit 143' TERM
setsid sleep 600 < /dev/null > /dev/null 2>&1 &
if [ -e bad ]; then echo "first words" >&2; echo "a bad end" >&2; exit 7; fi
while [ ! -e go ]; do sleep 0.1; done
"""
"""Leaves a process behind, as a database does that is its own server."""


def command(jobs: Field, number: int) -> psutil.Process:
    """Return the command's process of the attempt of that number, from 1, once it is there."""
    jobs.wait(lambda: len(jobs.lines("pids")) >= number)
    return psutil.Process(int(jobs.lines("pids")[number - 1]))


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_driver_goes_on_when_its_children_are_killed_leaves_when_told_goes_on_when_started_anew_and_is_cancelled(
    tmp_path: Path,
):
    with field(tmp_path, shell(WORK)) as jobs:
        driver = jobs.start("driver")
        command(jobs, 1).kill()
        command(jobs, 2)
        jobs.child(driver, "cluster.jobs.scheduler").kill()
        command(jobs, 3)
        assert jobs.lines("told") == ["told"]  # the second noticed nothing, and was ended

        driver.send_signal(signal.SIGUSR1)
        assert jobs.code(driver) == AGAIN
        assert jobs.lines("told") == ["told", "told"]
        assert jobs.lease()["state"] == "released"
        assert not jobs.submission.scheduler_file.exists()
        assert jobs.submission.end is None
        assert not jobs.processes()

        driver = jobs.start("driver")
        command(jobs, 4)
        jobs.submission.write_end(End("cancelled"))
        driver.terminate()
        assert jobs.code(driver) == 0
        assert jobs.submission.end.state == "cancelled"
        assert not jobs.processes()

        assert jobs.code(jobs.start("driver")) == 0
        assert len(jobs.lines("pids")) == 4


def test_of_several_drivers_the_newest_works_and_the_others_end_all_that_is_theirs(tmp_path: Path):
    with field(tmp_path, shell(WORK)) as jobs:
        first = jobs.start("driver")
        of_first = command(jobs, 1)
        second = jobs.start("driver")
        of_second = command(jobs, 2)
        assert not is_alive(of_first)
        assert jobs.code(first) == 0

        second.send_signal(signal.SIGSTOP)
        (tmp_path / "bad").touch()
        third = jobs.start("driver")
        assert jobs.code(third) == 7
        second.send_signal(signal.SIGCONT)
        assert jobs.code(second, 5) == 0
        assert not is_alive(of_second)
        assert "a newer driver" in jobs.log(1)

        end = jobs.submission.end
        assert (end.state, end.exit_code) == ("failed", 7)
        assert end.words == "first words\na bad end"
        assert "a bad end" in jobs.log(2)
        assert not jobs.processes()


def test_an_interface_that_is_not_there_ends_the_submission_with_those_there_are(tmp_path: Path):
    with field(tmp_path, shell(WORK), interface="ib7") as jobs:
        assert jobs.code(jobs.start("driver")) == 10
        end = jobs.submission.end
        assert end.state == "failed"
        assert "'ib7'" in end.words and "lo" in end.words and "`interface`" in end.words
        assert not jobs.lines("pids")


def test_a_command_whose_scheduler_cannot_begin_is_ended_at_once_and_all_is_tried_again(tmp_path: Path):
    patient = {"SKYMILL_JOB_TIMES": json.dumps({**TIMES, "notice_s": 3600.0})}
    with field(tmp_path, shell(WORK)) as jobs:
        jobs.start("driver", **patient, DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION="true")
        first, second = command(jobs, 1), command(jobs, 2)
        assert not is_alive(first)
        assert second.pid != first.pid
