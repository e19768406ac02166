"""Inspirals at full size: the package's waveforms beside ours, and the population that takes many draws."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
from emri_sources import SOURCE

from pipeline.sources.emri import aak, kludge
from pipeline.sources.emri.evolution import before_plunge
from pipeline.sources.emri.expected import expected_snr
from pipeline.sources.emri.m12 import LEAST_SNR, SPIN, loudest_snr
from pipeline.sources.emri.populations import MASSES, REDSHIFTS, WINDOW_S, group, training
from pipeline.sources.emri.waveforms import signal
from pipeline.sources.emri.whitening import optimal_snr
from schemas.errors import ModelError
from schemas.imaging import EMRI_SAMPLES

WIDE = replace(SOURCE, mass_solar=1e4, spin=0.2, p0=3000.0)


# Looked for, not imported: `aak` has its own way to import it.
needs_package = pytest.mark.skipif(importlib.util.find_spec("few") is None, reason=aak.INSTALL)


def overlap(one, two):
    return np.sum(one * two) / np.sqrt(np.sum(one**2) * np.sum(two**2))


@needs_package
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"e0": 0.5, "p0": 10_000.0, "iota_rad": 2.0, "theta_s_rad": 2.0, "phi_k_rad": 0.2},
        {"mass_solar": 1e6, "p0": 1000.0, "spin": 0.9},
    ],
)
def test_far_from_the_hole_both_kludges_are_the_same_wave(change):
    source = replace(WIDE, **change)
    ours, theirs = kludge.strain(source, samples=16_384), aak.strain(source, samples=16_384)
    assert overlap(ours, theirs) > 0.99
    assert np.std(ours, axis=1) == pytest.approx(np.std(theirs, axis=1), rel=0.02)


@needs_package
def test_near_the_hole_the_augmented_kludge_is_as_loud_within_a_factor_and_sampled_alike():
    row = next(row for row in group(3, 1, 3).to_pylist() if row["label"])
    found = signal(row)
    assert found.shape == (2, EMRI_SAMPLES) and found.dtype == np.float32
    assert optimal_snr(found) == pytest.approx(row["snr"], rel=1e-5)
    # The same orbit by the other kludge is another wave: phases drift apart within days.
    assert abs(overlap(found, signal({**row, "waveform": "AK"}))) < 0.5


@needs_package
def test_an_orbit_the_package_refuses_is_told_as_a_fault_of_the_model():
    with pytest.raises(ModelError, match="fastemriwaveforms refuses"):
        aak.strain(replace(WIDE, spin=0.0, p0=5.0))


def test_every_signal_of_a_training_table_can_be_made():
    for row in training(12, 9, noise_share=0.0).to_pylist():
        found = signal(row)
        assert np.isfinite(found).all()
        assert optimal_snr(found) == pytest.approx(row["snr"], rel=1e-4)


def test_group_5_covers_mass_and_redshift_at_the_highest_spin():
    rows = group(5, 1, 1).to_pylist()
    assert {(row["mass_solar"], row["z"]) for row in rows} == {(m, z) for m in MASSES for z in REDSHIFTS}
    assert {row["spin"] for row in rows} == {0.98} and all(row["snr"] > 0 for row in rows)
    loudest = max(rows, key=lambda row: row["snr"])
    assert 1e5 <= loudest["mass_solar"] <= 3e6 and loudest["z"] == 0.1


def test_group_7_has_three_masses_and_three_spins_over_redshift():
    rows = group(7, 2, 1).to_pylist()
    assert len(rows) == 18 and len({(row["mass_solar"], row["spin"]) for row in rows}) == 9
    assert np.ptp([row["z"] for row in rows]) > 0.3


def test_group_2_is_loud_and_spins_fast():
    signals = [row for row in group(2, 2, 1).to_pylist() if row["label"]]
    assert len(signals) == 2
    assert all(row["snr"] > LEAST_SNR and row["spin"] == SPIN for row in signals)


def test_no_inspiral_of_group_2_is_louder_than_the_bound_it_is_drawn_by():
    random = np.random.default_rng(8)
    nearest = 0.0
    for _ in range(60):
        mass, z = 10 ** random.uniform(4, 7), random.uniform(0.05, 0.6)
        angles = [float(np.arccos(random.uniform(-1, 1))) for _ in range(3)]
        source = replace(
            WIDE,
            mass_solar=mass,
            spin=SPIN,
            z=z,
            iota_rad=angles[0],
            theta_s_rad=angles[1],
            theta_k_rad=angles[2],
        )
        try:
            e0, p0 = before_plunge(source, random.uniform(0, 0.2), random.uniform(0.5, 1.5) * WINDOW_S)
            found = expected_snr(replace(source, e0=e0, p0=p0))
        except ModelError:
            continue
        nearest = max(nearest, found / loudest_snr(mass, z, source.cutoff))
    assert 0.3 < nearest < 1
