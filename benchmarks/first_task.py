"""From ``skymill submit`` to the first task of a run, on an idle Slurm, against a bare ``srun``.

Root on Debian only: the lab of the tests, four nodes that are all this machine. A bare ``srun`` is timed from the
command until its job can say what time it is; a submission from the command until a worker begins the first task, by
the receipt of that task. In between are the driver's job and a worker's, the scheduler of Dask, a new database, a new
sandbox sky and the count of the sample's rows.

    python -m benchmarks.first_task [--repeat 3]
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "slurm"))

from lab import HEAD, Lab, reason_not_possible
from submitted import SubmittedRun

FIRST = """
SELECT extract(epoch FROM a.ended)::float8 - r.seconds
FROM skymill.attempt AS a JOIN skymill.receipt AS r USING (run_id, stage, key, attempt)
WHERE a.outcome = 'accepted' AND stage = 'pull' ORDER BY 1 LIMIT 1
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    if reason := reason_not_possible():
        raise SystemExit(reason)
    with tempfile.TemporaryDirectory(prefix="skymill-lab-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        with Lab(folder / "slurm", cpus=4, memory_mb=8000) as lab:
            turns = [(bare(lab), submitted(lab, folder / f"run{turn}")) for turn in range(args.repeat)]
    times = [(srun, said, first, first - srun) for srun, (said, first) in turns]
    theirs, said, ours, more = map(statistics.median, zip(*times, strict=True))
    print("| what | s | against, s | more, s | goal, s |\n| --- | --- | --- | --- | --- |")
    print(f"| `skymill submit` → first task | {ours:.1f} | bare `srun` {theirs:.1f} | {more:.1f} | ≤ 10 |")
    print(f"| … of it the command `skymill submit` | {said:.1f} | | | |")


def bare(lab: Lab) -> float:
    """Return the time [s] from a bare ``srun`` until its job begins."""
    begun = time.time()
    return float(lab.run(HEAD, ["srun", "date", "+%s.%N"]).stdout) - begun


def submitted(lab: Lab, folder: Path) -> tuple[float, float]:
    """Return the times [s] until ``skymill submit`` has ended, and until the first task of the run began."""
    run = SubmittedRun(lab, folder)
    # one pool: two jobs on two cores
    site = (folder / "lab.toml").read_text().partition("[pools.compute]")[0]
    (folder / "lab.toml").write_text(site.replace('"fetch"]', '"fetch", "train", "infer"]'))
    begun = time.time()
    run.submit("--nodes", "1")
    said = time.time()
    run.wait_for_blocks(1)
    run.skymill("cancel", "run.toml")
    while run.elements():
        time.sleep(0.5)
    with run.database():
        ((first,),) = run.query(FIRST)
    return said - begun, first - begun


if __name__ == "__main__":
    main()
