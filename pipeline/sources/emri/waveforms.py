"""One row of the cube: the whitened, noise-free signal of one row of a table."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.emri import aak, kludge
from pipeline.sources.emri.evolution import evolve, frequency_hz, last_stable_size
from pipeline.sources.emri.source import WAVEFORMS, Source
from pipeline.sources.emri.tianqin import respond
from pipeline.sources.emri.whitening import NYQUIST_HZ, rescale, whiten
from schemas.errors import ModelError
from schemas.imaging import EMRI_SAMPLES, EMRI_STEP_S

CHANNELS = 2
LARGEST_SNR = 1e4
AAK_DISTANCE = 0.3
"""How far outside the last stable orbit an AAK waveform must begin: the package's 0.1, and room for what an inclined
orbit's last stable one differs from `last_stable_size`; decided here."""


def fault(parameters: Mapping[str, Any]) -> str | None:
    """Return why a row cannot be made into a signal, or none. Takes milliseconds.

    Parameters
    ----------
    parameters : Mapping
        A row of a table of `populations`.
    """
    try:
        snr = float(parameters["snr"])
    except (KeyError, TypeError, ValueError):
        return f"snr = {parameters.get('snr')!r}, expected a number, 0 for no signal"
    if not 0 <= snr <= LARGEST_SNR:
        return f"snr = {snr:g}, expected 0 to {LARGEST_SNR:g}"
    if snr == 0:
        return None
    if parameters.get("waveform") not in WAVEFORMS:
        return f"waveform = {parameters.get('waveform')!r}, expected one of {', '.join(WAVEFORMS)}"
    try:
        source = Source.of(parameters)
        return source.fault() or _orbit_fault(source, str(parameters["waveform"]))
    except ModelError as error:
        return error.message


def _orbit_fault(source: Source, waveform: str) -> str | None:
    if 2 * frequency_hz(source, source.p0, source.e0) > NYQUIST_HZ:
        return (
            f"even the second harmonic begins above {NYQUIST_HZ * 1e3:.2f} mHz, the highest frequency sampled"
        )
    if waveform == "AK":
        evolve(source, EMRI_SAMPLES * EMRI_STEP_S)
        return None
    least = last_stable_size(replace(source, cutoff="kerr"), source.e0) + AAK_DISTANCE
    return (
        None if source.p0 > least else f"p0 = {source.p0:g}, expected above {least:.3f} for an AAK waveform"
    )


def signal(parameters: Mapping[str, Any], *, samples: int = EMRI_SAMPLES) -> NDArray[np.float32]:
    """Return a row's noise-free whitened signal in channels I and II, ``(2, samples)``; zeros where ``snr`` is 0.

    The sum of its squares is the square of ``snr``; unit Gaussian noise is added when it is read.

    Parameters
    ----------
    parameters : Mapping
        A row of a table of `populations`.
    samples : int
        How many of a channel, a multiple of 256; a shorter window is as loud as ``snr`` says, too.

    Raises
    ------
    ModelError
        The parameters are outside the waveform's validity; the message is that of `fault`.
    """
    wrong = fault(parameters)
    if wrong is not None:
        raise ModelError(f"no waveform: {wrong}", "leave this row out, or mend its parameters")
    if float(parameters["snr"]) == 0:
        return np.zeros((CHANNELS, samples), np.float32)
    source = Source.of(parameters)
    make = aak.strain if parameters["waveform"] == "AAK" else kludge.strain
    time = np.arange(samples, dtype=np.float64) * EMRI_STEP_S
    channels = respond(make(source, samples=samples), time, source=source.direction, spin=source.spin_axis)
    return rescale(whiten(channels), float(parameters["snr"])).astype(np.float32)
