"""Vectors: what a network learns from besides images, made of the sample's columns in an order the preset fixes.

NumPy only. A row in which a feature is not finite has no vector: it is not learnt from, and its prediction is
flagged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ModelError

Array = NDArray[Any]

KINDS: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "columns": ("features",),
    "fluxes": ("fluxes", "errors", "limits"),
}
"""What ``vector.kind`` may say, and the keys it needs."""
_AB_ZERO = 48.6
"""Magnitude of 1 erg/s/cm²/Hz, with the sign changed (Oke and Gunn 1983)."""


@dataclass(frozen=True)
class Vector:
    """How a preset's vector is made of columns.

    ``columns`` are the sample's columns it needs, each once; ``features`` names what it holds, in order.
    """

    columns: tuple[str, ...]
    features: tuple[str, ...]
    settings: Mapping[str, Any]

    @property
    def width(self) -> int:
        """Length of a vector."""
        return len(self.features)

    @property
    def noisy(self) -> bool:
        """Whether training shows fluxes with further noise, another draw in every epoch."""
        return bool(self.settings.get("noise", False))

    def raw(self, columns: Mapping[str, Array]) -> NDArray[np.float64]:
        """Return the columns ``(n, column)`` themselves, from which `with_noise` makes vectors."""
        return np.stack([np.asarray(columns[name], np.float64) for name in self.columns], axis=1)

    def with_noise(self, raw: NDArray[np.float64], normals: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the vectors of rows whose fluxes have noise added: F + σ n (Zhou et al. 2022, their augmentation).

        Parameters
        ----------
        raw : ndarray, ``(n, column)``
            What `raw` returned.
        normals : ndarray, ``(n, flux)``
            Normal deviates n.
        """
        bands = normals.shape[1]
        fluxes = raw[:, :bands] + raw[:, bands:] * normals
        seen = np.concatenate([fluxes, raw[:, bands:]], axis=1)
        return self(dict(zip(self.columns, seen.T, strict=True)))

    def __call__(self, columns: Mapping[str, Array]) -> NDArray[np.float32]:
        """Return the vectors ``(n, width)`` of rows whose `columns` ``(n,)`` are given by name."""
        if self.settings["kind"] == "fluxes":
            return _of_fluxes(columns, self.settings)
        parts = (feature.split("-") for feature in self.features)
        columns = {name: self._known(columns[name]) for name in self.columns}
        found = [
            columns[first] - columns[rest[0]] if rest else columns[first]
            for first, *rest in (list(map(str.strip, part)) for part in parts)
        ]
        return np.stack(found, axis=1).astype(np.float32)

    def _known(self, column: Array) -> Array:
        """Return a column with NaN where its value is a mark of a missing one."""
        farthest = self.settings.get("missing", 0.0)
        return np.where(np.abs(column) < farthest, column, np.nan) if farthest else column


def vector_of(settings: Mapping[str, Any]) -> Vector | None:
    """Return the vector of a preset's section ``vector``; None where there is none.

    ``columns``: ``features`` are names of columns, or differences of two of them, ``"g - r"``; a column's value as far
    from zero as ``missing`` is none, as the magnitudes -9999 of SDSS and 99 of SExtractor (0: all are values).
    ``fluxes``: the vector of Zhou et al. 2022 (CSST), see `_of_fluxes`.

    Raises
    ------
    ModelError
        The kind is not known, or its keys do not fit each other.

    >>> found = vector_of({"kind": "columns", "features": ["g", "g - r"]})
    >>> found.columns, found({"g": np.array([18.0]), "r": np.array([17.5])}).tolist()
    (('g', 'r'), [[18.0, 0.5]])
    """
    kind = settings.get("kind", "none")
    if kind not in KINDS or (missing := [key for key in KINDS[kind] if key not in settings]):
        what = (
            f"there is no vector.kind {kind!r}"
            if kind not in KINDS
            else f"vector.kind {kind!r} lacks {missing}"
        )
        raise ModelError(what, f"set vector.kind to one of: {', '.join(KINDS)}, with the keys it needs")
    if settings.get("noise", False) and kind != "fluxes":
        raise ModelError(
            f"vector.noise: only fluxes with errors can have noise added, found vector.kind {kind!r}",
            "set vector.noise = false",
        )
    if kind == "none":
        return None
    if kind == "fluxes":
        return _flux_vector(settings)
    features = tuple(settings["features"])
    names = [name.strip() for feature in features for name in feature.split("-")]
    if not features or len(set(features)) < len(features) or not all(names):
        raise ModelError(
            f"vector.features: expected different names of columns or differences of two, found {list(features)}",
            'write them as "modelMag_r" or "modelMag_g - modelMag_r", each once',
        )
    if wrong := [feature for feature in features if feature.count("-") > 1]:
        raise ModelError(f"vector.features: {wrong[0]!r} is no difference of two", 'write it as "a - b"')
    return Vector(tuple(dict.fromkeys(names)), features, dict(settings))


def _flux_vector(settings: Mapping[str, Any]) -> Vector:
    fluxes, errors = tuple(settings["fluxes"]), tuple(settings["errors"])
    if not len(fluxes) == len(errors) == len(settings["limits"]):
        raise ModelError(
            f"vector: expected as many errors and limits as fluxes, found {len(fluxes)} fluxes, {len(errors)} errors "
            f"and {len(settings['limits'])} limits",
            "give one of each a band",
        )
    ratios = tuple(f"{one} / {other}" for one, other in pairwise(fluxes))
    relative = tuple(f"{error} / {flux}" for error, flux in zip(errors, fluxes, strict=True))
    return Vector((*fluxes, *errors), (*fluxes, *ratios, *relative), dict(settings))


def _of_fluxes(columns: Mapping[str, Array], settings: Mapping[str, Any]) -> NDArray[np.float32]:
    """Return scaled fluxes, their ratios and their relative errors (Zhou et al. 2022, as their code has them).

    With f(x) = log10 x where x > 0, else -log10(-x): f(F / F_lim), F_lim = 10^(-(m_lim + 48.6) / 2.5); f(F_k / F_k+1);
    f(abs(σ / F)). Where f(0) would be infinite the row has no vector: NaN.
    """
    flux = np.stack([np.asarray(columns[name], np.float64) for name in settings["fluxes"]], axis=1)
    error = np.stack([np.asarray(columns[name], np.float64) for name in settings["errors"]], axis=1)
    limit = 10 ** (-(np.asarray(settings["limits"], np.float64) + _AB_ZERO) / 2.5)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [flux / limit, flux[:, :-1] / flux[:, 1:], np.abs(error / flux)]
        return np.concatenate([_signed_log(part) for part in parts], axis=1).astype(np.float32)


def _signed_log(x: Array) -> Array:
    """Return log10 x for positive x, -log10(-x) for negative x, and NaN for 0 and what is not finite."""
    usable = np.isfinite(x) & (x != 0)
    return np.where(usable, np.sign(x) * np.log10(np.abs(np.where(usable, x, 1.0))), np.nan)


def find_columns(vector: Vector, there: Sequence[str], *, where: str) -> dict[str, str]:
    """Return how each of the vector's columns is spelt among those that are `there`; capitals do not count.

    Raises
    ------
    ModelError
        Some are not there; all of them are named.
    """
    spelt = {name.lower(): name for name in there}
    if missing := [name for name in vector.columns if name.lower() not in spelt]:
        raise ModelError(
            f"{where} has no column {', '.join(missing)}, which the vector of the preset is made of",
            f"select it in the sample's SQL (AS gives it this name); there are: {', '.join(there) or 'none'}",
        )
    return {name: spelt[name.lower()] for name in vector.columns}
