"""When a job has to leave: its walltime is near, or a signal says so."""

import signal
import time
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
_GOLDEN = 0.6180339887498949


class Departure:
    """Tells when it is time to leave, and until when everything has to be ended.

    Parameters
    ----------
    walltime_s : float
        The job's [s], which begins now.
    warn_s : float
        How long [s] before its end it is time to leave, and the batch scheduler sends ``USR1``.
    early_s : float
        It leaves so much [s] earlier, to be out of step with others.
    term_s : float
        What is left [s] after a signal that a KILL follows soon.

    Attributes
    ----------
    leave_s : float
        When, on the monotonic clock [s], it is time, if no signal comes earlier.
    warn_s : float
        How long [s] that is before the job's end.
    until_s : float
        By when everything has to be ended.
    """

    def __init__(
        self, walltime_s: float, *, warn_s: float, early_s: float = 0.0, term_s: float = 8.0
    ) -> None:
        now = time.monotonic()
        warn_s = min(warn_s, 0.5 * walltime_s)
        self._reserve_s = min(15.0, 0.25 * warn_s)
        self.warn_s = warn_s
        self._term_s = term_s
        self._said = ""
        self.leave_s = now + walltime_s - warn_s - early_s
        self.until_s = now + walltime_s - self._reserve_s

    def listen(self) -> None:
        """Take the signals of this process."""
        for number in SIGNALS:
            signal.signal(number, self.hear)

    def hear(self, number: int, frame: FrameType | None = None) -> None:
        """Note a signal."""
        self._said = self._said or f"{signal.Signals(number).name} came"
        self.hasten(self.warn_s - self._reserve_s if number == signal.SIGUSR1 else self._term_s)

    def hasten(self, left_s: float) -> None:
        """Leave no more than `left_s` [s] from now."""
        self.until_s = min(self.until_s, time.monotonic() + left_s)

    @property
    def why(self) -> str:
        """Why it is time to leave; nothing while it is not."""
        if not self._said and time.monotonic() >= self.leave_s:
            self._said = "the end of its walltime is near"
        return self._said

    @property
    def left_s(self) -> float:
        """What is left [s] until everything has to be ended."""
        return max(0.0, self.until_s - time.monotonic())


class Life:
    """One worker's life within its job: as long as the job's, or shorter.

    Parameters
    ----------
    departure : Departure
        Of the job.
    lifetime_s : float
        How long [s] at most, from now; zero for as long as the job.
    """

    def __init__(self, departure: Departure, lifetime_s: float = 0.0) -> None:
        now = time.monotonic()
        self._departure = departure
        self._ends_s = min(now + lifetime_s if lifetime_s else float("inf"), departure.leave_s)
        self._more_s = min(departure.warn_s, lifetime_s or departure.warn_s)
        self.seconds = self._ends_s - now

    @property
    def why(self) -> str:
        """Why it ends; nothing while it does not."""
        return self._departure.why or ("its lifetime is over" if time.monotonic() >= self._ends_s else "")

    @property
    def left_s(self) -> float:
        """What is left [s] until it has to be ended, once it is time to leave."""
        if self._departure.why:
            return self._departure.left_s
        return max(0.0, min(self._departure.left_s, self._ends_s + self._more_s - time.monotonic()))


def stagger(index: int, most_s: float) -> float:
    """Return how much earlier [s] the element `index` of an array leaves: evenly spread, however many there are.

    Examples
    --------
    >>> [round(stagger(index, 100.0)) for index in range(4)]
    [0, 62, 24, 85]
    """
    return most_s * (index * _GOLDEN % 1.0)
