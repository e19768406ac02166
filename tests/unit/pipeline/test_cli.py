import re
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.logs import close_logs, log_to_file, open_logs
from pipeline.cli import _report, main


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


RUN_FILE = """
schema = 1
name = "a"
output = "{0}"
samples.spectro.sql = "SELECT specobjid, ra, dec, z FROM SpecObj"
"""


def test_a_folder_that_takes_no_log_is_a_fault_of_the_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "run.toml").write_text(RUN_FILE.format(tmp_path))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "logs").touch()
    assert main(["run", str(tmp_path / "run.toml")]) == 5
    assert "driver.log" in capsys.readouterr().err


def test_a_fault_of_skymill_names_the_log_or_where_it_lies(tmp_path: Path):
    close_logs()
    try:
        raise ValueError("odd")
    except ValueError as error:
        assert re.search(rf"line \d+ of {re.escape(__file__)}$", _report(error))
        log_to_file(tmp_path / "driver.log")
        (tmp_path / "driver.log").touch()
        assert _report(error).endswith(f"the traceback in {tmp_path / 'driver.log'}")
        close_logs()
        assert "driver.log" not in _report(error)


def test_a_verb_that_has_ended_keeps_no_log_open(tmp_path: Path):
    (tmp_path / "run.toml").write_text(RUN_FILE.format(tmp_path))
    assert main(["run", str(tmp_path / "run.toml"), "database.dsn=nowhere"]) == 6
    assert (tmp_path / "a" / "logs" / "driver.log").is_file()
    assert open_logs() == []


def test_a_log_on_a_full_disk_changes_no_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "run.toml").write_text(RUN_FILE.format(tmp_path))
    (tmp_path / "a" / "logs").mkdir(parents=True)
    (tmp_path / "a" / "logs" / "driver.log").symlink_to("/dev/full")
    assert main(["run", str(tmp_path / "run.toml"), "database.dsn=nowhere"]) == 6
    assert "Traceback" not in capsys.readouterr().err
    assert open_logs() == []
