from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.members import Seat, _free_port, devices
from cluster.roster import allot, spread
from schemas.errors import WorkerError


def test_a_host_with_gpus_has_one_member_a_gpu_in_order():
    seats = {worker: Seat("n1", ("0", "1")) for worker in "abc"}
    assert allot(seats, {}) == {"a": "0", "b": "1"}


def test_a_gpu_that_is_in_use_is_not_given_away_again():
    seats = {worker: Seat("n1", ("0", "1")) for worker in "abc"}
    assert allot(seats, {"b": "0"}) == {"a": "1", "b": "0"}


def test_the_jobs_of_a_host_that_have_gpus_of_their_own_all_take_part():
    assert allot({"a": Seat("n1/7", ("0",)), "b": Seat("n1/8", ("0",))}, {}) == {"a": "0", "b": "0"}


def test_a_worker_without_a_gpu_is_left_out_where_others_have_some():
    assert allot({"a": Seat("n1"), "b": Seat("n2", ("0",))}, {}) == {"b": "0"}


def test_without_gpus_every_worker_takes_part():
    assert allot({"a": Seat("n1"), "b": Seat("n1")}, {}) == {"a": None, "b": None}


def test_gpus_are_counted_by_the_drivers_files_where_nothing_else_is_said(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert devices(folder=tmp_path) == ()
    for name in ("nvidia0", "nvidia3", "nvidiactl", "nvidia-uvm", "nvidia-caps"):
        (tmp_path / name).touch()
    assert devices(folder=tmp_path) == ("0", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    assert devices(folder=tmp_path) == ("5",)


def test_a_host_without_a_free_port_is_told_with_a_remedy():
    nowhere = "203.0.113.1"  # kept for documentation (RFC 5737): no port of it can be bound
    with pytest.raises(WorkerError, match=f"no free port on {nowhere}") as caught:
        _free_port(nowhere)
    assert "20000 to 29999" in caught.value.remedy


def test_the_port_of_a_trainer_is_none_that_linux_gives_to_whoever_asks_for_any():
    assert all(1024 < _free_port("127.0.0.1") < 32_768 for _ in range(20))


@given(st.integers(0, 50), st.integers(1, 20))
def test_shares_are_all_there_is_and_differ_by_one_at_most(workers: int, groups: int):
    shares = spread(workers, groups)
    assert sum(shares) == workers and len(shares) == groups and max(shares) - min(shares) <= 1
