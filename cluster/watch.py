"""Notice that workers are lacking: say so, and in the end give up."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from schemas.errors import WorkerError

logger = logging.getLogger(__name__)

WARN_AFTER_S = 30.0
GIVE_UP_AFTER_S = 600.0


@dataclass(frozen=True)
class Lack:
    """What is said of a spell: ``warning`` and ``error`` name its length as ``{:.0f}``."""

    warning: str
    error: str
    remedy: str


NO_WORKER = Lack(
    "no Dask worker for {:.0f} s: waiting for one to join",
    "no Dask worker was there for {:.0f} s",
    "start workers for that scheduler, then run the same command again; what is done stays done",
)
NO_ROOM = Lack(
    "no worker has room for a trainer for {:.0f} s (busy, paused, or without a GPU): waiting for one",
    "no worker had room for a trainer for {:.0f} s: all are busy, paused, or without a GPU",
    "see the workers' logs; let what else they work on end, then run the same command again; what is done stays "
    "done",
)


def no_worker_for(stage: str) -> Lack:
    """Return what is said when no worker is there for a stage; for any, if `stage` is empty."""
    if not stage:
        return NO_WORKER
    return Lack(
        f"no Dask worker for {stage} for {{:.0f}} s: waiting for one to join",
        f"no Dask worker for {stage} was there for {{:.0f}} s",
        f"start workers with the resource {stage!r} for that scheduler, then run the same command again; what is "
        "done stays done",
    )


class Watch:
    """Told now and then how many workers there are, of those that could be of use.

    Parameters
    ----------
    say : callable
        Takes the one warning of a spell without workers; the log has it too.
    lack : Lack
        What is said of a spell.
    warn_after_s, give_up_after_s : float
        How long [s] a spell lasts until the warning, and until it is given up.
    clock : callable
        Seconds, monotonic.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        lack: Lack = NO_WORKER,
        *,
        warn_after_s: float = WARN_AFTER_S,
        give_up_after_s: float = GIVE_UP_AFTER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say = say
        self._lack = lack
        self._warn_after_s = warn_after_s
        self._give_up_after_s = give_up_after_s
        self._clock = clock
        self._begun_s: float | None = None
        self._warned = False

    def see(self, workers: int) -> None:
        """Note how many workers there are now.

        Raises
        ------
        WorkerError
            If there was none for too long.
        """
        if workers:
            self._begun_s, self._warned = None, False
            return
        now = self._clock()
        if self._begun_s is None:
            self._begun_s = now
        alone_s = now - self._begun_s
        if alone_s >= self._give_up_after_s:
            raise WorkerError(self._lack.error.format(alone_s), self._lack.remedy)
        if alone_s >= self._warn_after_s and not self._warned:
            self._warned = True
            text = self._lack.warning.format(alone_s)
            logger.warning(text)
            self._say(text)
