"""Groups whose members are killed or stopped, asked to regroup, and taken up by another generation."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from trainers import Trainers, free_addresses, small_job, toy

from model.launch import ask_to_regroup, run_trainer
from schemas.errors import PeerLost, WorkerError
from schemas.records import Place

NOTICED_S = 20
"""Most seconds until a member says that it has lost another one."""

EPOCHS, BATCHES = 3, 45
DESCENT = {"optimizer.kind": "sgd", "optimizer.momentum": 0.0, "optimizer.schedule": "constant"}


@pytest.fixture(scope="module")
def make_job(tmp_path_factory, write_cube):
    """Function that returns the same training, small and with many steps, in a folder of its own."""
    image, z = toy()
    cube = write_cube(tmp_path_factory.mktemp("toy") / "cube.zarr", image, label=z)
    small = {"network.hidden": [16], "network.members": 2, "network.rings": 6, "head.bins": 40, **DESCENT}

    def make(name, **changed):
        numbers = {"epochs": EPOCHS, "batch": 4, "learning_rate": 0.005, "checkpoint_s": 0}
        folder = tmp_path_factory.mktemp(name)
        return small_job(folder, cube, overrides=small, **{**numbers, **changed})

    return make


@pytest.fixture(scope="module")
def undisturbed(make_job):
    """What two members learn that nothing happens to."""
    first, second = Trainers(make_job("undisturbed"), 2).join()
    assert second is None
    return first


@pytest.fixture
def trainers():
    """Function that starts the trainers of a generation; they have ended when the test has."""
    started = []

    def start(*arguments):
        started.append(Trainers(*arguments))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def within_an_epoch(event):
    return event["event"] == "checkpoint" and event["step"] % BATCHES


def test_a_killed_member_ends_the_others_at_once_and_the_next_generation_ends_with_the_same_bits(
    make_job, trainers, undisturbed
):
    job = make_job("killed")
    group = trainers(job, 2, 1)
    group.wait_for(within_an_epoch)
    killed = time.monotonic()
    os.kill(group.pid(0), signal.SIGKILL)
    first, second = group.join()
    assert type(first) is WorkerError and "killed by SIGKILL" in first.message
    assert isinstance(second, PeerLost) and "trainer 1 of 2 ended because another one did" in second.message
    print(f"a member killed: noticed by the other after {group.ended[1] - killed:.1f} s")
    assert group.ended[1] - killed < NOTICED_S

    again = trainers(job, 2, 2)
    result, nothing = again.join()
    assert nothing is None
    assert again.events[0]["resumed_from"] < EPOCHS
    assert (again.events[0]["resumed_batch"], again.events[0]["resumed_from"]) != (0, 0)
    assert again.events[0]["generation"] == 2 and again.events[0]["members"] == 2
    assert result.history == undisturbed.history
    assert result.digest == undisturbed.digest


def test_a_stopped_member_does_not_hold_the_others_and_they_go_on_with_one_less(
    make_job, trainers, undisturbed
):
    job = make_job("stopped")
    group = trainers(job, 2, 1)
    group.wait_for(within_an_epoch)
    stopped = time.monotonic()
    os.kill(group.pid(1), signal.SIGSTOP)
    group.wait(0)
    assert isinstance(group.outcomes[0], PeerLost)
    print(f"a member stopped: noticed by the other after {group.ended[0] - stopped:.1f} s")
    assert group.ended[0] - stopped < NOTICED_S
    group.stop()
    assert type(group.outcomes[1]) is WorkerError and "was ended" in group.outcomes[1].message

    ask_to_regroup(Path(job.checkpoint), 2)
    two = trainers(job, 2, 2).join()
    assert [each.regroup for each in two] == [True, True]
    assert not Path(job.bundle).exists()
    result = run_trainer(job, Place(0, free_addresses(1), 3))
    assert not result.regroup and 1 <= result.resumed_from < EPOCHS
    losses = np.array([[[e["loss"], e["val_loss"]] for e in r.history] for r in (result, undisturbed)])
    assert np.abs(losses[0] / losses[1] - 1).max() < 1e-4


def test_a_trainer_that_says_nothing_is_ended(make_job):
    with pytest.raises(WorkerError, match=r"said nothing for 0\.3 s \(training\.deadline_s\)"):
        run_trainer(make_job("silent", deadline_s=0.3))


def test_a_member_whose_port_is_taken_says_so(make_job):
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(PeerLost, match=f"cannot listen on {address}") as caught:
            run_trainer(make_job("taken"), Place(0, (address,), 1))
    assert "other ports" in caught.value.remedy
