"""What a ping has asked for, and how a finding of it is put into words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.site import Pool, Site

Answer = Mapping[str, Any]
"""What one job has written down: what `cluster.jobs.ping` finds."""
DRIVER = "driver"


@dataclass(frozen=True)
class Finding:
    """One thing to know: ``where`` is a key of the site or run file, ``change`` what to do about it."""

    where: str
    words: str
    change: str = ""
    is_fault: bool = True

    def line(self) -> str:
        """Return it as text for a person."""
        kind = "fault" if self.is_fault else "note"
        return f"{kind:<6} {self.where}: {self.words}" + (f"\n       -> {self.change}" if self.change else "")


@dataclass(frozen=True)
class Asked:
    """What was asked for, and what is here: the other half of every comparison.

    ``silent`` holds the pools without an answer, with the reason and what to do about it.
    """

    site: Site
    pools: Mapping[str, Pool]
    versions: Mapping[str, str]
    rooms: Mapping[str, str]
    python: str
    silent: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    source_is_reached_here: bool = False


def where(name: str) -> str:
    """Return the key of a pool in the site file."""
    return DRIVER if name == DRIVER else f"pools.{name}"
