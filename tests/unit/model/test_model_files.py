import errno
import os
import resource

import pytest

from model.files import clean, disk_errors, write_durably
from schemas.errors import StoreError


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


def test_what_a_killed_writer_has_left_is_removed_but_not_what_another_one_writes_now(tmp_path):
    old, new, whole = (tmp_path / name for name in (".a.skt.1.tmp", ".b.skt.2.tmp", "a.skt"))
    for path in (old, new, whole):
        path.touch()
    for path in (old, whole):
        os.utime(path, (0, 0))
    clean(tmp_path, older_s=600)
    assert sorted(tmp_path.iterdir()) == [new, whole]
