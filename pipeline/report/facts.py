"""What a report is made from: small numbers of the ledger, and the paths of large products."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from schemas.config import RunFile
from schemas.ledger_rows import LedgerFailure, LostBlock, TimelinePoint


@dataclass(frozen=True)
class SampleFacts:
    """Counts of one sample, and where its cube and its prediction parts lie.

    ``duplicates`` counts the keys that came more than once; one row of each is among those asked for.
    """

    name: str
    asked: int
    fetched: int
    predicted: int
    duplicates: int = 0
    cube: Path | None = None
    parts: Sequence[Path] = ()

    @property
    def failed(self) -> int:
        """Galaxies that were asked for and could not be had."""
        return self.asked - self.fetched


@dataclass(frozen=True)
class FieldFacts:
    """What was found in a field: numbers of its receipt, its picture, and what was found of what there is.

    ``scene`` is "" for a mosaic of one's own, which has no ``matched``.
    """

    name: str
    scene: str
    sources: int
    facts: Mapping[str, Any]
    picture: Path
    matched: Path | None = None


@dataclass(frozen=True)
class FailureCount:
    """How many galaxies of a sample could not be had for one reason."""

    sample: str
    reason: str
    permanent: bool
    count: int


@dataclass(frozen=True)
class Trial:
    """A short training with other values of some of the preset's fields; no loss where it came to none."""

    key: str
    overrides: Mapping[str, Any]
    val_loss: float | None
    best_epoch: int | None = None


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
    catalogue, psql : str
        Name of the view, and the command line that opens it.
    version, published_rows : int
        The version that the view shows, and its rows; 0 if there is none.
    newest : int
        The newest complete version; the catalogue was rolled back if the view shows another.
    failures : sequence of LedgerFailure
        The first ones, duplicates among them; `failure_counts` counts all but duplicates.
    lost : sequence of LostBlock
        Blocks that were given up.
    metrics : mapping
        Of the test part, as `model.metrics` names them; empty where there is nothing to measure.
    histories : mapping
        By member of the ensemble, a mapping an epoch with ``epoch``, ``loss`` and ``val_loss``.
    trials : sequence of Trial
        Those of a search, in their order.
    calibration : mapping
        What the calibration part said, see `model.calibrating.judged`; empty where there is none.
    timeline : mapping
        The receipts of each stage that finished a unit, in the order of the stages.
    provenance : mapping
        Code version, package versions, seeds and digests; values may be mappings.
    fields : sequence of FieldFacts
        Those whose pixels were classified.
    under_way : sequence of str
        How far a run is that is not finished; empty for one that is.
    made : datetime
        When the report is written (UTC).
    """

    run_file: RunFile
    folder: Path
    samples: Sequence[SampleFacts]
    catalogue: str = ""
    psql: str = ""
    version: int = 0
    published_rows: int = 0
    newest: int = 0
    failures: Sequence[LedgerFailure] = ()
    failure_counts: Sequence[FailureCount] = ()
    lost: Sequence[LostBlock] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    histories: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    trials: Sequence[Trial] = ()
    calibration: Mapping[str, Any] = field(default_factory=dict)
    timeline: Mapping[str, Sequence[TimelinePoint]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    fields: Sequence[FieldFacts] = ()
    under_way: Sequence[str] = ()
    made: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def target(self) -> str:
        """Name of what was learnt."""
        return self.run_file.target.column

    @property
    def version_words(self) -> str:
        """Which version the view shows: ``version 1 (rolled back; the newest is version 2)``."""
        rolled_back = self.version != self.newest
        return f"version {self.version}" + (
            f" (rolled back; the newest is version {self.newest})" if rolled_back else ""
        )
