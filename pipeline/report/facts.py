"""What a report is made from: small numbers of the ledger, and the paths of large products."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from schemas.config import RunFile


@dataclass(frozen=True)
class SampleFacts:
    """Counts of one sample, and where its cube and its prediction parts lie."""

    name: str
    asked: int
    fetched: int
    failed: int
    predicted: int
    cube: Path | None = None
    parts: Sequence[Path] = ()


@dataclass(frozen=True)
class FailureCount:
    """How many galaxies of a sample could not be had for one reason."""

    sample: str
    reason: str
    permanent: bool
    count: int


@dataclass(frozen=True)
class FailureRow:
    """One galaxy that could not be had."""

    sample: str
    id: int
    reason: str
    permanent: bool
    detail: str = ""


@dataclass(frozen=True)
class UnitTime:
    """When a unit of a stage ended (UTC), how many rows it held, and how long it took [s] on which worker."""

    stage: str
    key: str
    ended: datetime
    rows: int
    seconds: float
    worker: str = ""


@dataclass(frozen=True)
class ReportFacts:
    """Everything a report needs; what is empty is said to be missing, and is never an error.

    Parameters
    ----------
    run_file : RunFile
        The resolved run file.
    folder : Path
        The run's folder.
    samples : sequence of SampleFacts
        In the order in which they are shown.
    published_rows : int
        Rows of the catalogue version.
    catalogue, version, psql : str
        Name of the view, version published, and the command line that opens it.
    failures : sequence of FailureRow
        The first ones; `failure_counts` counts all of them.
    metrics : mapping
        Of the test part, as `model.metrics` names them; measured from the prediction parts if empty.
    history : sequence of mapping
        A mapping an epoch with ``epoch``, ``loss``, ``val_loss`` and ``seconds``.
    timeline : sequence of UnitTime
        One entry a receipt.
    provenance : mapping
        Code version, package versions, seeds and digests; values may be mappings.
    made : datetime
        When the report is written (UTC).
    """

    run_file: RunFile
    folder: Path
    samples: Sequence[SampleFacts]
    published_rows: int = 0
    catalogue: str = ""
    version: str = ""
    psql: str = ""
    failures: Sequence[FailureRow] = ()
    failure_counts: Sequence[FailureCount] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()
    timeline: Sequence[UnitTime] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    made: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def target(self) -> str:
        """Name of what was learnt."""
        return self.run_file.target.column
