"""What a job finds out about its node."""

from pathlib import Path

import pytest

from cluster.jobs import node


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_smallest_limit_of_all_control_groups_above_counts(tmp_path: Path):
    job = tmp_path / "slurm" / "job_7" / "step_0"
    write(job / "memory.max", "max\n")
    write(tmp_path / "slurm" / "job_7" / "memory.max", "2147483648\n")
    write(tmp_path / "slurm" / "memory.max", "8589934592\n")
    write(tmp_path / "elsewhere" / "memory.max", "1\n")
    folders = node.cgroup_folders("memory", own="0::/slurm/job_7/step_0\n", root=tmp_path)
    assert node.cgroup_limit("memory", ("memory.max",), folders=folders) == 2 * 2**30


def test_the_first_version_of_control_groups_names_its_controllers(tmp_path: Path):
    own = "9:memory:/uid_5/job_3\n4:cpu,cpuacct:/uid_5/job_3\n1:name=systemd:/x\n"
    write(tmp_path / "memory" / "uid_5" / "job_3" / "memory.limit_in_bytes", "1073741824\n")
    write(tmp_path / "memory" / "memory.limit_in_bytes", "9223372036854771712\n")
    write(tmp_path / "cpu,cpuacct" / "uid_5" / "job_3" / "cpu.cfs_quota_us", "150000\n")
    write(tmp_path / "cpu,cpuacct" / "uid_5" / "job_3" / "cpu.cfs_period_us", "100000\n")
    write(tmp_path / "cpu,cpuacct" / "cpu.cfs_quota_us", "-1\n")
    memory = node.cgroup_folders("memory", own=own, root=tmp_path)
    assert node.cgroup_limit("memory", ("memory.max", "memory.limit_in_bytes"), folders=memory) == 2**30
    assert node.cpu_quota(folders=node.cgroup_folders("cpu", own=own, root=tmp_path)) == 1.5


def test_a_control_group_without_limits_sets_none(tmp_path: Path):
    write(tmp_path / "cpu.max", "max 100000\n")
    write(tmp_path / "memory.limit_in_bytes", "9223372036854771712\n")
    assert node.cpu_quota(folders=[tmp_path]) is None
    assert node.cgroup_limit("memory", ("memory.limit_in_bytes",), folders=[tmp_path]) is None


@pytest.mark.parametrize(
    ("visible", "count"), [("0,1", 2), ("GPU-7f, MIG-3 ", 2), ("", 0), ("-1", 0), ("NoDevFiles", 0)]
)
def test_gpus_are_those_the_scheduler_shows(monkeypatch: pytest.MonkeyPatch, visible: str, count: int):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert node.gpus() == count


def test_the_loopback_interface_has_its_address_and_an_unknown_one_none():
    name = next(name for name, found in node.interfaces().items() if "127.0.0.1" in found)
    assert node.address_of(name) == "127.0.0.1"
    assert node.address_of("nosuch0") == ""


def test_scratch_that_cannot_be_made_is_a_fault_in_words(tmp_path: Path):
    write(tmp_path / "file", "")
    assert node.try_scratch(tmp_path / "file" / "below")["fault"] == "Not a directory"


def test_the_code_of_the_rooms_has_one_digest_and_no_fault():
    found = node.rooms()
    assert found["fault"] == ""
    assert len(found["digest"]) == 16
