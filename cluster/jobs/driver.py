"""The driver's job of a submission: ``python -m cluster.jobs.driver FOLDER``.

It looks after two children, the Dask scheduler and the command that was asked for, and starts both again when one
is lost. It works by a lease, so that of several copies of this job only the newest has children; and it leaves
before its walltime, in such a way that the batch scheduler starts it once more.
"""

import contextlib
import os
import socket
import sys
import threading
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from cluster.jobs import processes
from cluster.jobs.attempt import Attempt
from cluster.jobs.departure import Departure
from cluster.jobs.times import Times, say
from cluster.jobs.topup import TopUp
from cluster.jobs.verdicts import Patience, verdict, what
from cluster.lease import Lease
from cluster.sites.batch import Batch, batch_of, job_id
from cluster.submission import End, Order, Submission
from schemas.errors import SiteDown, SiteError, SkymillError

LAST_TOP_UP_S = 60.0
"""Before it leaves, it hands in nothing more for so long [s]."""
LOOK_S = 1.0
"""How often [s] it looks whether somebody has ended the submission."""
AGAIN_S = 5.0
"""How long [s] it waits before it asks again to be started once more."""
DISMISS_S = 3.0
"""The workers have so long [s] to see that the submission has ended."""
DISK_S = 30.0
FENCE_S = 10.0
"""A driver that has lost its lease has so long [s] to end in order: its disk may hang."""


