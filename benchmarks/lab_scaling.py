"""A scaling test through a real Slurm: ``skymill scale --site`` on a cluster of four nodes that are all this machine.

Root on Debian only: the lab of the tests is brought up, docs/scaling/run.toml is measured on it as a user would, and
docs/scaling/ gets what came out: table, page, and the medians in its README.md.

    python -m benchmarks.lab_scaling [--nodes 1,2,3,4] [--stage all] [--repeats 3]
"""

import argparse
import csv
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.table import with_table
from cluster.submission import Submission

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "slurm"))

from lab import HEAD, Lab, reason_not_possible

HOME = Path(__file__).resolve().parents[1] / "docs" / "scaling"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", default="1,2,3,4")
    parser.add_argument("--stage", default="all")
    parser.add_argument("--repeats", default="3")
    words = [f"--{name}={value}" for name, value in vars(parser.parse_args()).items()]
    if reason := reason_not_possible():
        raise SystemExit(reason)
    with tempfile.TemporaryDirectory(prefix="skymill-lab-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        with Lab(folder / "slurm", nodes={"debug": 4, "service": 1}, cpus=2, memory_mb=6000) as lab:
            run = measure(lab, folder, words)
        for made in ("scaling.csv", "scaling.html"):
            text = (run / made).read_text(encoding="utf-8")
            (HOME / made).write_text(text.replace(str(folder), "LAB"), encoding="utf-8")
    readme = HOME / "README.md"
    command = f"python -m benchmarks.lab_scaling {' '.join(words)}"
    page = with_table(readme.read_text(encoding="utf-8"), "medians", medians(HOME / "scaling.csv"), command)
    readme.write_text(page, encoding="utf-8")


def measure(lab: Lab, folder: Path, words: list[str]) -> Path:
    """Hand the scaling test in, wait until it has ended, and return its folder."""
    for name in ("run.toml", "lab.toml"):
        shutil.copy(HOME / name, folder / name)
    argv = [sys.executable, "-m", "pipeline.cli", "scale", "run.toml", "--site", "lab.toml", *words]
    print(lab.run(HEAD, argv, cwd=folder, env={"PYTHONSAFEPATH": "1"}).stdout)
    run = folder / "runs" / "lab-scale"
    submission = Submission.of(run)
    while (end := submission.end) is None:
        time.sleep(2)
    logs = "\n".join(path.read_text() for path in sorted(submission.logs.glob("*-driver-*")))
    print(logs)
    if end.state != "done":
        raise SystemExit(f"{end}")
    return run


def medians(table: Path) -> str:
    """Return rows per second, and efficiency, of each stage by the number of nodes."""
    with table.open(encoding="utf-8") as file:
        measured = list(csv.DictReader(file))
    numbers = sorted({int(each["nodes"]) for each in measured})
    lines = [
        f"| rows / s (efficiency), nodes | {' | '.join(map(str, numbers))} |",
        f"| --- |{' --- |' * len(numbers)}",
    ]
    for stage in dict.fromkeys(each["stage"] for each in measured):
        cells = []
        for number in numbers:
            own = [each for each in measured if each["stage"] == stage and int(each["nodes"]) == number]
            rate, efficiency = (
                statistics.median(float(each[column]) for each in own)
                for column in ("rows_per_s", "efficiency")
            )
            cells.append(f"{rate:,.0f} ({efficiency:.2f})")
        lines.append(f"| {stage} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
