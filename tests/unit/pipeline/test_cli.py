import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import main


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from pipeline.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('tensorflow', 'keras', 'distributed', 'zarr', 'astropy', 'duckdb') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("[]")
    assert "exit codes" in out


def test_a_fault_is_told_without_a_traceback_and_with_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["plan", str(tmp_path / "none.toml")]) == 2
    err = capsys.readouterr().err
    assert "remedy:" in err
    assert "Traceback" not in err


def test_overrides_may_follow_an_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run_file = tmp_path / "run.toml"
    run_file.write_text("schema = 1")
    assert main(["verify", str(run_file), "--repair", "seed=minus"]) == 2
    assert "seed" in capsys.readouterr().err


def test_what_a_finished_run_needs_imports_nothing_heavy():
    code = "import sys, pipeline.verbs; print([m for m in {heavy} if m in sys.modules])"
    heavy = "('tensorflow', 'distributed', 'zarr', 'astropy', 'duckdb', 'matplotlib', 'astroquery', 'pandas')"
    words = [sys.executable, "-c", code.format(heavy=heavy)]
    out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