class Driver:
    """The supervisor of a driver's job.

    Parameters
    ----------
    submission, order : Submission, Order
        What is to be done.
    batch : Batch
        Who starts this job once more, and new workers.
    times : Times
        How long what may last.
    """

    def __init__(self, submission: Submission, order: Order, batch: Batch, times: Times) -> None:
        self._submission = submission
        self._order = order
        self._batch = batch
        self._times = times
        self.departure = Departure(
            order.site.driver.walltime_s, warn_s=order.site.warn_s, term_s=times.term_s
        )
        self._lease = Lease(
            submission.lease_file,
            holder=f"job {job_id(os.environ)} on {os.uname().nodename}",
            renew_s=times.renew_s,
            expires_s=times.expires_s,
            fence_s=times.fence_s,
        )
        self._looked_s, self._ended = 0.0, False
        self._over = threading.Event()

    def work(self) -> int:
        """Do what was asked for until it has ended, or it is time to leave; return the exit code of the job."""
        if not self._lease.take(lambda: not self._stop()):
            if not self._stop():
                say("a newer driver works on this submission: this one ends")
            return self.leave() if self.departure.why and self._submission.end is None else 0
        say(f"driver of {self._order.run}: process {os.getpid()} on {os.uname().nodename} has the lease")
        threading.Thread(target=self._fence, name="fence", daemon=True).start()
        until_s = self.departure.leave_s - LAST_TOP_UP_S
        top_up = TopUp(
            self._submission, self._order, self._batch, every_s=self._times.top_up_s, until_s=until_s
        )
        top_up.start()
        try:
            end = self._attempts()
        finally:
            top_up.stop()
            processes.end_descendants(0.0 if self._lease.lost.is_set() else 3.0)
            if (
                not processes.descendants()
            ):  # what cannot be killed may still write: the lease runs out instead
                self._lease.release()
            self._over.set()
        return self._conclude(end)

    def _attempts(self) -> End | None:
        """Make attempts until one ends the submission; None when it is time to end before that."""
        if fault := interface_fault(self._order.site.interface):
            failed = End("failed", SiteError.exit_code, fault, time.time())
            self._tell(failed)
            return failed
        patience = Patience(self._times.back_off_s)
        while not self._stop():
            with self._attempt() as attempt:
                ended = attempt.run()
                stopped = bool(self._stop())
                end = None if stopped and ended.code else verdict(ended)
                if end is None and not stopped:
                    end = patience.end(ended)
                if end is not None:
                    self._tell(end)
                    return end
            if not stopped:
                say(f"{what(ended)}: again in {patience.wait_s:g} s")
                processes.end_descendants(3.0)
                self._sleep(patience.wait_s)
        return None

    def _attempt(self) -> Attempt:
        return Attempt(
            self._submission,
            self._order,
            nonce=self._lease.nonce,
            stop=self._stop,
            departure=self.departure,
            notice_s=self._times.notice_s,
        )

    def _tell(self, end: End) -> None:
        """Say how the submission has ended, unless another driver or its user has to."""
        if not self._lease.lost.is_set() and self._submission.end is None:
            self._submission.write_end(end)

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._stop():
            time.sleep(0.1)

    def _stop(self) -> str:
        """Say why everything has to end; nothing while it does not."""
        if self._lease.lost.is_set():
            return self._lease.why_lost
        if not self._ended and time.monotonic() - self._looked_s >= LOOK_S:
            self._looked_s, self._ended = time.monotonic(), self._submission.end is not None
            if self._ended:
                self.departure.hasten(self._times.term_s)
        return "somebody has ended the submission" if self._ended else self.departure.why

    def _fence(self) -> None:
        """End all descendants when the lease is lost, before another word: the log's disk may hang."""
        self._lease.lost.wait()
        processes.kill_descendants()
        if not self._over.wait(FENCE_S):
            os._exit(0 if self._lease.is_claimed else self._again()[0])

    def _conclude(self, end: End | None) -> int:
        if self._lease.lost.is_set():
            claimed = self._lease.is_claimed
            why = "a newer driver has claimed it" if claimed else self._lease.why_lost
            say(f"the lease is lost: {why}; everything was ended")
            return 0 if claimed else self.leave()
        if end is not None:
            say(f"{end.state}: {end.words or 'all is well'}")
            self._dismiss()
            return end.exit_code
        return 0 if self._submission.end is not None else self.leave()

    def _dismiss(self) -> None:
        """End the workers' jobs that still wait, or are held; those at work leave by themselves."""
        time.sleep(DISMISS_S)
        with contextlib.suppress(SkymillError):
            self._batch.cancel([job.id for job in self._submission.jobs if job.pool in self._order.nodes])

    def leave(self) -> int:
        """Have this job started once more, and return the exit code for that."""
        code, words = self._again()
        say(words)
        return code

    def _again(self) -> tuple[int, str]:
        while True:
            try:
                return self._batch.again(), "this job leaves, and is to be started once more"
            except SkymillError as error:
                if not isinstance(error, SiteDown) or not self.departure.left_s:
                    return os.EX_TEMPFAIL, f"this job could not be asked for again: {error}"
            time.sleep(min(AGAIN_S, self.departure.left_s))


def interface_fault(name: str) -> str:
    """Say what is wrong with the name of a network interface of this machine; nothing if it is right."""
    found = psutil.net_if_addrs()
    if not name or any(address.family == socket.AF_INET for address in found.get(name, ())):
        return ""
    usable = [one for one, addresses in found.items() if any(a.family == socket.AF_INET for a in addresses)]
    return (
        f"this node ({os.uname().nodename}) has no network interface {name!r} with an IPv4 address; it has: "
        f"{', '.join(sorted(usable))}\n  remedy: set `interface` in the site file to the one that all nodes share"
    )


def main(arguments: list[str]) -> int:
    """Do the job of a driver, and return its exit code."""
    submission = Submission(Path(arguments[0]))
    order, ended = submission.order, submission.end
    if order is None:
        say(f"{submission.path}: there is no submission here")
        return SiteError.exit_code
    if ended is not None:
        say(f"{order.run}: has ended already ({ended.state})")
        return 0
    processes.adopt_orphans()
    driver = Driver(submission, order, batch_of(order.site), Times.of())
    driver.departure.listen()
    try:
        return driver.work()
    except OSError as error:  # a full disk, or one that is away, may be well again later
        say(f"the driver's job leaves: {error}")
        time.sleep(DISK_S)
        return driver.leave()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
