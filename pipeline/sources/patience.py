"""How long to wait before a failed request is tried again."""

LONGEST_BACKOFF_S = 60.0


def backoff_s(tries: int, base_s: float, draw: float) -> float:
    """Return how long [s] to wait after the n-th failed try; `draw` in [0, 1) spreads it by ±50 %.

    Examples
    --------
    >>> [backoff_s(n, 1.0, 0.5) for n in (1, 2, 3, 9)]
    [1.0, 2.0, 4.0, 60.0]
    """
    return float(min(LONGEST_BACKOFF_S, base_s * 2.0 ** (tries - 1)) * (0.5 + draw))
