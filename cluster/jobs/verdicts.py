"""What the end of an attempt means: the submission has ended, or the attempt is made again."""

import signal
import time

from cluster.jobs.attempt import Ended
from cluster.submission import End

TEMPORARY = (75, 9)
"""Exit codes of what may be over in a while: a server is down, or another driver not yet seen to be gone."""
STOPPED = (130, 143)
"""Exit codes of what was interrupted, though not by us."""
WORKERS = 8
LONGEST_S = 60.0
QUICK_S = 60.0
"""An attempt that lasted longer [s] than this was none of a row of failures."""
MOST_QUICK = 10


def verdict(ended: Ended) -> End | None:
    """Return the end of the submission that an attempt means; None if it is to be made again.

    Examples
    --------
    >>> verdict(Ended(75)) is None, verdict(Ended(-9)) is None, verdict(Ended(1, "no", lost=True)) is None
    (True, True, True)
    >>> verdict(Ended(7, "bad")).words
    'bad'
    """
    code = ended.code
    if code == 0:
        return End("done", at=time.time())
    gone = code == WORKERS and "scheduler" in ended.words and "is gone" in ended.words
    if code < 0 or ended.lost or gone or code in (*TEMPORARY, *STOPPED):
        return None
    return End("failed", code, ended.words, time.time())


class Patience:
    """How long to wait before the next attempt, and when there is to be none.

    Parameters
    ----------
    first_s : float
        The wait [s] after the first failure of a row; the next ones are twice as long each.
    """

    def __init__(self, first_s: float) -> None:
        self._first_s = first_s
        self._row = self._quick = 0

    def end(self, ended: Ended) -> End | None:
        """Note an attempt that is to be made again; return an end if the like came too often in a row."""
        if ended.seconds > QUICK_S:
            self._row = self._quick = 0
        self._row += 1
        self._quick = 0 if ended.code in TEMPORARY else self._quick + 1
        if self._quick < MOST_QUICK:
            return None
        why = f"{what(ended)} {MOST_QUICK} times in a row"
        return End("failed", 1, f"{why}\n{ended.words}".strip(), time.time())

    @property
    def wait_s(self) -> float:
        """How long [s] to wait before the next attempt."""
        return float(min(LONGEST_S, self._first_s * 2.0 ** min(self._row - 1, 16)))


def what(ended: Ended) -> str:
    """Say how an attempt ended.

    Examples
    --------
    >>> what(Ended(-9)), what(Ended(75))
    ('its command was killed by SIGKILL', 'its command ended with code 75')
    """
    if ended.code < 0:
        return f"its command was killed by {signal.Signals(-ended.code).name}"
    return f"its command ended with code {ended.code}"
