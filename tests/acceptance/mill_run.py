"""A whole run of the command in a process of its own, which tests may kill."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import psycopg2

SKYMILL = str(Path(sys.executable).with_name("skymill"))

SPECTRO = '''[samples.spectro]
sql = """
SELECT specobjid, ra, dec, z, zErr FROM SpecObj
WHERE class = 'GALAXY' AND zWarning = 0 AND z BETWEEN 0.01 AND 0.35
"""
key = "specobjid"
partition_by = "plate"
rows_per_partition = 60
'''
RUN_FILE = (
    """
schema = 1
name = "mill"
output = "{folder}/runs"
[sandbox]
latency_s = {latency_s}
"""
    + SPECTRO
    + '''limit = 240
[samples.targets]
sql = """
SELECT p.objID, p.ra, p.dec FROM Galaxy AS p LEFT JOIN SpecObj AS s ON s.bestObjID = p.objID
WHERE s.specObjID IS NULL
"""
key = "objID"
rows_per_partition = 4000
limit = 100
[images]
pixels = 64
[cube]
rows_per_chunk = 20
rows_per_block = {rows_per_block}
[model.overrides.network]
pooled_pixels = 16
members = 2
hidden = [16]
dropout = 0.0
[training]
epochs = 3
batch = 32
[politeness]
requests_per_second = 300
connections = 4
queries_per_minute = 6000
[cluster]
workers = {workers}
[database]
directory = "{folder}/postgres"
[catalogue]
name = "mill"
'''
)


def wait_for(
    ready: Callable[[], Any],
    what: str,
    process: "subprocess.Popen[str] | None" = None,
    *,
    patience_s: float = 600,
) -> Any:
    """Wait until `ready` returns something true, and return it; fail if `process` ends before."""
    deadline = time.monotonic() + patience_s
    while not (found := ready()):
        assert process is None or process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.02)
    return found


class MillRun:
    """The command ``skymill run`` on a run file of its own folder."""

    def __init__(
        self, folder: Path, *, latency_s: float = 0.05, workers: int = 2, rows_per_block: int = 40
    ) -> None:
        self.folder = folder
        self._going: subprocess.Popen[str] | None = None
        self._started_s = 0.0
        self._looks: psycopg2.extensions.connection | None = None
        self.run_file = folder / "run.toml"
        text = RUN_FILE.format(
            folder=folder, latency_s=latency_s, workers=workers, rows_per_block=rows_per_block
        )
        self.run_file.write_text(text)

    def command(self, verb: str, *words: str, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end."""
        return subprocess.run(
            [SKYMILL, verb, str(self.run_file), *words], capture_output=True, text=True, timeout=timeout_s
        )

    def catalog(self, action: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run an action of ``skymill catalog`` to its end."""
        return subprocess.run(
            [SKYMILL, "catalog", action, str(self.run_file), *words], capture_output=True, text=True
        )

    def start(self, *words: str, verb: str = "run") -> subprocess.Popen[str]:
        """Start ``skymill run``, or another verb, and let it go on."""
        self._started_s = time.time()
        return subprocess.Popen(
            [SKYMILL, verb, str(self.run_file), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def start_and_kill(
        self,
        stage: str,
        kill: Callable[[subprocess.Popen[str]], None],
        *,
        done: int,
        going: bool = False,
        and_wait: bool = True,
        words: Sequence[str] = (),
        verb: str = "run",
    ) -> str:
        """Call `kill` once `done` units of `stage` are done (begun, if 0), and return what was printed.

        Parameters
        ----------
        stage, kill, done
            When, and what.
        going : bool
            Kill in the run that an earlier call has left going, in place of a new one.
        and_wait : bool
            Wait for the end of the run; else leave it going.
        words, verb
            Of the command that starts it.
        """
        process = self._going if going and self._going else self.start(*words, verb=verb)
        try:
            wait_for(lambda: self.units(stage, "done") >= done and self.under_way(stage), stage, process)
            kill(process)
            if not and_wait:
                self._going = process
                return ""
            out, _ = process.communicate(timeout=600)
        except BaseException:
            with process:
                process.kill()
            raise
        return out

    def connect(self) -> "psycopg2.extensions.connection":
        """Connect to the run's own database."""
        port = (self.folder / "postgres" / "data" / "postmaster.pid").read_text().split("\n")[3]
        passfile = self.folder / "postgres" / "pgpass"
        return psycopg2.connect(
            host="127.0.0.1",
            port=port,
            user="skymill",
            dbname="skymill",
            passfile=str(passfile),
            connect_timeout=5,
        )

    def query(self, sql: str) -> list[tuple]:
        """Ask the run's database."""
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall()
        finally:
            connection.close()

    def units(self, stage: str, state: str) -> int:
        """Return how many units of a stage are in a state; 0 while there is no database yet."""
        return self._count(f"skymill.unit WHERE stage = '{stage}' AND state = '{state}'")

    def under_way(self, stage: str) -> int:
        """Return how many units the driver that was started last has out, not those of one that was killed."""
        mine = f"outcome IS NULL AND started >= to_timestamp({self._started_s})"
        return self._count(f"skymill.attempt WHERE stage = '{stage}' AND {mine}")

    def _count(self, rows: str) -> int:
        """Count rows over a connection that is kept: a new one costs 20 ms of CPU, fifty times a second."""
        try:
            if self._looks is None:
                self._looks = self.connect()
                self._looks.autocommit = True
            with self._looks.cursor() as cursor:
                cursor.execute(f"SELECT count(*) FROM {rows}")
                (count,) = cursor.fetchone() or (0,)
                return int(count)
        except (OSError, IndexError, psycopg2.Error):
            self._look_no_more()
            return 0

    def _look_no_more(self) -> None:
        if self._looks is not None:
            self._looks.close()
            self._looks = None

    def catalogue(self) -> bytes:
        """Return the published catalogue as text, in the order of its key."""
        out = self.folder / "catalogue.txt"
        connection = self.connect()
        try:
            with connection.cursor() as cursor, out.open("wb") as file:
                cursor.copy_expert("COPY (SELECT * FROM catalogue.mill ORDER BY sample, id) TO STDOUT", file)
        finally:
            connection.close()
        return out.read_bytes()

    def attempts(self) -> dict[tuple[str, str | None], int]:
        """Return how many attempts of each stage ended how."""
        return {
            row[:2]: row[2]
            for row in self.query("SELECT stage, outcome, count(*) FROM skymill.attempt GROUP BY 1, 2")
        }

    def history(self) -> list[dict[str, float]]:
        """Return what the training's epochs came to."""
        history: list[dict[str, float]] = self.query(
            "SELECT facts -> 'history' FROM skymill.receipt WHERE stage = 'train'"
        )[0][0]
        return history

    def events(self) -> list[dict[str, Any]]:
        """Return what rank 0 of each generation of the training has said, in order."""
        said = []
        for path in sorted(self.folder.glob("runs/mill/training/*/generation-*/progress-0.jsonl")):
            said += [json.loads(line) for line in path.read_text().split("\n")[:-1]]
        return said

    def members(self) -> list[int]:
        """Return how many members each generation of the training had."""
        return [event["members"] for event in self.events() if event["event"] == "start"]

    def stop_database(self) -> None:
        """End the run's database."""
        self._look_no_more()
        directory = str(self.folder / "postgres")
        subprocess.run([SKYMILL, "db", "stop", "--directory", directory], check=False, capture_output=True)


def kill_driver(process: subprocess.Popen[str]) -> None:
    """Kill the driver itself."""
    process.send_signal(signal.SIGKILL)


def kill_worker(process: subprocess.Popen[str]) -> None:
    """Kill one Dask worker of the driver, with what it has started."""
    for child in psutil.Process(process.pid).children():
        with contextlib.suppress(psutil.Error):  # one that has just ended
            if "spawn_main" in " ".join(child.cmdline()):
                child.kill()
                return
    raise AssertionError("the driver has no worker")


def learning_driver_killer(run: MillRun) -> Callable[[subprocess.Popen[str]], None]:
    """Return what kills the driver once the run's training has told of a step."""

    def kill(process: subprocess.Popen[str]) -> None:
        wait_for(lambda: any(event["event"] == "step" for event in run.events()), "a step", process)
        kill_driver(process)

    return kill


def database_killer(run: MillRun) -> Callable[[subprocess.Popen[str]], None]:
    """Return what kills the run's database server."""

    def kill(process: subprocess.Popen[str]) -> None:
        del process
        pid = int((run.folder / "postgres" / "data" / "postmaster.pid").read_text().split("\n")[0])
        server = psutil.Process(pid)
        for victim in [server, *server.children()]:
            with contextlib.suppress(psutil.NoSuchProcess):  # a child that ended with its server
                victim.kill()

    return kill
