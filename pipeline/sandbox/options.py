"""Say what a sandbox is: which sky, where it listens, what it allows, what goes wrong."""

from dataclasses import dataclass, field
from pathlib import Path

READY_LINE = "sandbox ready"
CSST_GALAXIES = 6000
"""Of the CSST mock; more than half of them are bright enough for its sample."""
TRANSIENT_KINDS = (
    "error_500",
    "unavailable_503",
    "too_many_429",
    "reset",
    "truncated",
    "html_200",
    "black_200",
    "stall",
)
SQL_KINDS = ("error_500", "unavailable_503", "reset", "html_200")


@dataclass(frozen=True)
class Faults:
    """What goes wrong, by seed: the same seed, the same faults.

    Attributes
    ----------
    transient : float
        Share of the cutout requests that fail on their first one or two attempts.
    outside : float
        Share of the positions that are outside the footprint for ever.
    sql_transient : float
        Share of the SQL queries that fail on their first one or two attempts.
    seed : int
        Seed of all of it.
    kinds : tuple of str
        Which of `TRANSIENT_KINDS` may happen.
    outside_as : str
        ``"404"``, or ``"tile"`` for status 200 with a black tile that carries the text.
    stall_s : float
        How long a stalled answer hangs before the connection is closed [s].
    retry_after_s : int
        What 429 and 503 ask for in ``Retry-After`` [s].
    """

    transient: float = 0.0
    outside: float = 0.0
    sql_transient: float = 0.0
    seed: int = 0
    kinds: tuple[str, ...] = TRANSIENT_KINDS
    outside_as: str = "404"
    stall_s: float = 60.0
    retry_after_s: int = 1

    def __post_init__(self) -> None:
        for name in ("transient", "outside", "sql_transient"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is a share between 0 and 1, not {getattr(self, name)}")
        unknown = set(self.kinds) - set(TRANSIENT_KINDS)
        if unknown or not self.kinds:
            raise ValueError(f"fault kinds are of {', '.join(TRANSIENT_KINDS)}; not {sorted(unknown)}")
        if self.outside_as not in ("404", "tile"):
            raise ValueError(f"outside_as is '404' or 'tile', not {self.outside_as!r}")


@dataclass(frozen=True)
class SandboxOptions:
    """Everything a sandbox is told.

    Attributes
    ----------
    sky : str
        ``"default"``, or the folder of a recorded sky.
    host : str
        Address to listen on; loopback unless told otherwise.
    port : int
        Port to listen on; 0 takes a free one.
    faults : Faults
        What goes wrong.
    rate_limit_per_s : float or None
        Requests a second; more are answered with 429 and counted. Bursts of one second's worth are let pass.
    connection_limit : int or None
        Connections open at one time; more are answered with 503 and counted.
    latency_s : float
        Added to each answer [s].
    row_cap : int
        Rows one query may return; more are cut off, as SkyServer does.
    max_query_chars : int
        Length of the query string that is still accepted by GET [characters].
    query_timeout_s : float
        How long a query may run [s].
    cache_dir : pathlib.Path or None
        Where drawn cutouts are kept between starts; None keeps them in memory only.
    seed : int
        Seed of the default sky.
    csst_galaxies : int
        Number of galaxies of the CSST mock of the default sky.
    stamps : pathlib.Path or None
        Folder of HST stamps that two fifths of these are drawn from; None draws all from profiles.
    """

    sky: str = "default"
    host: str = "127.0.0.1"
    port: int = 0
    faults: Faults = field(default_factory=Faults)
    rate_limit_per_s: float | None = None
    connection_limit: int | None = None
    latency_s: float = 0.0
    row_cap: int = 500_000
    max_query_chars: int = 8_000
    query_timeout_s: float = 60.0
    cache_dir: Path | None = None
    seed: int = 1998
    csst_galaxies: int = CSST_GALAXIES
    stamps: Path | None = None
