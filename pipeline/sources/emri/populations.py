"""Tables of inspirals: what to train on, noise to set thresholds by, and the test groups of Zhang et al. 2022.

A row is a sample: its parameters, waveform, signal-to-noise ratio ``snr`` (0: noise only) and label. What the paper
(PRD 105, 123027) states is taken: the groups, SNR uniform in [50, 120] for training and group 1, a grid of 10 to
130 for group 4, mass at spin 0.98, spin at 10^6 solar masses, both at z of 0.1, 0.2 and 0.3. The rest is decided
here and said beside each constant. Groups 2, 5, 6 and 7 are as loud as their distance makes them (`expected_snr`).
The orbits of group 3, made for AK waveforms, are taken over as they are: its AAK waveforms plunge at other times.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.sources.emri import m12
from pipeline.sources.emri.evolution import before_plunge
from pipeline.sources.emri.expected import expected_snr
from pipeline.sources.emri.sky import equatorial_deg
from pipeline.sources.emri.source import CUTOFFS, Source
from pipeline.sources.emri.waveforms import fault
from schemas.errors import ModelError, PlanError
from schemas.imaging import EMRI_SAMPLES, EMRI_STEP_S

Row = dict[str, Any]
Law = Callable[[np.random.Generator], Mapping[str, Any]]

WINDOW_S = EMRI_SAMPLES * EMRI_STEP_S
LOUD = (50.0, 120.0)
SNR_GRID = tuple(range(10, 131, 10))
REDSHIFTS = (0.1, 0.2, 0.3)
MASSES = tuple(10 ** np.arange(4, 7.01, 0.25))
SPINS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.98)
GROUP_7_MASSES, GROUP_7_SPINS, GROUP_7_Z = (1e5, 1e6, 1e7), (0.0, 0.5, 0.98), (0.05, 1.0)
"""Of the paper's 1000 x 3 x 3 sources against z, that these are the two threes, and z uniform: decided here."""
MU_SOLAR = 10.0
PLUNGE_ECCENTRICITY = (0.0, 0.2)
"""Uniform in this range at the plunge (Babak et al. 2017, PRD 95, 103012; Fan et al. 2020, PRD 102, 063016)."""
TRAINING_MASS, TRAINING_SPIN, TRAINING_Z = (1e4, 1e7), (0.0, 0.98), (0.05, 0.5)
"""Mass uniform in its logarithm, spin and z uniform; decided here to cover groups 4 to 7."""
PLUNGE_S = (0.5 * WINDOW_S, 1.5 * WINDOW_S)
"""Time from the start of the window to the plunge, uniform; decided here: half of the inspirals end in the window."""
TRIES = 2000

SCHEMA = pa.schema(
    [("id", pa.uint64()), ("group", pa.int8()), ("ra", pa.float64()), ("dec", pa.float64())]
    + [(name, pa.float64()) for name in Source.__dataclass_fields__ if name != "cutoff"]
    + [("cutoff", pa.string()), ("waveform", pa.string()), ("snr", pa.float64()), ("label", pa.int8())]
)
"""Columns; ``ra`` and ``dec`` are the source's position [degree], in a noise-only row some position."""
_SILENT: Row = {
    **dict.fromkeys(name for name in Source.__dataclass_fields__ if name != "cutoff"),
    "cutoff": "",
    "waveform": "",
    "snr": 0.0,
    "label": 0,
}
_TURNS = ("phi_s", "phi_k", "phase", "gamma", "alpha")
_TILTS = ("theta_s", "theta_k", "iota")

TRAINING, NOISE = 0, 8
PAPER_SIZES = {1: 500, 2: 500, 3: 500, 4: 1000, 5: 1000, 6: 1000, 7: 1000}
"""Signals of each cell of a group in the paper; a cell is one SNR, or one mass or spin at one redshift."""


def training(size: int, seed: int, *, noise_share: float = 0.5) -> pa.Table:
    """Return a table of `size` samples for training, a share of them noise only, in random order.

    Parameters
    ----------
    size : int
        Rows in all.
    seed : int
        The same seed gives the same table.
    noise_share : float
        Share of rows without a signal.
    """
    random = np.random.default_rng([seed, TRAINING])
    quiet = round(size * noise_share)
    return _table([_inspiral(random, _loud) for _ in range(size - quiet)], quiet, random, TRAINING)


def noise(size: int, seed: int) -> pa.Table:
    """Return a table of noise-only samples: what thresholds of a false-alarm rate are set by, 10^4 at least."""
    return _table([], size, np.random.default_rng([seed, NOISE]), NOISE)


