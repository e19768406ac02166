"""Another host's server: a lease that is over lets this host take the folder over, one that is not does not."""

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.lease import VARIABLE
from cluster.submission import VARIABLE as SUBMISSION
from cluster.submission import Submission
from pipeline.stores import launcher, takeover
from schemas.errors import DatabaseError


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of a server that is stopped."""
    directory = tmp_path_factory.mktemp("taken") / "db"
    launcher.start(directory)
    left = lock(directory).read_text()
    launcher.stop(directory)
    (directory / "left").write_text(left)
    yield directory
    launcher.stop(directory)


@pytest.fixture
def submission(server: Path, tmp_path: Path) -> Iterator[Submission]:
    """A submission on a host called elsewhere, whose lease started the server and did not stop it."""
    found = Submission.of(tmp_path / "demo")
    found.path.mkdir(parents=True)
    shutil.copy(server / "left", lock(server))
    (server / "host").write_text(f"elsewhere\n{found.lease_file}\nn1")
    yield found
    launcher.stop(server)
    lock(server).unlink(missing_ok=True)
    (server / takeover.MARK).unlink(missing_ok=True)


def lock(server: Path) -> Path:
    return server / "data" / "postmaster.pid"


def lease(submission: Submission, nonce: str, state: str, *, age_s: float = 0.0) -> None:
    entry = {"holder": "job 7 on elsewhere", "nonce": nonce, "count": 3, "state": state}
    submission.lease_file.write_text(json.dumps(entry))
    then = time.time() - age_s
    os.utime(submission.lease_file, (then, then))


def test_a_lease_that_was_released_lets_the_server_start_at_once(server: Path, submission: Submission):
    lease(submission, "n1", "released", age_s=5000)
    said: list[str] = []
    launcher.start(server, say=said.append)
    assert launcher.status(server).running and not said
    assert (server / "host").read_text() == socket.gethostname()


def test_a_lease_that_ran_out_lets_it_start_after_the_time_in_which_a_lost_server_ends_itself(
    server: Path, submission: Submission, monkeypatch: pytest.MonkeyPatch
):
    lease(submission, "n1", "held", age_s=61)
    monkeypatch.setattr(takeover, "TAKEOVER_S", 1.5)
    said: list[str] = []
    began = time.monotonic()
    launcher.start(server, say=said.append)
    assert time.monotonic() - began > 1.4 and launcher.status(server).running
    assert "in use on elsewhere" in said[0] and not (server / takeover.MARK).exists()


def test_a_wait_that_was_broken_off_is_waited_for_by_the_next_one(
    server: Path, submission: Submission, monkeypatch: pytest.MonkeyPatch
):
    lease(submission, "n1", "held", age_s=61)

    def killed(text: str) -> None:
        assert not lock(server).exists(), "a server that still runs there is to miss it"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launcher.start(server, say=killed)
    assert not launcher.status(server).running
    monkeypatch.setattr(takeover, "TAKEOVER_S", 1.5)
    said: list[str] = []
    launcher.start(server, say=said.append)
    assert said and launcher.status(server).running


def test_a_lease_that_is_live_keeps_this_host_out(server: Path, submission: Submission):
    lease(submission, "n1", "held")
    with pytest.raises(
        DatabaseError, match="used by the submitted run demo, done by job 7 on elsewhere"
    ) as caught:
        launcher.start(server)
    assert "cancel" in caught.value.remedy and "database.directory" in caught.value.remedy
    assert lock(server).exists() and not launcher.status(server).running


def test_the_next_driver_of_the_same_submission_takes_over_and_says_by_which_lease(
    server: Path, submission: Submission, monkeypatch: pytest.MonkeyPatch
):
    lease(submission, "n2", "held")
    monkeypatch.setenv(VARIABLE, "n2")
    monkeypatch.setenv(SUBMISSION, str(submission.path))
    monkeypatch.setattr(takeover, "TAKEOVER_S", 0.3)
    said: list[str] = []
    launcher.start(server, say=said.append)
    assert said and launcher.status(server).running
    note = [socket.gethostname(), str(submission.lease_file), "n2"]
    assert (server / "host").read_text().splitlines() == note
    assert takeover.is_ours(server)
    monkeypatch.setenv(VARIABLE, "n3")
    assert not takeover.is_ours(server)


def test_a_lease_that_cannot_be_read_is_taken_for_nothing(server: Path, submission: Submission):
    submission.lease_file.write_text("{")
    with pytest.raises(DatabaseError, match="in use on elsewhere is not known"):
        launcher.start(server)
    assert lock(server).exists()
