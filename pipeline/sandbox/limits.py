"""Hold clients to a rate of requests and a number of open connections."""

import time
from collections.abc import Callable, Iterable


class RateLimit:
    """A token bucket: a steady rate, with bursts up to one second's worth.

    Parameters
    ----------
    per_s : float or None
        Requests a second; None allows all.
    clock : callable
        Seconds that only go up.
    """

    def __init__(self, per_s: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._clock = clock
        self._burst = max(per_s or 0.0, 1.0)
        self._tokens = self._burst
        self._last = clock()

    def admits(self) -> bool:
        """Take a token if there is one; False means that the client asks too often."""
        if self._per_s is None:
            return True
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._last) * self._per_s)
        self._last = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class ConnectionLimit:
    """Admit connections up to a number; an admitted one stays admitted until it closes.

    Parameters
    ----------
    limit : int or None
        Connections open at one time; None allows all.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._admitted: set[object] = set()

    def admits(self, connection: object, open_now: Iterable[object]) -> bool:
        """Say whether a connection may be used.

        Parameters
        ----------
        connection : object
            The one that a request came on.
        open_now : iterable
            All that are open, this one included.
        """
        if self._limit is None:
            return True
        self._admitted.intersection_update(open_now)
        if connection not in self._admitted:
            if len(self._admitted) >= self._limit:
                return False
            self._admitted.add(connection)
        return True
