"""What the words of members and the loss of workers mean for their group."""

from typing import Any

from cluster.generation import Member, judge
from cluster.work import GroupTask
from schemas.errors import Diverged, PeerLost, StoreError, WorkerError
from schemas.records import Place

TASK = GroupTask("unit", "builtins:dict")


def member(rank: int, error: BaseException) -> Member:
    future: Any = None
    return Member(f"tcp://w{rank}", Place(rank), future, error)


FULL = StoreError("the disk is full", "free some space")


def test_an_error_with_a_remedy_is_the_outcome_when_two_say_so_or_the_sole_member():
    gone = {"tcp://w2": "worker w2 is gone"}
    two = judge(TASK, [member(0, FULL), member(1, StoreError("full here too"))], gone, 3)
    assert two.outcome is not None and two.outcome.error is FULL
    sole = judge(TASK, [member(0, FULL)], {}, 1)
    assert sole.outcome is not None and sole.outcome.error is FULL


def test_an_error_with_a_remedy_of_one_member_among_several_is_blamed_on_its_worker():
    verdict = judge(
        TASK, [member(0, PeerLost("peer")), member(1, FULL)], {"tcp://w2": "worker w2 is gone"}, 3
    )
    assert verdict.outcome is None and verdict.failed
    assert verdict.fatal is FULL and verdict.blamed == ("tcp://w1",)


def test_a_loss_that_is_not_finite_is_the_outcome_whoever_says_so_first():
    verdict = judge(TASK, [member(0, Diverged("the loss is nan"))], {}, 3)
    assert verdict.outcome is not None and not verdict.blamed


def test_workers_are_blamed_unless_all_members_fail_alike():
    one, two = member(0, WorkerError("killed")), member(1, WorkerError("killed"))
    assert judge(TASK, [one, two], {}, 3).blamed == ("tcp://w0", "tcp://w1")
    assert judge(TASK, [one, two], {}, 2).blamed == ()
    assert judge(TASK, [one, member(1, PeerLost("peer"))], {}, 2).blamed == ("tcp://w0",)


def test_a_lost_worker_is_the_cause_before_what_members_say():
    verdict = judge(TASK, [member(0, WorkerError("killed"))], {"tcp://w1": "worker w1 is gone"}, 2)
    assert verdict.outcome is None and verdict.lost and verdict.why == "worker w1 is gone"


def test_what_a_member_says_of_itself_is_the_cause_before_what_others_say_of_it():
    verdict = judge(
        TASK, [member(0, PeerLost("a peer is gone")), member(1, WorkerError("killed", "more memory"))], {}, 2
    )
    assert verdict.outcome is None and not verdict.lost and verdict.failed
    assert verdict.why == "member 1 on tcp://w1: killed" and verdict.remedy == "more memory"


def test_an_error_that_is_none_of_ours_begins_a_new_generation():
    verdict = judge(TASK, [member(0, OSError("busy"))], {}, 1)
    assert verdict.outcome is None and verdict.why == "member 0 on tcp://w0: OSError: busy"
