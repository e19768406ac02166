"""The lease of a submission: who holds it, who takes it over, and when it is lost."""

import json
import threading
import time
from pathlib import Path

import pytest

from cluster.lease import Lease, standing

QUICK = {"renew_s": 0.02, "expires_s": 60.0, "fence_s": 30.0}


def lease(folder: Path, holder: str = "a", **more: float) -> Lease:
    return Lease(folder / "lease.json", holder=holder, **{**QUICK, **more})


def always() -> bool:
    return True


def test_a_free_lease_is_taken_at_once_and_shows_its_holder(tmp_path: Path):
    one = lease(tmp_path, "job 7 on n1")
    assert not standing(tmp_path / "lease.json").live
    assert one.take(always)
    seen = standing(tmp_path / "lease.json")
    assert (seen.holder, seen.nonce, seen.live) == ("job 7 on n1", one.nonce, True)
    one.release()
    assert not standing(tmp_path / "lease.json").live
    assert not one.lost.is_set()


def test_a_held_lease_goes_to_the_newest_claim_once_its_holder_has_given_it_up(tmp_path: Path):
    one, two = lease(tmp_path, "a"), lease(tmp_path, "b")
    assert one.take(always)
    taken: list[bool] = []
    claimant = threading.Thread(target=lambda: taken.append(two.take(always)))
    claimant.start()
    assert one.lost.wait(20)
    assert one.is_claimed and "newer" in one.why_lost
    assert not taken  # the holder has not ended what is its own yet
    one.release()
    claimant.join(20)
    assert taken == [True]
    assert standing(tmp_path / "lease.json").nonce == two.nonce
    two.release()


def test_a_lease_that_is_not_renewed_any_more_is_taken_once_it_has_expired(tmp_path: Path):
    entry = {"holder": "dead", "nonce": "x", "count": 5, "state": "held", "expires_s": 0.4}
    (tmp_path / "lease.json").write_text(json.dumps(entry))
    one = lease(tmp_path, expires_s=0.4)
    began = time.monotonic()
    assert one.take(always)
    assert time.monotonic() - began >= 0.4
    one.release()


def test_a_claimant_gives_up_for_a_newer_one_and_when_it_is_told_to(tmp_path: Path):
    holder, old, new = (lease(tmp_path, name) for name in "abc")
    assert holder.take(always)
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(old.take(always)))
    waiting.start()
    assert holder.lost.wait(20)
    assert new.take(lambda: False) is False  # its claim stands, though it has gone
    waiting.join(20)
    assert answers == [False]
    holder.release()


def test_a_holder_that_cannot_write_has_lost_its_lease(tmp_path: Path):
    one = lease(tmp_path, fence_s=0.2)
    assert one.take(always)
    path = tmp_path / "lease.json"
    while not one.lost.is_set():  # a folder of that name cannot be replaced by a file
        path.unlink(missing_ok=True)
        try:
            path.mkdir()
            break
        except FileExistsError:
            continue
    (path / "something").touch()
    assert one.lost.wait(20)
    assert not one.is_claimed and "could not be renewed" in one.why_lost
    one.release()


def test_what_a_holder_leaves_behind_at_a_newer_claim_is_not_touched(tmp_path: Path):
    one = lease(tmp_path)
    assert one.take(always)
    (tmp_path / "claim.json").write_text(json.dumps({"holder": "b", "nonce": "newer"}))
    assert one.lost.wait(20)
    other = {"holder": "b", "nonce": "newer", "count": 1, "state": "held", "expires_s": 60.0}
    (tmp_path / "lease.json").write_text(json.dumps(other))
    one.release()
    assert json.loads((tmp_path / "lease.json").read_text()) == other


@pytest.mark.parametrize("text", [b"", b"[]", b'{"holder": 1', b'{"who": "b"}'])
def test_a_file_that_is_no_lease_is_an_error_of_the_disk(tmp_path: Path, text: bytes):
    (tmp_path / "lease.json").write_bytes(text)
    with pytest.raises(OSError, match="cannot be read as a lease"):
        standing(tmp_path / "lease.json")
