"""A small run that is handed in to a lab's Slurm, and what tests ask of it."""

import json
import os
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "acceptance"))
sys.path.insert(0, str(Path(__file__).parent))

from lab import HEAD, Lab
from mill_run import SPECTRO, MillRun, wait_for

from cluster.submission import Submission
from pipeline.stores import launcher

ROOT = Path(__file__).parents[2]

RUN_FILE = (
    """
schema = 1
name = "mill"
output = "{folder}/runs"
"""
    + SPECTRO
    + """limit = 100
[images]
pixels = 64
[cube]
rows_per_chunk = 5
rows_per_block = 5
[model.overrides.network]
pooled_pixels = 16
members = 1
hidden = [8]
dropout = 0.0
[training]
epochs = 2
batch = 32
checkpoint_s = 1
[politeness]
requests_per_second = {rate}
connections = 4
queries_per_minute = 6000
[catalogue]
name = "mill"
[database]
directory = "{folder}/postgres"
"""
)
BLOCKS = 20

SITE_FILE = """
schema = 1
name = "lab"
kind = "slurm"
python = "{python}"
interface = "eth0"
node_local = []
warn_s = 30
prologue = {prologue}
[driver]
queue = "{queue}"
memory_gib = 2.0
walltime = "00:20:00"
[pools.transfer]
queue = "{queue}"
memory_gib = 1.5
walltime = "00:20:00"
stages = ["pull", "fetch"]
[pools.compute]
queue = "{queue}"
memory_gib = 2.0
walltime = "00:20:00"
stages = ["train", "infer"]
internet = false
nodes = 1
"""

TIMES = """export SKYMILL_JOB_TIMES='{"renew_s": 2, "expires_s": 20, "fence_s": 10, "top_up_s": 5}'"""


class Element(NamedTuple):
    """An element of a job, as Slurm shows it."""

    element: str
    pool: str
    state: str
    node: str


class SubmittedRun(MillRun):
    """A run of a folder of the lab, handed in from its head.

    Parameters
    ----------
    lab : Lab
        Where.
    folder : Path
        Of run file, site file and run.
    rate : float
        Cutouts a second: what the run waits for.
    queue : str
        The partition of its jobs.
    prologue : sequence of str
        Of all its jobs.
    path : str
        Folder that goes before all others on the PATH of the head and of the jobs.
    """

    def __init__(
        self,
        lab: Lab,
        folder: Path,
        *,
        rate: float = 300.0,
        queue: str = "debug",
        prologue: tuple[str, ...] = (),
        path: str = "",
    ) -> None:
        folder.mkdir()
        super().__init__(folder)
        self.lab = lab
        self._env = {"PATH": f"{path}:{os.environ['PATH']}:/usr/sbin"} if path else {}
        lines = [*prologue, f"export PATH={path}:$PATH"] if path else [*prologue]
        self.run_file.write_text(RUN_FILE.format(folder=folder, rate=rate))
        text = SITE_FILE.format(python=sys.executable, queue=queue, prologue=json.dumps(lines))
        (folder / "lab.toml").write_text(text)
        self.seen: dict[str, Any] = {}
        self.submission = Submission.of(folder / "runs" / "mill")

    def skymill(self, verb: str, *words: str, check: bool = True) -> "CompletedProcess[str]":
        """Run a verb on the head, to its end."""
        argv = [sys.executable, "-m", "pipeline.cli", verb, *words]
        return self.lab.run(HEAD, argv, cwd=self.folder, env={"PYTHONSAFEPATH": "1"} | self._env, check=check)

    def submit(self, *words: str) -> str:
        """Hand it in, and return what was said."""
        return self.skymill("submit", "run.toml", "--site", "lab.toml", *words).stdout

    def blocks(self) -> int:
        """Return how many blocks have been fetched."""
        return len(list(self.folder.glob("runs/mill/cube/spectro.zarr/image/c/*")))

    def wait_for_blocks(self, count: int) -> None:
        """Wait until so many blocks have been fetched."""
        self._wait_for(lambda: self.over() or self.blocks() >= count, f"{count} blocks of {self.folder}")
        assert self.submission.end is None, self.logs()

    def over(self) -> bool:
        """Say whether it has ended; fail when the lab has."""
        assert self.lab.pids(HEAD), "the lab is down"
        return self.submission.end is not None

    def wait(self, patience_s: float = 800) -> None:
        """Wait until it has ended, and all its jobs with it; fail if it did not end well."""
        deadline = time.monotonic() + patience_s
        while not self.over():
            assert time.monotonic() < deadline, f"{self.folder} did not end\n{self.logs()}"
            time.sleep(0.5)
        assert self.submission.end and self.submission.end.state == "done", self.logs()
        self._wait_for(lambda: not self.elements(), f"the jobs of {self.folder} to leave")

    def elements(self) -> list[Element]:
        """Return the elements of its jobs that Slurm shows as not ended."""
        pools = {job.id: job.pool for job in self.submission.jobs}
        if not pools:
            return []
        said = self.lab.run(
            HEAD, ["squeue", "-h", "-r", "-o", "%i %T %N", "-j", ",".join(pools)], check=False
        )
        found = []
        for line in said.stdout.splitlines():
            element, state, node = [*line.split(" "), "", ""][:3]
            found.append(Element(element, pools[element.partition("_")[0]], state, node))
        return found

    def running(self, pool: str) -> list[Element]:
        """Return the elements of a pool's jobs that run."""
        return [each for each in self.elements() if each.pool == pool and each.state == "RUNNING"]

    def node_of(self, pool: str, *, but: tuple[str, ...] = ()) -> str:
        """Return a node on which a job of a pool runs."""

        def found() -> str:
            return next((each.node for each in self.running(pool) if each.node not in but), "")

        node: str = self._wait_for(found, f"a running job of {pool}")
        return node

    def _wait_for(self, ready: Callable[[], Any], what: str) -> Any:
        """Wait until `ready` returns something true, and look seldom: a look starts processes."""
        return wait_for(lambda: ready() or time.sleep(0.5), what)

    def starts(self) -> int:
        """Return how often the driver took the lease."""
        return sum("has the lease" in line for line in self.driver_log().splitlines())

    def driver_log(self) -> str:
        """Return what the driver's job has written."""
        return "".join(path.read_text() for path in self.submission.logs.glob("*-driver-*"))

    def logs(self) -> str:
        """Return all there is to read of it."""
        own = self.folder / "runs" / "mill" / "logs" / "driver.log"
        queue = self.lab.run(HEAD, ["squeue", "-r"], check=False).stdout
        texts = [f"{self.submission.end}\n{queue}"]
        for path in [*sorted(self.submission.logs.glob("*")), own]:
            if path.is_file():
                texts.append(f"==> {path} <==\n{path.read_text(errors='replace')[-4000:]}")
        return "\n".join(texts)

    def database(self) -> AbstractContextManager[None]:
        """Start the run's database on this machine, once its jobs have left it."""
        return self.database_of(self.folder / "postgres")

    @staticmethod
    @contextmanager
    def database_of(directory: Path) -> Iterator[None]:
        """Start the database of a folder on this machine."""
        launcher.start(directory)
        try:
            yield
        finally:
            launcher.stop(directory)


