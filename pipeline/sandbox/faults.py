"""Decide, by seed alone, what goes wrong with which request."""

import hashlib
from dataclasses import dataclass

from pipeline.sandbox.options import SQL_KINDS, Faults

_OUTSIDE = "outside"


@dataclass(frozen=True)
class _Fate:
    """What a request's identity has in store: three even deviates in [0, 1) and a number of bad attempts."""

    happens: float
    which: float
    bad_attempts: int


def _fate(seed: int, topic: str, identity: str) -> _Fate:
    digest = hashlib.blake2b(f"{seed}|{topic}|{identity}".encode(), digest_size=24).digest()
    parts = [int.from_bytes(digest[i : i + 8], "big") / 2**64 for i in (0, 8, 16)]
    return _Fate(parts[0], parts[1], 1 + int(parts[2] * 2))


def object_identity(ra: float, dec: float) -> str:
    """Name a position to 0.04 arcsec, so that every spelling of it has the same fate.

    >>> object_identity(1.0, -0.0)
    '1.00000,0.00000'
    """
    # Zero is added to make one of the two zeros; the second remainder brings 359.999999 to 0.
    return f"{round(ra % 360.0, 5) % 360.0:.5f},{round(dec, 5) + 0.0:.5f}"


class FaultPlan:
    """Remember how often a request came and say what goes wrong this time.

    A transient fault hits a request on its first one or two attempts and never again, so a retry succeeds; a
    position outside the footprint stays outside.

    Parameters
    ----------
    faults : Faults
        Shares, kinds and seed.
    """

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._sql_kinds = tuple(kind for kind in faults.kinds if kind in SQL_KINDS) or SQL_KINDS
        self._attempts: dict[str, int] = {}

    def is_outside(self, ra: float, dec: float) -> bool:
        """Say whether a position is outside the footprint by decree."""
        return _fate(self.faults.seed, _OUTSIDE, object_identity(ra, dec)).happens < self.faults.outside

    def of_cutout(self, ra: float, dec: float, geometry: str) -> str | None:
        """Return the kind of fault that hits this attempt at a cutout, or None."""
        identity = f"{object_identity(ra, dec)}|{geometry}"
        return self._next(identity, "cutout", self.faults.transient, self.faults.kinds)

    def is_missing(self, name: str) -> bool:
        """Say whether a file is missing by decree."""
        return _fate(self.faults.seed, _OUTSIDE, name).happens < self.faults.outside

    def of_file(self, name: str) -> str | None:
        """Return the kind of fault that hits this attempt at a file, or None."""
        return self._next(name, "file", self.faults.transient, self.faults.kinds)

    def of_sql(self, sql: str) -> str | None:
        """Return the kind of fault that hits this attempt at a query, or None."""
        return self._next(" ".join(sql.split()), "sql", self.faults.sql_transient, self._sql_kinds)

    def _next(self, identity: str, topic: str, share: float, kinds: tuple[str, ...]) -> str | None:
        fate = _fate(self.faults.seed, topic, identity)
        if fate.happens >= share:
            return None
        key = f"{topic}|{identity}"
        attempt = self._attempts.get(key, 0)
        self._attempts[key] = attempt + 1
        return kinds[int(fate.which * len(kinds))] if attempt < fate.bad_attempts else None
