"""Signals as a source of images: what a row's columns are made into, and what is said of those that will not do."""

import math

import numpy as np
import pytest

from pipeline.sources.choice import requests_per_row, source_of
from pipeline.sources.signals import SignalSource
from pipeline.stages.compute_rows import compute_rows
from pipeline.stores.cube import BlockRows
from schemas.config import RunFile
from schemas.errors import StoreError
from schemas.flags import Status
from schemas.imaging import EMRI_COLUMNS

SAMPLES = 4096
SIGNAL = {
    **{"mass_solar": 1e6, "mu_solar": 10.0, "spin": 0.5, "e0": 0.1, "p0": 8.5, "iota_rad": 0.7, "z": 0.1},
    **{"theta_s_rad": 1.0, "phi_s_rad": 2.0, "theta_k_rad": 0.5, "phi_k_rad": 4.0, "phase_rad": 0.3},
    **{"gamma_rad": 0.6, "alpha_rad": 0.9, "cutoff": 0.0, "waveform": 0.0, "snr": 60.0},
}
NOISE = {**dict.fromkeys(SIGNAL, math.nan), "snr": 0.0}
SOURCE = SignalSource("http://sky", SAMPLES)


def a_block(*parameters: dict[str, float], samples: int = SAMPLES) -> BlockRows:
    rows = len(parameters)
    return BlockRows(
        *(np.zeros(rows),) * 3,
        image=np.full((rows, samples, 2), 7, "f4"),
        digest=np.zeros((rows, 16), "u1"),
        status=np.zeros(rows, "u1"),
        columns={name: np.array([row[name] for row in parameters]) for name in EMRI_COLUMNS},
    )


def test_a_run_s_signals_come_from_no_server():
    samples = {"a": {"sql": "SELECT id, ra, dec FROM t", "key": "id"}}
    run = RunFile.model_validate(
        {
            "schema": 1,
            "name": "a",
            "samples": samples,
            "training": {"sample": "a"},
            "images": {"source": "emri"},
        }
    )
    source = source_of(run, "http://sky")
    assert isinstance(source, SignalSource) and source.is_local and source.samples == 262_144
    assert source.addresses({"ra": 0.0, "dec": 0.0}) == () and requests_per_row(run.images) == 0


def test_signals_are_as_loud_as_their_rows_say_and_noise_is_silent():
    block = a_block(SIGNAL, NOISE, {**SIGNAL, "snr": 25.0})
    tally = compute_rows(block, [0, 1, 2], SOURCE)
    assert block.status.tolist() == [Status.OK] * 3 and not tally.details
    loudness = np.sqrt(np.sum(block.image.astype("f8") ** 2, axis=(1, 2)))
    assert loudness == pytest.approx([60, 0, 25], rel=1e-5)
    assert np.allclose(block.image[0] / 60, block.image[2] / 25, atol=1e-6)


def test_a_digest_is_that_of_the_parameters():
    block = a_block(SIGNAL, SIGNAL, {**SIGNAL, "spin": 0.4}, NOISE)
    compute_rows(block, [0, 1, 2, 3], SOURCE)
    kinds = {bytes(digest) for digest in block.digest}
    assert bytes(block.digest[0]) == bytes(block.digest[1]) and len(kinds) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"waveform": 7.0}, "waveform = '7 (0 is AK, 1 is AAK)'"),
        ({"waveform": math.nan}, "waveform = 'nan"),
        ({"cutoff": 2.0}, "cutoff = '2 (0 is schwarzschild, 1 is kerr)'"),
        ({"snr": math.nan}, "snr = nan"),
        ({"snr": -3.0}, "snr = -3, expected 0 to"),
        ({"mass_solar": math.nan}, "mass_solar not finite"),
        ({"e0": 0.97}, "e0 = 0.97, expected 0 to 0.9"),
        ({"p0": 2.0}, ""),
        ({"waveform": 1.0, "p0": 3.0}, "expected above"),
    ],
)
def test_parameters_outside_the_waveform_s_validity_are_a_row_with_a_status_and_words(change, words):
    block = a_block({**SIGNAL, **change}, SIGNAL)
    tally = compute_rows(block, [0, 1], SOURCE)
    assert block.status.tolist() == [Status.INVALID, Status.OK] and Status.INVALID.permanent
    assert words in tally.details[0] and tally.details[0].startswith("no waveform: ")
    assert np.isnan(block.image[0]).all() and not block.digest[0].any()
    assert tally.faults == {"invalid": 1}


def test_signals_of_another_length_are_refused_by_the_block():
    with pytest.raises(StoreError, match=r"\(8192, 2\) for this cube, found float32 \(4096, 2\)"):
        compute_rows(a_block(SIGNAL, samples=8192), [0], SOURCE)
