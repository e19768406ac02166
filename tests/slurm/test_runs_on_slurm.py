"""Whole runs on a real Slurm: handed in, disturbed in every way, and the catalogue is the same, byte for byte."""

import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
sys.path.insert(0, str(Path(__file__).parents[1] / "acceptance"))
sys.path.insert(0, str(Path(__file__).parent))

import batch_conformance as suite
from lab import HEAD, USER, USER_ID, Lab, reason_not_possible
from mill_run import MillRun, wait_for
from scenarios import FLEET, Task
from submitted import BINDS, BLOCKS, RUN_FILE, SubmittedRun, install_for_user

from cluster.sites.batch import batch_of
from cluster.submission import Submission
from schemas.site import Pool, Site

pytestmark = pytest.mark.timeout(1800)
GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "hpc.md"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Four nodes to work on, three that tests kill, and three that they cut off."""
    if reason := reason_not_possible():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="skymill-lab-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        with Lab(
            folder, nodes={"debug": 4, "frail": 3, "torn": 3}, cpus=4, memory_mb=8000, binds=BINDS
        ) as lab:
            yield lab


@pytest.fixture(scope="module", autouse=True)
def fleet(lab: Lab) -> Iterator[dict[str, Task]]:
    """The disturbed runs, all under way from the start."""
    tasks = {name: Task(lambda do=do, name=name: do(lab, lab.folder / name)) for name, do in FLEET.items()}
    try:
        yield tasks
    finally:
        lab.down()  # what still waits for a job sees that there is no head any more


@pytest.fixture(scope="module")
def undisturbed(lab: Lab) -> Iterator[MillRun]:
    """The same run file, on this machine and at leisure."""
    folder = lab.folder / "undisturbed"
    folder.mkdir()
    run = MillRun(folder)
    run.run_file.write_text(RUN_FILE.format(folder=folder, rate=300))
    try:
        done = run.command("run", "cluster.workers=1")
        assert done.returncode == 0, done.stdout + done.stderr
        yield run
    finally:
        run.stop_database()


@pytest.fixture
def slurm(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Slurm's commands at hand, as on the head."""
    lab.install_commands(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    return Site(name="lab", kind="slurm", prologue=("export PROLOGUE=set",), warn_s=30)


@pytest.mark.parametrize(
    "check",
    [
        suite.check_an_array_runs_and_ends,
        suite.check_a_job_is_seen_and_cancelled,
        suite.check_a_job_is_started_again,
    ],
)
def test_slurm_is_as_every_batch_scheduler_is(slurm: Site, tmp_path: Path, check):
    check(batch_of(slurm), tmp_path / "job", "slurm", Pool(queue="debug", memory_gib=0.5))


def test_a_job_slurm_never_had_is_forgotten(slurm: Site):
    suite.check_a_job_it_never_had_is_forgotten(batch_of(slurm), "99999")


GUIDE_SAYS = {
    "ping": "",
    "plan": "node-hours",
    "submit --print": "#SBATCH --requeue",
    "submit": "submitted to lab",
    "status": "driver",
    "logs": "",
    "cancel": "cancelled",
    "catalog": "100",
    "retry": "submitted to lab",
    "run": "nothing to do",
}
"""What each command of the guide says, among other things."""


def test_every_command_of_the_guide_works_for_a_user_without_rights(lab: Lab, undisturbed: MillRun):
    home = install_for_user(lab)
    folder = home / "work"
    (folder / "sites").mkdir(parents=True)
    text = GUIDE.read_text(encoding="utf-8")
    (folder / "sites" / "lab.toml").write_text(re.findall(r"(?s)```toml\n(.*?)```", text)[0])
    (folder / "my.toml").write_text(RUN_FILE.partition("[database]")[0].format(folder=".", rate=300))
    lab.give_to_user(folder)
    commands = re.findall(r"(?m)^ {4}(skymill .*?)(?: *#.*)?$", text)
    assert len(commands) > 8
    for command in commands:
        words = command.split()
        if words[1] == "catalog":
            wait_until_done(lab, folder)
        said = as_user(lab, folder, command)
        assert GUIDE_SAYS["submit --print" if "--print" in words else words[1]] in said, f"{command}: {said}"
    wait_until_done(lab, folder)
    made = folder / "runs" / "mill"
    assert {path.stat().st_uid for path in (made / "cube", folder / ".skymill" / "postgres")} == {USER_ID}
    as_user(lab, folder, "skymill db stop")
    (folder / "postgres").symlink_to(".skymill/postgres")  # where a MillRun has its database
    run = MillRun(folder)
    with SubmittedRun.database_of(folder / ".skymill" / "postgres"):
        check_like_catalogue(run, undisturbed)


def wait_until_done(lab: Lab, folder: Path) -> None:
    """Wait until the user's run has ended, by what the login node is told."""
    submission = Submission.of(folder / "runs" / "mill")
    wait_for(lambda: submission.end or time.sleep(0.5), "the end of the guide's run")
    assert "has ended: done" in as_user(lab, folder, "skymill status my.toml")


def as_user(lab: Lab, folder: Path, command: str) -> str:
    """Run a command as the lab's user on its head, and return what it said."""
    path, libraries = f"{lab.folder}/home/skymill/.venv/bin:/usr/bin:/bin", f"{lab.folder}/python/lib"
    given = {"PATH": path, "LD_LIBRARY_PATH": libraries}
    done = lab.run(HEAD, ["sh", "-c", command], user=USER, cwd=folder, env=given, check=False)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_short_lives_and_dead_nodes_lose_nothing(fleet: dict[str, Task], undisturbed: MillRun):
    run = fleet["short"].result()
    assert run.seen["blocks when the driver died"] < BLOCKS
    assert run.starts() == 2
    assert run.logs().count("its lifetime is over") > 3
    check_whole(run, undisturbed)


def test_a_driver_that_runs_twice_does_nothing_twice(fleet: dict[str, Task], undisturbed: MillRun):
    run = fleet["cut"].result()
    assert run.starts() == 2
    check_whole(run, undisturbed, verify=True)
    for what in ("second submit", "second driver"):
        assert run.seen[what].returncode == 9, run.seen[what].stderr
    assert "1 jobs of pool transfer were gone: handed in as" in run.driver_log()
    failing = run.folder.with_name("failing")
    assert all((failing / f"{name}.calls").read_text().count("x") > 1 for name in ("sbatch", "squeue"))


def check_like_catalogue(run: MillRun, undisturbed: MillRun) -> None:
    """Check that two catalogues have the same galaxies, and redshifts as near as another number of trainers allows."""
    pairs = zip(run.catalogue().splitlines(), undisturbed.catalogue().splitlines(), strict=True)
    for ours, theirs in ((ours.split(b"\t"), theirs.split(b"\t")) for ours, theirs in pairs):
        assert ours[:5] == theirs[:5]
        assert [float(text) for text in ours[5:8]] == pytest.approx(
            [float(text) for text in theirs[5:8]], rel=1e-4
        )


def check_same_catalogue(run: MillRun, undisturbed: MillRun) -> None:
    """Check that two catalogues are the same, byte for byte; show the columns of the first row that are not."""
    pairs = zip(run.catalogue().splitlines(), undisturbed.catalogue().splitlines(), strict=True)
    row = next((pair for pair in pairs if pair[0] != pair[1]), (b"", b""))
    columns = zip(*(text.split(b"\t") for text in row), strict=True)
    assert [(at, ours[:60], theirs[:60]) for at, (ours, theirs) in enumerate(columns) if ours != theirs] == []


def check_whole(run: SubmittedRun, undisturbed: MillRun, *, verify: bool = False) -> None:
    """Check that nothing is missing, double or torn."""
    with run.database():
        check_same_catalogue(run, undisturbed)
        assert run.history() == undisturbed.history()
        accepted = (
            "SELECT stage, count(*), count(DISTINCT key) FROM skymill.attempt WHERE outcome = 'accepted'"
        )
        assert sorted(run.query(f"{accepted} GROUP BY 1")) == sorted(
            undisturbed.query(f"{accepted} GROUP BY 1")
        )
        assert run.query("SELECT count(*) FROM skymill.attempt WHERE outcome IS NULL") == [(0,)]
        if verify:
            done = run.command("verify")
            assert done.returncode == 0 and "as it was" in done.stdout, done.stdout + done.stderr
