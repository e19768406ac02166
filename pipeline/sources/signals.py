"""Signals of inspirals as a source of images: no server has them, the workers compute them from a row's columns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cluster.work import find
from pipeline.sources.images import Asking, Body, Place, asking_of
from pipeline.sources.verdicts import Verdict, digest_of
from schemas.config import RunFile
from schemas.errors import ModelError
from schemas.flags import Status
from schemas.imaging import EMRI_COLUMNS, EMRI_SAMPLES

WORDS = ("cutoff", "waveform")
"""Columns that number words (see `pipeline.sources.emri.source`): a cube has columns of numbers only."""


@dataclass(frozen=True)
class SignalSource(Asking):
    """What computes whitened noise-free signals ``(sample, band)`` in the channels I and II.

    ``url`` is that of the catalogue, whose rows are the parameters.
    """

    url: str
    samples: int = EMRI_SAMPLES

    @classmethod
    def of(cls, run: RunFile, url: str) -> "SignalSource":
        """Take it from the run file."""
        return cls(url, run.images.pixels, **asking_of(run))

    @property
    def columns(self) -> tuple[str, ...]:
        """The parameters of an inspiral, and how loud it is."""
        return EMRI_COLUMNS

    @property
    def is_local(self) -> bool:
        """No server is asked."""
        return True

    def addresses(self, place: Place) -> tuple[str, ...]:
        """Return nothing: there is nothing to ask for."""
        return ()

    def judge(self, place: Place, bodies: Sequence[Body]) -> Verdict:
        """Compute a row's signal, or say why there is none; the digest is that of the parameters."""
        parameters = {name: place[name] for name in EMRI_COLUMNS}
        numbers = np.array([*parameters.values(), self.samples], np.float64)
        words = find("pipeline.sources.emri.source:named")
        try:
            named = {**parameters, **{name: words(name, parameters[name]) for name in WORDS}}
            signal = find("pipeline.sources.emri.waveforms:signal")(named, samples=self.samples)
        except ModelError as error:
            return Verdict(Status.INVALID, error.message)
        return Verdict(
            Status.OK, pixels=np.ascontiguousarray(signal.T), digest=digest_of([numbers.tobytes()])
        )
