"""Run the benchmarks one after the other and write their tables to docs/benchmarks.md.

    python -m benchmarks.table [--sky FOLDER] [NAME …]

FOLDER is a recorded sky: its cutouts are served, and redshifts are measured on it. Without it cutouts are drawn, and
the redshifts are left out. The ratios of a table are measured in one run, in turns.
"""

import argparse
import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path

from schemas.environment import MALLOC

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
RUN = "runs/recorded-photoz"
COMMANDS = {
    "fetch": "benchmarks.fetch",
    "fetch_scaling": "benchmarks.fetch_scaling",
    "publish": "benchmarks.publish",
    "scheduling": "benchmarks.scheduling",
    "first_task": "benchmarks.first_task",
    "feed": "benchmarks.feed",
    "train": "benchmarks.train",
    "recovery": "benchmarks.recovery",
    "inference": "benchmarks.inference",
    "memory": "benchmarks.memory",
    "redshifts": f"benchmarks.tree_baseline {RUN}/cube/spectro.zarr {RUN}/predictions/spectro",
}
HEADER = "| what | skymill | against | ratio | goal |\n| --- | --- | --- | --- | --- |"


def command_of(name: str, *, with_sky: bool) -> str:
    """Return the command of a benchmark as a reader would type it; SKY stands for the recorded sky's folder."""
    return f"python -m {COMMANDS[name]}" + (" --jpeg SKY/jpeg" if with_sky and name == "fetch" else "")


def table_of(name: str, command: str, sky: Path | None) -> str:
    """Run one benchmark and return the Markdown table it prints."""
    print(f"{name} …", flush=True)
    if name == "redshifts":
        skymill = str(Path(sys.executable).with_name("skymill"))
        environ = {**os.environ, "SKY": str(sky)}
        if subprocess.run([skymill, "run", "surveys/recorded.toml"], env=environ, cwd=ROOT).returncode:
            raise SystemExit("redshifts failed: the run of surveys/recorded.toml did not end")
    words = [sys.executable, *(word.replace("SKY", str(sky)) for word in command.split()[1:])]
    environ = {**os.environ, **MALLOC}  # as workers and trainers have it
    done = subprocess.run(words, env=environ, capture_output=True, text=True, cwd=ROOT)
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    if done.returncode or not rows:
        raise SystemExit(f"{name} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    table = "\n".join(rows)
    return table if any(set(row) <= set("|-: ") for row in rows) else f"{HEADER}\n{table}"


def with_table(page: str, name: str, table: str, command: str) -> str:
    """Return the page with the table, and how it was made, between the marks of its benchmark.

    Raises
    ------
    SystemExit
        If the page has no such marks.
    """
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, _, rest = page.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{PAGE} has no marks {start} and {end}")
    machine = f"{datetime.date.today()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return f"{before}{start}\n{table}\n\n{machine}: `{command}`\n{end}{after}"


def main() -> None:
    """Run those that are named, or all."""
    parser = argparse.ArgumentParser(
        description="Run the benchmarks and write their tables to docs/benchmarks.md."
    )
    parser.add_argument("--sky", type=Path, metavar="FOLDER", help="a recorded sky")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which ({', '.join(COMMANDS)}); all if left out"
    )
    args = parser.parse_args()
    if unknown := set(args.names) - set(COMMANDS):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(COMMANDS)}")
    if "redshifts" in args.names and not args.sky:
        parser.error("redshifts needs --sky FOLDER, a recorded sky")
    sky = args.sky.resolve() if args.sky else None
    for name in args.names or [name for name in COMMANDS if sky or name != "redshifts"]:
        command = command_of(name, with_sky=bool(sky))
        table = table_of(name, command, sky)
        print(table, flush=True)
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), name, table, command), encoding="utf-8")


if __name__ == "__main__":
    main()
