"""The rooms: where they are, what may import what, and that nothing else carries their names."""

import ast
import functools
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("pipeline", "cluster", "model", "schemas")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_imports_point_one_way():
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_no_other_distribution_provides_a_room():
    for room, distributions in importlib.metadata.packages_distributions().items():
        if room in ROOMS:
            assert set(distributions) == {"skymill"}


def test_the_package_cannot_be_uploaded():
    assert "Private :: Do Not Upload" in importlib.metadata.metadata("skymill").get_all("Classifier", [])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_are_short_and_import_at_the_top(path: Path):
    assert path.read_text(encoding="utf-8").count("\n") <= 400
    tree = tree_of(path)
    assert ast.get_docstring(tree), "a module says what it is"
    if path.name == "__init__.py":
        assert len(tree.body) == 1, "a room's __init__ holds its map and nothing else"
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = [node for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)]
            assert not inner, f"{function.name} imports inside"


def test_tests_do_not_hide_the_rooms():
    assert not list((ROOT / "tests").rglob("__init__.py"))
    assert not list((ROOT / "benchmarks").rglob("__init__.py"))


def test_work_that_travels_by_name_names_what_exists():
    names = {
        node.value
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith(ROOMS)
        and node.value.count(":") == 1
        and " " not in node.value
    }
    assert names
    for name in names:
        module, _, function = name.partition(":")
        tree = tree_of(ROOT / (module.replace(".", "/") + ".py"))
        assert function in {
            node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }, name
