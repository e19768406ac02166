"""No images: what the rows of a run have whose network takes none."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.sources.images import Asking, Body, Place, asking_of
from pipeline.sources.verdicts import Verdict
from schemas.arrays import DIGEST_BYTES
from schemas.config import RunFile
from schemas.flags import Status


@dataclass(frozen=True)
class NoSource(Asking):
    """What gives each row an image of no bands, whose ``shape`` is ``(y, x, 0)``: that cannot fail."""

    url: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, run: RunFile, url: str) -> "NoSource":
        """Take it from the run file."""
        return cls(url, (*run.images.shape, len(run.images.bands)), **asking_of(run))

    @property
    def is_local(self) -> bool:
        """No server is asked."""
        return True

    def addresses(self, place: Place) -> tuple[str, ...]:
        """Return nothing: there is nothing to ask for."""
        return ()

    def judge(self, place: Place, bodies: Sequence[Body]) -> Verdict:
        """Return an image of no bands; its digest is 0."""
        return Verdict(Status.OK, pixels=np.empty(self.shape, np.float32), digest=bytes(DIGEST_BYTES))