def group(number: int, size: int, seed: int, *, cutoff: str = "schwarzschild") -> pa.Table:
    """Return the table of a test group.

    Parameters
    ----------
    number : int
        1 uniform SNR, 2 astrophysical model M12, 3 AAK waveforms, against 4 SNR, 5 mass, 6 spin, 7 redshift.
    size : int
        Signals of each cell, see `PAPER_SIZES`. Groups 1 to 3 are one cell, and get as many noise-only rows.
    seed : int
        The same seed gives the same table.
    cutoff : str
        Where AK inspirals end, see `Source`.

    Raises
    ------
    PlanError
        There is no such group, the size is not positive, or no valid inspiral was found for a cell.
    """
    if number not in PAPER_SIZES or size < 1 or cutoff not in CUTOFFS:
        raise PlanError(
            f"expected a test group 1 to 7, a size of at least 1 and a cutoff of {', '.join(CUTOFFS)},"
            f" found {number}, {size} and {cutoff!r}",
            "mend the one that is out of range",
        )
    random = np.random.default_rng([seed, number])
    rows = [_inspiral(random, law, cutoff=cutoff) for law in _cells(number, cutoff) for _ in range(size)]
    return _table(rows, size if number <= 3 else 0, random, number)


def _cells(number: int, cutoff: str) -> list[Law]:
    """Return the laws that a group's cells are drawn by: what they fix, the rest is drawn as for training."""
    if number == 4:
        return [_at(float(snr)) for snr in SNR_GRID]
    if number == 5:
        return [_fixed(mass_solar=m, spin=0.98, z=z) for z in REDSHIFTS for m in MASSES]
    if number == 6:
        return [_fixed(mass_solar=1e6, spin=a, z=z) for z in REDSHIFTS for a in SPINS]
    if number == 7:
        return [_fixed(mass_solar=m, spin=a) for m in GROUP_7_MASSES for a in GROUP_7_SPINS]
    if number == 2:
        return [lambda random: m12.draw(random, cutoff)]
    return [_loud if number == 1 else _augmented]


def _loud(random: np.random.Generator) -> Row:
    return {
        "mass_solar": float(np.exp(random.uniform(*np.log(TRAINING_MASS)))),
        "spin": random.uniform(*TRAINING_SPIN),
        "z": random.uniform(*TRAINING_Z),
        "snr": random.uniform(*LOUD),
    }


def _at(snr: float) -> Law:
    return lambda random: {**_loud(random), "snr": snr}


def _augmented(random: np.random.Generator) -> Row:
    return {**_loud(random), "waveform": "AAK"}


def _fixed(**values: float) -> Law:
    """Return a law whose inspirals plunge at the window's end, as loud as their distance makes them."""
    return lambda random: {"z": random.uniform(*GROUP_7_Z), "plunge_s": WINDOW_S, **values}


def _inspiral(random: np.random.Generator, law: Law, *, cutoff: str = "schwarzschild") -> Row:
    """Draw until an inspiral is valid, and loud enough where its law asks for that."""
    for _ in range(TRIES):
        asked: Row = {"snr": None, "least_snr": 0.0, "waveform": "AK", "plunge_s": random.uniform(*PLUNGE_S)}
        asked.update(law(random))
        around = {f"{name}_rad": random.uniform(0, 2 * np.pi) for name in _TURNS}
        tilts = {f"{name}_rad": float(np.arccos(random.uniform(-1, 1))) for name in _TILTS}
        given = {name: asked[name] for name in ("mass_solar", "spin", "z")}
        source = Source(mu_solar=MU_SOLAR, e0=0.0, p0=0.0, cutoff=cutoff, **given, **around, **tilts)
        row = _orbiting(source, random.uniform(*PLUNGE_ECCENTRICITY), asked)
        if row is not None:
            return row
    raise PlanError(
        f"no valid inspiral among {TRIES} drawn ones, the last one with {given}",
        "choose another cutoff, or masses and spins of which inspirals end in TianQin's band",
    )


def _orbiting(source: Source, eccentricity: float, asked: Row) -> Row | None:
    """Return the row of a source once its orbit is that of its plunge's time, or none if it will not do."""
    try:
        e0, p0 = before_plunge(source, eccentricity, asked["plunge_s"])
    except ModelError:
        return None
    source = replace(source, e0=e0, p0=p0)
    row = {**asdict(source), "waveform": asked["waveform"], "snr": asked["snr"] or 1.0}
    if fault(row) is not None:
        return None
    if asked["snr"] is None:
        row["snr"] = expected_snr(source)
        if row["snr"] <= asked["least_snr"]:
            return None
    return row


def _table(rows: list[Row], quiet: int, random: np.random.Generator, number: int) -> pa.Table:
    """Return signals and `quiet` noise-only rows in random order, numbered."""
    for row in rows:
        row["ra"], row["dec"] = equatorial_deg(row["theta_s_rad"], row["phi_s_rad"])
        row["label"] = 1
    for _ in range(quiet):
        ra, dec = equatorial_deg(float(np.arccos(random.uniform(-1, 1))), random.uniform(0, 2 * np.pi))
        rows.append({**_SILENT, "ra": ra, "dec": dec})
    ordered = [rows[place] for place in random.permutation(len(rows))]
    for place, row in enumerate(ordered):
        row["id"], row["group"] = number * 10**9 + place, number
    return pa.Table.from_pylist(ordered, schema=SCHEMA)
