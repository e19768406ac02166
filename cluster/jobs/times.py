"""How often the jobs of a submission look, and how long they wait; ``SKYMILL_JOB_TIMES`` shortens it in tests."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

VARIABLE = "SKYMILL_JOB_TIMES"
"""A JSON object of fields of `Times`."""
LIFETIME = "SKYMILL_LIFETIME_S"
"""How long [s] one worker lives, when that is less than its job's walltime allows."""


@dataclass(frozen=True)
class Times:
    """All in seconds.

    ``renew_s``, ``expires_s`` and ``fence_s`` are the lease's; ``top_up_s`` lies between two looks at the workers'
    jobs; ``back_off_s`` is waited after the first attempt that failed, twice as long after the next; ``term_s`` is
    given to leave after a signal that a KILL follows soon; ``join_s`` to reach a Dask scheduler, and ``notice_s`` to
    the command to notice that it has died.
    """

    renew_s: float = 5.0
    expires_s: float = 60.0
    fence_s: float = 30.0
    top_up_s: float = 30.0
    back_off_s: float = 1.0
    term_s: float = 8.0
    join_s: float = 20.0
    notice_s: float = 60.0

    @classmethod
    def of(cls, environ: Mapping[str, str] = os.environ) -> "Times":
        """Return those that the environment asks for."""
        return cls(**json.loads(environ.get(VARIABLE, "{}")))


def say(text: str) -> None:
    """Write a line to the job's log."""
    try:
        print(time.strftime("%Y-%m-%d %H:%M:%S"), text, flush=True)
    except OSError:  # a full or hanging disk is no reason to end
        return
