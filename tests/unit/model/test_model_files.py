import errno
import os
import resource
import subprocess
import sys

import pytest

from model.files import disk_errors, locked, write_durably
from schemas.errors import ModelError, StoreError


def test_a_write_the_file_system_refuses_is_told_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "checkpoint.skt"
    write_durably(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StoreError, match=r"cannot write .*checkpoint\.skt: File too large"):
            write_durably(path, bytes(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint.skt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_called_so_with_what_to_do(tmp_path, number):
    with pytest.raises(StoreError, match="the disk is full: cannot write") as caught, disk_errors(tmp_path):
        raise OSError(number, os.strerror(number))
    assert "free some space" in caught.value.remedy


def test_a_folder_has_one_holder_at_a_time_and_a_killed_one_lets_go(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from model.files import locked\n"
        "with locked(Path(sys.argv[1]), wait_s=0): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(ModelError, match="another trainer works in"), locked(tmp_path, wait_s=0):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with locked(tmp_path, wait_s=5):
        pass
