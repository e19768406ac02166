"""The verb ``skymill cancel``: end the jobs of a submitted run."""

import argparse
import time

from cluster.sites.batch import batch_of
from cluster.submission import End, Order, Submission
from pipeline.submitted import name_of, present, submission_of

LEAVE_S = 30.0
"""How long to wait [s] until the scheduler says that no job is left."""


def cancel(args: argparse.Namespace) -> int:
    """End the jobs of a submitted run; what is done stays done."""
    submission, order = submission_of(args)
    ended = submission.end
    if not present(submission, order):
        state = f"is over ({ended.state})" if ended else "has no jobs any more"
        print(f"{name_of(order)}: the submission {state}; there is nothing to cancel")
        if not ended:
            submission.write_end(End("cancelled", at=time.time()))
        return 0
    if not ended:
        submission.write_end(End("cancelled", words="skymill cancel", at=time.time()))
    if left := _end_jobs(submission, order):
        print(
            f"{name_of(order)}: asked the scheduler to end its jobs; it still shows {', '.join(sorted(left))}"
        )
        print("see later with: skymill status")
        return 75
    if ended:
        print(f"{name_of(order)}: the submission was over ({ended.state}); its last jobs are ended now")
        return 0
    print(f"{name_of(order)}: cancelled; what is done stays done, `skymill submit` goes on from there")
    return 0


def _end_jobs(submission: Submission, order: Order) -> set[str]:
    """Cancel all jobs of a submission, those too that its driver has just handed in; return what is left."""
    batch, deadline = batch_of(order.site), time.monotonic() + LEAVE_S
    asked: set[str] = set()
    while True:
        if fresh := [job.id for job in submission.jobs if job.id not in asked]:
            batch.cancel(fresh)
            asked.update(fresh)
        left = {job.id for job, _ in present(submission, order)}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.5)
