from dataclasses import replace

import numpy as np
import pytest
from emri_sources import SOURCE as BOUND
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sources.emri.evolution import (
    ALPHA,
    ECCENTRICITY,
    FREQUENCY,
    GAMMA,
    PHASE,
    before_plunge,
    evolve,
    frequency_hz,
    last_stable_size,
    orbit_size,
    rates,
)
from schemas.errors import ModelError

SOURCE = replace(BOUND, spin=0.0, e0=0.2, p0=9.0, z=0.0)
WIDE_HZ = frequency_hz(SOURCE, 1e6, 0.0)
"""Of an orbit so wide that the corrections to Newton and Peters are of one part in 10^5."""


def test_a_wide_circular_orbit_decays_as_peters_says():
    chirp_mass = (SOURCE.mu_s**3 * SOURCE.mass_s**2) ** 0.2
    peters = 96 / 5 * (2 * np.pi) ** (8 / 3) * chirp_mass ** (5 / 3) * WIDE_HZ ** (11 / 3)
    assert rates(SOURCE, WIDE_HZ, 0.0)[FREQUENCY] == pytest.approx(peters, rel=1e-4)
    assert rates(SOURCE, WIDE_HZ, 0.0)[ECCENTRICITY] == 0


@given(st.floats(0.01, 0.8))
def test_a_wide_eccentric_orbit_shrinks_and_rounds_as_peters_says(e):
    """Peters 1964 (Phys. Rev. 136, B1224), equations 5.6 and 5.7, for a compact object of little mass."""
    nu = WIDE_HZ * (1 - e**2) ** 1.5
    size = (SOURCE.mass_s / (2 * np.pi * nu) ** 2) ** (1 / 3)
    pull = SOURCE.mu_s * SOURCE.mass_s**2
    shrink = -64 / 5 * pull / size**3 / (1 - e**2) ** 3.5 * (1 + 73 / 24 * e**2 + 37 / 96 * e**4)
    rounding = -304 / 15 * e * pull / size**4 / (1 - e**2) ** 2.5 * (1 + 121 / 304 * e**2)
    found = rates(SOURCE, nu, e)
    assert found[FREQUENCY] == pytest.approx(-1.5 * nu / size * shrink, rel=1e-3)
    assert found[ECCENTRICITY] == pytest.approx(rounding, rel=1e-3)


def test_the_pericentre_advances_as_mercurys_and_the_plane_as_lense_and_thirring_say():
    source = replace(SOURCE, spin=0.5, iota_rad=np.pi / 2)
    size, e = 1e4, 0.3
    nu = frequency_hz(source, size, e)
    found = rates(source, nu, e)
    assert found[GAMMA] / nu == pytest.approx(6 * np.pi / size, rel=1e-3)
    axis = size * source.mass_s / (1 - e**2)
    assert found[ALPHA] == pytest.approx(
        2 * source.spin * source.mass_s**2 / (axis**3 * (1 - e**2) ** 1.5), rel=1e-9
    )
    assert found[PHASE] == 2 * np.pi * nu


def test_near_the_hole_the_correction_speeds_up_the_decay_and_a_spin_along_the_orbit_slows_it():
    nu = frequency_hz(SOURCE, 8.0, 0.1)
    plain, spun, against = (
        rates(replace(SOURCE, spin=a, iota_rad=i), nu, 0.1)[FREQUENCY]
        for a, i in ((0.0, 0.0), (0.9, 0.0), (0.9, np.pi))
    )
    assert spun < plain < against
    assert against - plain == pytest.approx(plain - spun, rel=1e-6)


@given(st.floats(7.5, 40), st.floats(0, 0.7))
def test_size_and_frequency_are_each_others_inverse(size, e):
    assert orbit_size(SOURCE, frequency_hz(SOURCE, size, e), e) == pytest.approx(size)


@settings(max_examples=15)
@given(st.floats(5, 6.9), st.floats(0, 0.95), st.floats(0, np.pi), st.floats(0, 0.2), st.floats(1e5, 1.5e7))
def test_an_orbit_traced_back_from_its_plunge_plunges_then(log_mass, spin, iota, e, plunge_s):
    source = replace(SOURCE, mass_solar=10**log_mass, spin=spin, iota_rad=iota)
    e0, p0 = before_plunge(source, e, plunge_s)
    inspiral = evolve(replace(source, e0=e0, p0=p0), 1.1 * plunge_s)
    assert inspiral.plunges
    assert inspiral.end_s == pytest.approx(plunge_s, rel=1e-5)
    assert inspiral.at(np.array([inspiral.end_s]))[ECCENTRICITY, 0] == pytest.approx(e, abs=1e-5)
    assert e0 >= e and p0 > 6


def test_phase_is_the_integral_of_frequency():
    inspiral = evolve(SOURCE, 1e6)
    time = np.linspace(0, 1e6, 4001)
    orbit = inspiral.at(time)
    cycles = np.trapezoid(orbit[FREQUENCY], time)
    assert (orbit[PHASE, -1] - orbit[PHASE, 0]) / (2 * np.pi) == pytest.approx(cycles, rel=1e-8)
    assert not inspiral.plunges and inspiral.end_s == 1e6
    assert (np.diff(orbit[FREQUENCY]) > 0).all() and (np.diff(orbit[ECCENTRICITY]) < 0).all()


@pytest.mark.parametrize(
    ("spin", "iota", "size"),
    # Bardeen, Press & Teukolsky 1972, equation 2.21
    [(0.0, 0.0, 6.0), (0.5, 0.0, 4.2330), (0.98, 0.0, 1.6140), (0.98, np.pi, 8.9437), (0.5, np.pi, 7.5546)],
)
def test_about_a_kerr_hole_circles_end_at_the_known_last_stable_orbit(spin, iota, size):
    source = replace(SOURCE, spin=spin, iota_rad=iota, cutoff="kerr")
    assert last_stable_size(source, 0.0) == pytest.approx(size, abs=2e-4)


@given(st.floats(0, 0.7), st.floats(0, 0.95))
def test_a_last_stable_orbit_is_nearer_the_more_the_hole_turns_with_it(e, spin):
    still, along, against = (
        last_stable_size(replace(SOURCE, spin=a, iota_rad=i, cutoff="kerr"), e)
        for a, i in ((0.0, 0.0), (spin, 0.0), (spin, np.pi))
    )
    assert still == pytest.approx(6 + 2 * e, abs=1e-4)
    assert along <= still + 1e-4 and still <= against + 1e-4
    assert last_stable_size(SOURCE, e) == 6 + 2 * e


def test_an_orbit_inside_the_last_stable_one_is_refused_with_its_numbers():
    with pytest.raises(ModelError, match=r"p > 6.400 at e = 0.200, found p0 = 6.3"):
        evolve(replace(SOURCE, p0=6.3), 1e6)


def test_an_orbit_that_the_equations_would_widen_is_refused():
    source = replace(SOURCE, spin=0.99, iota_rad=0.0, e0=0.85, p0=7.9, cutoff="kerr")
    with pytest.raises(ModelError, match="no longer decays"):
        evolve(source, 1e7)
