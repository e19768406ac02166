"""One driver a folder: the second is refused, and a dead one holds nothing."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.stores import lock
from pipeline.stores.lock import locked
from schemas.errors import Busy, StoreError

HOLD = """
import sys, time
from pathlib import Path
from pipeline.stores.lock import locked
with locked(Path(sys.argv[1]), what="it"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_is_told_who_the_first_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lock, "PATIENCE_S", 0.0)
    path = tmp_path / "cube" / ".lock-spectro"
    with locked(path, what="the cube"), locked(path.with_name(".lock-targets"), what="another"):
        words = f"another driver works on the cube: pid {os.getpid()} on "
        with pytest.raises(Busy, match=words) as caught, locked(path, what="the cube"):
            raise AssertionError
        assert "cube.path" in caught.value.remedy
    with locked(path, what="the cube"):
        pass


def test_a_lock_dies_with_its_process_however_that_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / ".lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        monkeypatch.setattr(lock, "PATIENCE_S", 0.0)
        with pytest.raises(Busy, match=f"pid {holder.pid} on"), locked(path, what="it"):
            raise AssertionError
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with locked(path, what="it"):
        assert path.read_text().startswith(f"pid {os.getpid()} on")


def test_a_child_of_the_holder_does_not_keep_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lock, "PATIENCE_S", 0.0)
    with locked(tmp_path / ".lock", what="it"):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with locked(tmp_path / ".lock", what="it"):
            assert child.poll() is None
    finally:
        child.kill()
        child.wait()


def test_a_file_system_without_locks_is_worked_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def unknown(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unknown)
    with locked(tmp_path / ".lock", what="it"):
        assert "knows no locks" in caplog.text


def test_a_folder_that_cannot_be_made_is_a_fault_of_the_store(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot write"), locked(tmp_path / "file" / ".lock", what="it"):
        raise AssertionError
