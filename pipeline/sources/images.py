"""What the fetch stage needs of a source of images, whatever service it is.

A source says what to ask for a row, in one request or several, and what the answers to them are worth together.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from pipeline.sources.verdicts import Verdict
from schemas.config import RunFile

Place = Mapping[str, float]
"""Where a row is: ``ra`` and ``dec`` [deg], and those feature columns that its source names as ``columns``."""


class Body(NamedTuple):
    """The body of an answer with status 200, and what the server says it is."""

    content: bytes
    content_type: str = ""


class ImageSource(Protocol):
    """A service that gives images; plain data that travels to the workers."""

    @property
    def url(self) -> str:
        """Base URL of the server."""

    @property
    def asking(self) -> "Asking":
        """How the server is asked."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the sample that a place must have beside ``ra`` and ``dec``."""

    @property
    def is_local(self) -> bool:
        """Whether the workers make the images themselves: no server is asked, `addresses` are none."""

    @property
    def is_quick(self) -> bool:
        """Whether an image is judged in a millisecond or so: a thread would cost more than it saves."""

    def addresses(self, place: Place) -> tuple[str, ...]:
        """Return the URLs of what is asked for a row; each is a request of its own."""

    def refusal(self, place: Place) -> str:
        """Say why a place's image cannot be asked for; nothing if it can."""

    def field_of(self, place: Place) -> tuple[int, ...]:
        """Return what places have in common whose images come from the same answers; empty: each has its own."""

    def judge(self, place: Place, bodies: Sequence[Body]) -> Verdict:
        """Judge the bodies that came from `addresses`, in their order, together."""

    def judge_all(self, places: Sequence[Place], bodies: Sequence[Body]) -> list[Verdict]:
        """Judge the bodies for each place of one field, or for the one place that they are of."""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How a server is asked: what every source has beside fields of its own.

    ``retries`` counts the further times a transient failure is asked again.
    """

    max_bytes: int = 8_000_000
    connect_timeout_s: float = 20.0
    read_timeout_s: float = 30.0
    retries: int = 6
    backoff_s: float = 1.0

    @property
    def guard_s(self) -> float:
        """Longest time [s] for one request: a server that drips a byte at a time must end too."""
        return self.connect_timeout_s + 4 * self.read_timeout_s

    @property
    def asking(self) -> "Asking":
        """How the server is asked."""
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the sample that a place must have beside ``ra`` and ``dec``."""
        return ()

    @property
    def is_local(self) -> bool:
        """Whether the workers make the images themselves."""
        return False

    @property
    def is_quick(self) -> bool:
        """Whether an image is judged in a millisecond or so."""
        return False

    @property
    def backlog(self) -> int:
        """Rows (or fields) whose bodies may wait to be judged: bounds memory, and keeps the judge busy."""
        return 128

    @property
    def most_put_back(self) -> int:
        """Rows (or fields) that may wait to be asked for again before others are begun; they keep their bodies."""
        return sys.maxsize

    def refusal(self, place: Place) -> str:
        """Say why a place's image cannot be asked for; nothing if it can."""
        return ""

    def field_of(self, place: Place) -> tuple[int, ...]:
        """Return what places have in common whose images come from the same answers."""
        return ()

    def judge_all(self: ImageSource, places: Sequence[Place], bodies: Sequence[Body]) -> list[Verdict]:
        """Judge the bodies for each place."""
        return [self.judge(place, bodies) for place in places]


def asking_of(run: RunFile) -> dict[str, Any]:
    """Return the fields of `Asking` that a run file sets."""
    politeness = run.politeness
    return {
        "max_bytes": run.images.max_bytes,
        "connect_timeout_s": politeness.connect_timeout_s,
        "read_timeout_s": politeness.read_timeout_s,
        "retries": politeness.retries,
    }
