"""What the documents name exists: files, benchmarks, and verbs of the command line."""

import re
from pathlib import Path

import pytest

from pipeline.cli import build_parser

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
each_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


@each_page
def test_links_and_paths_lead_to_files(path):
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (path.parent / target).exists(), target
    for name in re.findall(r"`((?:tests|pipeline|cluster|model|schemas|surveys|benchmarks)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"python -m (benchmarks\.\w+)", text):
        assert (ROOT / f"{name.replace('.', '/')}.py").is_file(), name


@each_page
def test_the_command_line_has_every_verb_that_is_named(path):
    commands = re.findall(
        r"(?m)(?:`|^ {4}(?:SKY=\S+ )?)skymill (catalog |db )?([a-z|\\]+)", path.read_text(encoding="utf-8")
    )
    for room, verbs in commands:
        for verb in verbs.split("\\|"):
            with pytest.raises(SystemExit) as stopped:
                build_parser().parse_args([*room.split(), verb, "--help"])
            assert stopped.value.code == 0 or verb == "sandbox", verb


def test_the_readme_names_every_verb():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    verbs = re.findall(r"(?m)^    ([a-z]+) {2,}", build_parser().format_help())
    assert len(verbs) == 14
    assert [verb for verb in verbs if f"| `skymill {verb}" not in readme] == []
