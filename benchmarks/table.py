"""Run the benchmarks one after the other and write their tables to docs/benchmarks.md.

``python benchmarks/table.py [--sky FOLDER] [NAME …]``: the folder is a recorded sky, whose cutouts are served; without
it drawn ones are. Every ratio is measured within one run of its benchmark.
"""

import argparse
import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
NAMES = ("fetch", "publish", "feed", "inference", "memory")
WITH_SKY = ("fetch", "chunks")
HEADER = "| what | skymill | against | ratio | wanted |\n| --- | --- | --- | --- | --- |"


def table_of(name: str, words: list[str]) -> str:
    """Run one benchmark and return the Markdown table it prints."""
    print(f"{name} …", flush=True)
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"benchmarks.{name}", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, cwd=ROOT)
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    if done.returncode or not rows:
        raise SystemExit(f"{name} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    table = "\n".join(rows)
    return table if any(set(row) <= set("|-: ") for row in rows) else f"{HEADER}\n{table}"


def write(name: str, table: str) -> None:
    """Put a table into the page, between the marks of its benchmark."""
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{PAGE} has no marks {start} and {end}")
    machine = f"{datetime.date.today()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    PAGE.write_text(f"{before}{start}\n{table}\n\n{machine}\n{end}{after}", encoding="utf-8")


def main() -> None:
    """Run those that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sky", help="folder of a recorded sky")
    parser.add_argument("names", nargs="*", default=NAMES)
    args = parser.parse_args()
    for name in args.names:
        table = table_of(
            name, ["--jpeg", str(Path(args.sky) / "jpeg")] if args.sky and name in WITH_SKY else []
        )
        print(table, flush=True)
        write(name, table)


if __name__ == "__main__":
    main()
