"""The page of benchmarks: tables go between their marks, and nothing else changes."""

import re

import pytest

from benchmarks.table import COMMANDS, PAGE, ROOT, command_of, with_table

TABLE = "| what | ratio |\n| --- | --- |\n| new | 1.23 |"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_table_replaces_only_what_is_between_its_marks(name, tmp_path):
    page = tmp_path / "benchmarks.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    command = command_of(name, with_sky=True)

    page.write_text(with_table(page.read_text(encoding="utf-8"), name, TABLE, command), encoding="utf-8")

    marks = re.compile(rf"<!-- {name} -->.*<!-- end of {name} -->", re.DOTALL)
    before, after = PAGE.read_text(encoding="utf-8"), page.read_text(encoding="utf-8")
    assert marks.sub("", after) == marks.sub("", before)
    (written,) = marks.findall(after)
    assert TABLE in written
    assert f": `{command}`\n" in written
    assert with_table(after, name, TABLE, command) == after


def test_a_page_without_the_marks_is_refused():
    with pytest.raises(SystemExit, match="no marks <!-- fetch -->"):
        with_table("# Benchmarks\n", "fetch", TABLE, "command")


def test_every_command_on_the_page_names_a_benchmark_and_no_folder_of_this_machine():
    page = PAGE.read_text(encoding="utf-8")
    modules = re.findall(r"python -m benchmarks\.(\w+)", page)
    assert set(modules) >= {command.split()[0].removeprefix("benchmarks.") for command in COMMANDS.values()}
    assert all((ROOT / "benchmarks" / f"{module}.py").is_file() for module in modules)
    assert not re.search(r"(/home/|/work/|/tmp/)", page)


def test_only_a_recorded_sky_is_named_in_a_command():
    assert command_of("fetch", with_sky=True) == "python -m benchmarks.fetch --jpeg SKY/jpeg"
    assert not any("SKY" in command_of(name, with_sky=False) for name in COMMANDS)