def fails_every_second_time(folder: Path, commands: tuple[str, ...] = ("sbatch", "squeue", "scancel")) -> str:
    """Make commands, to go before Slurm's own on the PATH, whose every second call fails, and return their folder."""
    folder.mkdir()
    for name in commands:
        script = folder / name
        script.write_text(
            f"""#!/bin/sh
echo x >> {folder}/{name}.calls
if mkdir {folder}/{name}.failed 2>/dev/null; then
  echo "slurm_load_jobs error: Unable to contact slurm controller (connect failure)" >&2
  exit 1
fi
rmdir {folder}/{name}.failed
exec /usr/bin/{name} "$@"
"""
        )
        script.chmod(0o755)
    return str(folder)


BINDS = {"python": Path(sys.base_prefix), "packages": Path(sysconfig.get_path("purelib")), "rooms": ROOT}
"""What a user without rights needs of this machine, where it may lie in a folder that is root's alone."""


def install_for_user(lab: Lab) -> Path:
    """Make ``~/skymill/.venv`` for the user of a lab that has `BINDS`, and return the home."""
    home = lab.folder / "home"
    venv = home / "skymill" / ".venv"
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = venv / "lib" / name / "site-packages"
    packages.mkdir(parents=True)
    (packages / "skymill.pth").write_text(
        f"{lab.folder}/rooms\nimport site; site.addsitedir({str(lab.folder / 'packages')!r})\n"
    )
    (venv / "pyvenv.cfg").write_text(f"home = {lab.folder}/python/bin\n")
    (venv / "bin").mkdir()
    (venv / "bin" / "python").symlink_to(lab.folder / "python" / "bin" / name)
    script = venv / "bin" / "skymill"
    script.write_text(
        f"#!{venv}/bin/python -P\nimport sys\nfrom pipeline.cli import main\nsys.exit(main())\n"
    )
    script.chmod(0o755)
    (home / ".gitconfig").write_text(
        "[safe]\n\tdirectory = *\n"
    )  # the version names the commit of root's checkout
    lab.give_to_user(home)
    return home
