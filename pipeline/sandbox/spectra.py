"""Make up who observed which object when: plates, fibres, errors, warnings, velocity dispersions."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.sandbox.catalogue import CLASS_NAMES, GALAXY, QSO, Objects
from pipeline.sandbox.ids import pack_specobjid, run2d_name
from pipeline.sandbox.morphology import Shapes
from pipeline.sandbox.sky import unit_vectors

_SPECTRUM_SHARE = 2 / 3
_OBJECTS_PER_PLATE = 80
_LATE_PLATE_SHARE = 0.05  # plates from 8192 on, whose identifiers pass 2**63
_REPEAT_SHARE = 0.04
_LEGACY_RUN2D, _EBOSS_RUN2D = 26, 1302  # "26" and "v5_13_2"
_STRIPS = 9


@dataclass(frozen=True)
class _Fibres:
    """One observation a row: which object, and the parts of its identifier."""

    index: NDArray[np.int64]
    plate: NDArray[np.int64]
    mjd: NDArray[np.int64]
    fiber: NDArray[np.int64]
    run2d: NDArray[np.int64]
    primary: NDArray[np.bool_]

    @property
    def ids(self) -> NDArray[np.uint64]:
        return pack_specobjid(self.plate, self.fiber, self.mjd, self.run2d)


def spectroscopic_table(
    objects: Objects, shapes: Shapes, objid: NDArray[np.uint64], rng: np.random.Generator
) -> tuple[dict[str, Any], NDArray[np.uint64]]:
    """Build ``SpecObjAll``.

    Parameters
    ----------
    objects, shapes : Objects, Shapes
        What was observed.
    objid : numpy.ndarray of uint64, ``(n,)``
        Photometric identifiers.
    rng : numpy.random.Generator
        Where chance comes from.

    Returns
    -------
    dict of str to numpy.ndarray
        The table's columns; two thirds of the galaxies and all stars and quasars have a spectrum, some two.
    numpy.ndarray of uint64, ``(n,)``
        The primary spectrum of each object, 0 for none.
    """
    fibres = _observe(objects, rng)
    ids = fibres.ids
    best = np.zeros(len(objects), dtype=np.uint64)
    best[fibres.index[fibres.primary]] = ids[fibres.primary]
    late = fibres.plate >= 8192
    index = fibres.index
    x, y, z = unit_vectors(objects.ra[index], objects.dec[index]).T
    names = np.array(CLASS_NAMES, dtype=object)
    ones = fibres.primary.astype(np.int16)
    table: dict[str, Any] = {
        "specObjID": ids,
        "bestObjID": objid[index].astype(np.int64),
        "fluxObjID": objid[index].astype(np.int64),
        "plateID": pack_specobjid(fibres.plate, 0 * ones, fibres.mjd, fibres.run2d),
        "sciencePrimary": ones,
        "sdssPrimary": ones * ~late,
        "legacyPrimary": ones * ~late,
        "bossPrimary": ones * late,
        "survey": np.where(late, "eboss", "sdss"),
        "instrument": np.where(late, "BOSS", "SDSS"),
        "programname": np.where(late, "eboss", "legacy"),
        "run1d": np.where(late, run2d_name(_EBOSS_RUN2D), ""),
        "run2d": np.where(late, run2d_name(_EBOSS_RUN2D), run2d_name(_LEGACY_RUN2D)),
        "plate": fibres.plate.astype(np.int16),
        "mjd": fibres.mjd.astype(np.int32),
        "fiberID": fibres.fiber.astype(np.int16),
        "sourceType": names[objects.kind[index]],
        "ra": objects.ra[index],
        "dec": objects.dec[index],
        "cx": x,
        "cy": y,
        "cz": z,
        "class": names[objects.kind[index]],
    }
    return table | _measurements(objects, shapes, index, rng), best


def _observe(objects: Objects, rng: np.random.Generator) -> _Fibres:
    """Put objects on plates by strips of declination and runs of right ascension."""
    chosen = np.flatnonzero((rng.random(len(objects)) < _SPECTRUM_SHARE) | (objects.kind != GALAXY))
    strip = np.searchsorted(
        np.quantile(objects.dec[chosen], np.linspace(0, 1, _STRIPS + 1)[1:-1]), objects.dec[chosen]
    )
    index = chosen[np.lexsort((objects.ra[chosen], strip))]
    tile = np.arange(len(index)) // _OBJECTS_PER_PLATE
    n_tiles = int(tile[-1]) + 1
    numbers = np.sort(rng.choice(np.arange(266, 2974), n_tiles, replace=False))
    late = rng.choice(n_tiles, max(round(n_tiles * _LATE_PLATE_SHARE), 1), replace=False)
    numbers[late] = rng.choice(np.arange(8192, 12548), len(late), replace=False)
    days = np.where(numbers >= 8192, 57000 + (numbers - 8192) // 3, 51608 + numbers)
    slot = np.arange(len(index)) % _OBJECTS_PER_PLATE
    fiber = 1 + slot * 8 + rng.integers(0, 8, len(index))
    first = _fibres(index, numbers[tile], days[tile], fiber, primary=True)
    again = np.sort(rng.choice(len(index), round(len(index) * _REPEAT_SHARE), replace=False))
    # A repeat is the same plate and fibre on a later night.
    repeat = _fibres(index[again], numbers[tile][again], days[tile][again] + 20, fiber[again], primary=False)
    pairs = ((getattr(first, name), getattr(repeat, name)) for name in _Fibres.__dataclass_fields__)
    return _Fibres(*(np.concatenate(pair) for pair in pairs))


def _fibres(
    index: NDArray[np.int64],
    plate: NDArray[np.int64],
    mjd: NDArray[np.int64],
    fiber: NDArray[np.int64],
    *,
    primary: bool,
) -> _Fibres:
    run2d = np.where(plate >= 8192, _EBOSS_RUN2D, _LEGACY_RUN2D)
    return _Fibres(index, plate, mjd, fiber, run2d, np.full(len(index), primary))


def _measurements(
    objects: Objects, shapes: Shapes, index: NDArray[np.int64], rng: np.random.Generator
) -> dict[str, Any]:
    """Measure redshift and velocity dispersion, with the errors that the brightness allows."""
    n = len(index)
    r = 22.5 - 2.5 * np.log10(np.clip(objects.flux[index, 2], 0.05, None))
    is_galaxy = objects.kind[index] == GALAXY
    is_quasar = objects.kind[index] == QSO
    early = shapes.early[index]
    z_err = 8e-6 * 10 ** (0.16 * (r - 17)) * np.exp(rng.normal(0, 0.3, n)) * np.where(is_quasar, 30, 1)
    warned = rng.random(n) < 0.025
    z_err = np.where(warned, z_err * 10, z_err)
    # Faber & Jackson (1976): dispersion as the fourth root of the luminosity; late types rotate instead.
    log_sigma = 2.30 - 0.1 * (shapes.abs_mag_r[index] + 22.0) - 0.15 * (1 - early) + rng.normal(0, 0.07, n)
    sigma = np.clip(10**log_sigma, 40, 450)
    relative = 0.045 * 10 ** (0.17 * (r - 17)) * (1 + 1.2 * (1 - early)) * np.exp(rng.normal(0, 0.3, n))
    unfit = ~is_galaxy | (rng.random(n) < 0.03)
    signal = 25 * 10 ** (-0.2 * (r - 17)) * np.exp(rng.normal(0, 0.15, n))
    subclass = np.where(is_galaxy & (early < 0.3) & (rng.random(n) < 0.6), "STARFORMING", "")
    subclass = np.where(is_quasar, "BROADLINE", np.where(is_galaxy, subclass, "K3"))
    warning = np.where(warned, rng.choice([4, 16, 128], n), 0)
    z = (objects.z[index] + rng.normal(0, 1, n) * 0.3 * z_err).astype(np.float32)
    return {
        "subClass": subclass,
        "zOffset": np.zeros(n, dtype=np.float32),
        "z": z,
        "zErr": z_err.astype(np.float32),
        "zWarning": warning.astype(np.int32),
        "z_noqso": np.where(is_quasar, 0, z).astype(np.float32),
        "zErr_noqso": z_err.astype(np.float32),
        "zWarning_noqso": warning.astype(np.int32),
        "rChi2": rng.normal(1.0, 0.08, n).astype(np.float32),
        "velDisp": np.where(unfit, 0, sigma).astype(np.float32),
        "velDispErr": np.where(unfit, 0, sigma * relative).astype(np.float32),
        "snMedian": signal.astype(np.float32),
        "snMedian_r": (signal * 1.2).astype(np.float32),
    }
