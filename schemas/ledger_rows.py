"""What the ledger answers: small values for the report and the progress view; all times are UTC."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class LedgerFailure:
    """An object that could not be had; ``status`` is a `schemas.flags.Status`, ``reason`` its words."""

    stage: str
    key: str
    attempt: int
    sample: str
    row: int
    id: int
    status: int
    reason: str
    permanent: bool
    detail: str


@dataclass(frozen=True)
class StageProgress:
    """How many units of a stage are in a state (pending, running, done, failed)."""

    stage: str
    state: str
    count: int
    rows: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class TimelinePoint:
    """One receipt: when it was accepted, what it held, how long the worker took [s]."""

    ended: datetime
    rows: int
    bytes: int
    seconds: float
    worker: str


@dataclass(frozen=True)
class LostBlock:
    """A block that a stage was given up for, and why."""

    stage: str
    key: str
    why: str
