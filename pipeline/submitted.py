"""A submitted run as others see it: its jobs, whether it is alive, and what its driver writes down."""

import argparse
import os
import time
from collections import Counter, deque
from pathlib import Path

from cluster.jobs.asking import DRIVER
from cluster.lease import VARIABLE, LeaseStanding, standing
from cluster.sites.batch import Standing, State, batch_of
from cluster.submission import Asked, Order, Submission, read_json
from schemas.config import RunFile
from schemas.errors import Busy, SiteDown, SiteError, SkymillError, StoreError
from schemas.runfile import load_run_file

GONE_S = 75.0
"""How long the jobs of a submission that is over, and its lease, may take to go [s]: a lease is over after 60 s."""


def submission_of(args: argparse.Namespace) -> tuple[Submission, Order]:
    """Return the submission of the run that a verb names.

    Raises
    ------
    SkymillError
        If it was never submitted.
    """
    run_file = load_run_file(Path(args.run_file), words=args.words)
    submission = Submission.of(run_file.folder)
    order = submission.order
    if order is None:
        raise SkymillError(
            f"{run_file.name}: was never submitted (there is nothing in {submission.path})",
            "submit it: skymill submit RUN.toml --site SITE; or give the words it was submitted with",
        )
    return submission, order


def name_of(order: Order) -> str:
    """Return the name of the run."""
    return Path(order.run).name


def present(submission: Submission, order: Order) -> list[tuple[Asked, Standing]]:
    """Return the elements of a submission's jobs that have not ended, with what the scheduler says of them.

    Raises
    ------
    SiteError
        If the scheduler does not say.
    """
    jobs = submission.jobs
    if not jobs:
        return []
    found = batch_of(order.site).standings([job.id for job in jobs])
    return [(job, one) for job in jobs for one in found.get(job.id, ()) if one.state is not State.ENDED]


def refuse_submitted(run_file: RunFile) -> None:
    """Keep a driver off a run that a submission works on, or will; the submission's own driver may go on.

    Raises
    ------
    Busy
        Naming who has it.
    """
    submission = Submission.of(run_file.folder)
    if (order := submission.order) is None:
        return
    remedy = "`skymill status` shows how far it is, `skymill cancel` ends it"
    mine = os.environ.get(VARIABLE)
    held = _held(submission)
    if held.live and held.nonce != mine:
        raise Busy(f"run {run_file.name} is being done by {held.holder}, as it was submitted", remedy)
    if mine or submission.end:
        return
    try:
        waiting = present(submission, order)
    except SiteDown:
        raise
    except SiteError:  # this machine may not know the scheduler's commands
        return
    if waiting:
        ids = ", ".join(sorted({job.id for job, _ in waiting}))
        raise Busy(f"run {run_file.name} is submitted to {order.site.name}, as jobs {ids}", remedy)


def make_way(submission: Submission) -> None:
    """Put the folder of a submission that is over aside, as ``submission.1`` and so on.

    Raises
    ------
    Busy
        If it is not over, or if its jobs do not leave.
    """
    if not submission.path.exists():
        return
    if order := submission.order:
        _wait_until_over(submission, order)
    number = 1
    while (aside := submission.path.with_name(f"{submission.path.name}.{number}")).exists():
        number += 1
    submission.path.rename(aside)


def _wait_until_over(submission: Submission, order: Order) -> None:
    name, deadline, said = name_of(order), time.monotonic() + GONE_S, False
    while True:
        left = present(submission, order)
        there = sorted({job.id for job, _ in left})
        if there and not submission.end:
            raise Busy(
                f"run {name} is submitted already, to {order.site.name}: jobs {', '.join(there)}",
                "wait for it (`skymill status`), or end it first: skymill cancel",
            )
        held = _held(submission)
        if not there and not held.live:
            return
        if time.monotonic() > deadline:
            if not held.live and all(one.state is State.UNKNOWN for _, one in left):
                return  # a node hangs at their end
            who = f"jobs {', '.join(there)}" if there else held.holder
            raise Busy(
                f"the last submission of run {name} is over, but {who} has not left yet",
                "submit again in a minute; `skymill status` shows what is left",
            )
        if not said:
            print(
                f"waiting until {', '.join(there) or held.holder} of the last submission has left", flush=True
            )
            said = True
        time.sleep(0.5)


def _held(submission: Submission) -> LeaseStanding:
    try:
        return standing(submission.lease_file)
    except OSError as error:
        raise StoreError(
            f"cannot read {submission.lease_file}: {error}",
            "check the file system, then run the same command again",
        ) from error


def status_lines(submission: Submission, order: Order) -> tuple[list[str], bool]:
    """Return what there is to say of a submission without asking the ledger, and whether it is over."""
    name, end = name_of(order), submission.end
    if end:
        words = f": {end.words}" if end.words else ""
        code = f" (exit code {end.exit_code})" if end.exit_code else ""
        return [f"{name}: the submission to {order.site.name} has ended: {end.state}{code}{words}"], True
    try:
        there = present(submission, order)
    except SiteError as error:
        return [
            f"{name}: the scheduler of {order.site.name} does not say: {error}",
            *said_lines(submission),
        ], False
    if not there:
        return [
            f"{name}: its jobs at {order.site.name} are gone, and none has said how it ended: cancelled by the "
            "scheduler's own command, or lost",
            "  `skymill logs` shows their last words; `skymill submit` goes on where it stopped",
        ], True
    lines = [f"{name}: submitted to {order.site.name} ({order.site.kind})", *_job_lines(there)]
    if any(job.pool == DRIVER and one.state is State.HELD for job, one in there):
        lines.append(
            "  the driver's job is held and does not start by itself: let the scheduler release it, or "
            "`skymill cancel`, then `skymill submit` goes on where it stopped"
        )
    if not any(job.pool == DRIVER for job, _ in there):
        lines.append(
            "  the driver's job is gone: `skymill cancel`, then `skymill submit` goes on where it stopped"
        )
    return [*lines, *said_lines(submission)], False


def _job_lines(there: list[tuple[Asked, Standing]]) -> list[str]:
    lines = []
    for job in dict.fromkeys(job for job, _ in there):
        elements = [one for other, one in there if other == job]
        counts = Counter(one.state.value for one in elements)
        states = ", ".join(
            f"{count} {state}" if job.pool != DRIVER else state for state, count in counts.items()
        )
        nodes = " ".join(sorted({one.node for one in elements if one.node}))
        words = "; ".join(sorted({one.words for one in elements if one.words and one.state != State.RUNNING}))
        lines.append(
            f"  {job.pool:<10} job {job.id}: {states}"
            + (f" on {nodes}" if nodes else "")
            + (f" ({words})" if words else "")
        )
    return lines


def said_lines(submission: Submission) -> list[str]:
    """Return what the driver has written of its progress, and how long ago."""
    found = read_json(submission.status_file)
    if not found:
        return ["  the driver has not said anything yet"]
    return [*found["lines"], f"as the driver said {max(0.0, time.time() - found['at']):,.0f} s ago"]


def tail(path: Path, count: int) -> list[str]:
    """Return the last lines of a log."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return [line.rstrip("\n") for line in deque(file, maxlen=max(count, 0))]
