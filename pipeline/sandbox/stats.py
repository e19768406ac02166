"""Count what was asked, answered, broken on purpose, and violated."""

import time
from collections import Counter
from typing import Any

_TIMES_KEPT = 1000


class Stats:
    """Counts since the start, for ``GET /_stats``."""

    def __init__(self) -> None:
        self.started_s = time.time()
        self.requests: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.peak_connections = 0
        self.rows_capped = 0
        self._violations: Counter[str] = Counter()
        self._times: dict[str, list[float]] = {"rate": [], "connections": []}

    def violated(self, limit: str) -> None:
        """Count a violation of ``"rate"`` or ``"connections"``, with its time."""
        self._violations[limit] += 1
        if len(self._times[limit]) < _TIMES_KEPT:
            self._times[limit].append(round(time.time(), 3))

    def as_dict(self, open_connections: int) -> dict[str, Any]:
        """Return the counts as plain data; times are Unix seconds, the first thousand of each kind."""
        return {
            "started_s": round(self.started_s, 3),
            "uptime_s": round(time.time() - self.started_s, 3),
            "requests": dict(self.requests),
            "answers": dict(self.answers),
            "faults": dict(self.faults),
            "rows_capped": self.rows_capped,
            "connections": {"open": open_connections, "peak": self.peak_connections},
            "violations": {
                limit: {"count": self._violations[limit], "times_s": times}
                for limit, times in self._times.items()
            },
        }
