from dataclasses import replace

import numpy as np
import pytest

from pipeline.sources.emri.evolution import before_plunge
from pipeline.sources.emri.expected import expected_snr
from pipeline.sources.emri.m12 import FURTHEST_Z
from pipeline.sources.emri.populations import (
    REDSHIFTS,
    SCHEMA,
    SNR_GRID,
    SPINS,
    WINDOW_S,
    group,
    noise,
    training,
)
from pipeline.sources.emri.source import Source
from pipeline.sources.emri.tianqin import POINTING
from pipeline.sources.emri.waveforms import fault
from schemas.errors import PlanError


def columns(table):
    return {name: np.array(table.column(name).to_pylist()) for name in table.column_names}


def test_a_training_table_has_valid_signals_of_the_stated_loudness_and_as_many_silent_rows():
    table = training(12, 1)
    found = columns(table)
    assert table.schema == SCHEMA
    assert sorted(found["label"].tolist()) == [0] * 6 + [1] * 6
    assert ((found["snr"] > 0) == (found["label"] == 1)).all()
    loud = found["snr"][found["label"] == 1]
    assert loud.min() >= 50 and loud.max() <= 120 and loud.std() > 10
    assert [fault(row) for row in table.to_pylist()] == [None] * 12
    assert np.isfinite(found["ra"]).all() and (np.abs(found["dec"]) <= 90).all()
    assert len(set(found["id"].tolist())) == 12
    assert np.abs(np.diff(found["label"])).sum() > 1  # mixed


def test_the_same_seed_gives_the_same_table_and_another_seed_another():
    assert training(6, 1).equals(training(6, 1))
    assert not training(6, 1).equals(training(6, 2))


def test_noise_tables_have_no_signal_and_do_not_share_ids_with_groups():
    quiet, first = columns(noise(50, 1)), columns(group(1, 5, 1))
    assert not quiet["snr"].any() and not quiet["label"].any()
    assert not set(quiet["id"].tolist()) & set(first["id"].tolist())
    assert sorted(first["label"].tolist()) == [0] * 5 + [1] * 5


def test_group_4_has_its_grid_of_loudness():
    found = columns(group(4, 1, 1))
    assert sorted(found["snr"].tolist()) == sorted([float(s) for s in SNR_GRID])
    assert found["label"].all()


def test_group_6_covers_spin_and_redshift_as_loud_as_the_distance_makes_it():
    table = group(6, 1, 3)
    found = columns(table)
    cells = set(zip(found["spin"].tolist(), found["z"].tolist(), strict=True))
    assert cells == {(spin, z) for spin in SPINS for z in REDSHIFTS}
    assert (found["mass_solar"] == 1e6).all()
    near, far = (found["snr"][found["z"] == z] for z in (0.1, 0.3))
    assert np.median(near) > 1.5 * np.median(far)
    row = table.to_pylist()[0]
    assert row["snr"] == pytest.approx(expected_snr(Source.of(row)))


def test_group_3_asks_for_the_augmented_waveform():
    table = group(3, 2, 1)
    assert [row["waveform"] for row in table.to_pylist() if row["label"]] == ["AAK", "AAK"]


@pytest.mark.parametrize("mass", [1e5, 10**5.5, 1e6])
@pytest.mark.parametrize("e", [0.0, 0.2])
def test_from_the_end_of_group_2_even_the_best_placed_source_is_not_loud_enough(mass, e):
    theta, phi = POINTING
    source = Source(
        mass_solar=mass,
        mu_solar=10.0,
        spin=0.98,
        e0=0.0,
        p0=0.0,
        iota_rad=np.pi - 0.01,
        theta_s_rad=theta,
        phi_s_rad=phi,
        theta_k_rad=theta + 0.02,
        phi_k_rad=phi,
        phase_rad=0.0,
        gamma_rad=0.0,
        alpha_rad=0.0,
        z=FURTHEST_Z["schwarzschild"],
    )
    e0, p0 = before_plunge(source, e, WINDOW_S)
    assert 10 < expected_snr(replace(source, e0=e0, p0=p0)) < 50


@pytest.mark.parametrize(("number", "size"), [(0, 5), (8, 5), (4, 0)])
def test_a_group_that_is_not_there_is_refused(number, size):
    with pytest.raises(PlanError, match="test group 1 to 7"):
        group(number, size, 1)
