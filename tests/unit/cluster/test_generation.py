"""What the words of members and the loss of workers mean for their group."""

from typing import Any

from cluster.generation import Member, judge
from cluster.work import GroupTask
from schemas.errors import PeerLost, StoreError, WorkerError
from schemas.records import Place

TASK = GroupTask("unit", "builtins:dict")


def member(rank: int, error: BaseException) -> Member:
    future: Any = None
    return Member(f"tcp://w{rank}", Place(rank), future, error)


def test_an_error_with_a_remedy_is_the_outcome_even_when_a_worker_is_lost_too():
    full = StoreError("the disk is full", "free some space")
    verdict = judge(TASK, [member(0, PeerLost("peer")), member(1, full)], {"tcp://w2": "worker w2 is gone"})
    assert verdict.outcome is not None and verdict.outcome.error is full


def test_a_lost_worker_is_the_cause_before_what_members_say():
    verdict = judge(TASK, [member(0, WorkerError("killed"))], {"tcp://w1": "worker w1 is gone"})
    assert verdict.outcome is None and verdict.lost and verdict.why == "worker w1 is gone"


def test_what_a_member_says_of_itself_is_the_cause_before_what_others_say_of_it():
    verdict = judge(
        TASK, [member(0, PeerLost("a peer is gone")), member(1, WorkerError("killed", "more memory"))], {}
    )
    assert verdict.outcome is None and not verdict.lost and verdict.failed
    assert verdict.why == "member 1 on tcp://w1: killed" and verdict.remedy == "more memory"


def test_an_error_that_is_none_of_ours_begins_a_new_generation():
    verdict = judge(TASK, [member(0, OSError("busy"))], {})
    assert verdict.outcome is None and verdict.why == "member 0 on tcp://w0: OSError: busy"
