"""This machine as a batch scheduler: what dies is started again, what stays too long is ended, nothing is left."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from batch_conformance import await_

from cluster.sites.batch import Job, State, batch_of
from schemas.site import Pool, Site


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for process in psutil.process_iter(["cmdline"]):
        if str(tmp_path) in " ".join(process.info["cmdline"] or ()):
            with contextlib.suppress(psutil.NoSuchProcess):  # one that has just ended
                process.kill()


def start(folder: Path, command: str, *, walltime: str = "00:10:00", warn_s: int = 1, count: int = 1):
    """Hand in a shell command; return the scheduler, the job's id and its output."""
    batch = batch_of(Site(name="lab", kind="local", warn_s=warn_s))
    job = Job("job", Pool(walltime=walltime), f"bash {folder}/command", folder, folder / "logs", count)
    (folder / "logs").mkdir(exist_ok=True)
    (folder / "command").write_text(command)
    (folder / "job.sh").write_text(batch.script(job))
    id_ = batch.submit(folder / "job.sh", job)
    return batch, id_, folder / "logs" / f"job-{id_}.out"


def pids(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().splitlines() if line.isdecimal()] if log.exists() else []


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_killed_job_is_started_again_and_a_failed_one_is_not(folder: Path):
    batch, id_, log = start(
        folder,
        "echo $$\n[ $(wc -l < $LOG) = 1 ] && exec sleep 600\nexit 3".replace("$LOG", f"{folder}/logs/*.out"),
    )
    await_("it began", lambda: len(pids(log)) == 1)
    os.kill(pids(log)[0], signal.SIGKILL)
    await_("it began again", lambda: len(pids(log)) == 2)
    await_("it is forgotten", lambda: batch.standings([id_]) == {id_: ()})
    assert len(pids(log)) == 2


def test_a_job_is_warned_before_its_walltime_and_ended_at_it(folder: Path):
    words = "trap 'echo warned' USR1; trap 'echo told; exit' TERM; echo $$; while :; do sleep 0.1; done"
    batch, id_, log = start(folder, words, walltime="00:00:03", warn_s=2)
    await_("the warning", lambda: log.exists() and "warned" in log.read_text())
    assert batch.standings([id_])[id_][0].state == State.RUNNING
    await_("the end", lambda: batch.standings([id_]) == {id_: ()})
    assert log.read_text().split()[1:] == ["warned", "told"], "it was not started again"


def test_what_a_job_leaves_behind_ends_with_it(folder: Path):
    words = "setsid bash -c 'echo $$; exec sleep 600' &\necho $$\nexec sleep 600"
    batch, id_, log = start(folder, words)
    await_("both began", lambda: len(pids(log)) == 2)
    batch.cancel([id_])
    await_("it is forgotten", lambda: batch.standings([id_]) == {id_: ()})
    assert not any(is_running(pid) for pid in pids(log))


def test_the_jobs_of_a_dead_keeper_end(folder: Path):
    batch, id_, log = start(folder, "echo $$\nexec sleep 600")
    await_("it began", lambda: len(pids(log)) == 1)
    os.kill(int(id_.partition(".")[0]), signal.SIGKILL)
    await_("it ended", lambda: not is_running(pids(log)[0]))
    assert batch.standings([id_]) == {id_: ()}


def test_another_process_with_the_number_of_a_job_is_left_alone(folder: Path):
    batch, id_, log = start(folder, "echo $$\nexec sleep 600", count=1)
    await_("it began", lambda: len(pids(log)) == 1)
    other = id_.partition(".")[0] + ".1"
    assert batch.standings([other, "odd"]) == {other: (), "odd": ()}
    batch.cancel([other, "odd"])
    assert batch.standings([id_])[id_][0].state == State.RUNNING
    batch.cancel([id_])


def test_a_job_that_another_hands_in_outlives_it(folder: Path):
    (folder / "inner").mkdir()
    ask = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import test_sites_local as tests
from cluster.jobs.processes import adopt_orphans, descendants
adopt_orphans()
batch, id_, log = tests.start(Path({str(folder / "inner")!r}), "echo $$\\nexec sleep 600")
tests.await_("it began", lambda: len(tests.pids(log)) == 1)
assert not descendants()
print("id", id_)
"""
    (folder / "ask.py").write_text(ask)
    _, _, log = start(folder, f"exec {sys.executable} {folder / 'ask.py'}")
    await_(
        "it was handed in", lambda: log.exists() and ("id " in log.read_text() or "Error" in log.read_text())
    )
    id_ = log.read_text().split()[1]
    batch = batch_of(Site(name="lab", kind="local"))
    assert [standing.state for standing in batch.standings([id_])[id_]] == [State.RUNNING]
    batch.cancel([id_])
    await_("it is forgotten", lambda: batch.standings([id_]) == {id_: ()})
