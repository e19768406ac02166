from dataclasses import replace

import numpy as np
import pytest
from emri_sources import SOURCE
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sources.emri.evolution import evolve
from pipeline.sources.emri.expected import expected_snr, luminosity_distance_gpc
from pipeline.sources.emri.harmonics import POWER_LEFT_OUT, amplitudes, enhancement, how_many, power
from pipeline.sources.emri.kludge import on_axes, orientation, strain
from pipeline.sources.emri.tianqin import polarisation_axes, respond
from pipeline.sources.emri.whitening import optimal_snr, whiten
from schemas.errors import ModelError
from schemas.imaging import EMRI_SAMPLES, EMRI_STEP_S

FEW = 8_192
angles = st.floats(0.1, 3.0)


@pytest.mark.parametrize("e", [0.0, 0.1, 0.3, 0.5, 0.7])
def test_the_powers_of_all_harmonics_add_up_to_peters_and_mathews_sum(e):
    assert sum(power(n, e) for n in range(1, 200)) == pytest.approx(enhancement(e), rel=1e-9)
    taken = sum(power(n, e) for n in range(1, how_many(e) + 1))
    assert taken == pytest.approx(enhancement(e), rel=1.01 * POWER_LEFT_OUT)


def test_a_circle_radiates_at_twice_its_frequency_only():
    assert [power(n, 0.0) for n in (1, 2, 3, 4)] == pytest.approx([0, 1, 0, 0])


def moving_body(source, e, mean_anomaly):
    """Return the second time derivative of x_i x_j ``(3, 3, k)`` of a Kepler orbit of unit size and mass."""
    anomaly = mean_anomaly + e * np.sin(mean_anomaly)
    for _ in range(50):
        anomaly -= (anomaly - e * np.sin(anomaly) - mean_anomaly) / (1 - e * np.cos(anomaly))
    s = source.spin_axis
    v = np.cross(s, [0, 0, 1.0])
    v /= np.linalg.norm(v)
    tilt = np.cos(source.alpha_rad) * np.cross(v, s) + np.sin(source.alpha_rad) * v
    axis = np.cos(source.iota_rad) * s + np.sin(source.iota_rad) * tilt
    node = np.cross(axis, s) / np.linalg.norm(np.cross(axis, s))
    other = np.cross(axis, node)
    towards = np.cos(source.gamma_rad) * node + np.sin(source.gamma_rad) * other
    across = np.cross(axis, towards)
    side = np.sqrt(1 - e**2)
    x = np.outer(towards, np.cos(anomaly) - e) + np.outer(across, side * np.sin(anomaly))
    speed = (np.outer(towards, -np.sin(anomaly)) + np.outer(across, side * np.cos(anomaly))) / (
        1 - e * np.cos(anomaly)
    )
    pull = -x / np.linalg.norm(x, axis=0) ** 3
    pairs = 2 * speed[:, None] * speed[None] + x[:, None] * pull[None] + pull[:, None] * x[None]
    return axis, pairs


@settings(max_examples=20)
@given(
    st.floats(0.0, 0.6),
    *[angles] * 4,
    st.floats(0, 6.2),
    st.floats(0, 6.2),
    st.floats(0, 6.2),
    st.floats(0, 6.2),
)
def test_a_frozen_orbit_radiates_the_quadrupole_of_the_moving_body(
    e, iota, theta_s, theta_k, phi_s, phi_k, gamma, alpha, phase
):
    source = replace(
        SOURCE,
        iota_rad=iota,
        theta_s_rad=theta_s,
        phi_s_rad=phi_s,
        theta_k_rad=theta_k,
        phi_k_rad=phi_k + 6.2 - theta_s,
        gamma_rad=gamma,
        alpha_rad=alpha,
    )
    phi = phase + np.linspace(0, 6, 9)
    axis, pairs = moving_body(source, e, phi)
    p, q = polarisation_axes(source.direction, source.spin_axis)
    plus = np.einsum("i,j,ijk", p, p, pairs) - np.einsum("i,j,ijk", q, q, pairs)
    cross = 2 * np.einsum("i,j,ijk", p, q, pairs)
    a, b, c = np.zeros((3, 9))
    for n in range(1, 90):
        parts = amplitudes(n, np.full(9, e))
        a, b, c = (
            a + parts[0] * np.cos(n * phi),
            b + parts[1] * np.sin(n * phi),
            c + parts[2] * np.cos(n * phi),
        )
    view = orientation(source, np.full(9, source.gamma_rad), np.full(9, source.alpha_rad))
    wave = on_axes(view, a, b, c)
    assert view.towards == pytest.approx(np.full(9, axis @ source.direction), abs=1e-9)
    assert wave.real == pytest.approx(plus, abs=1e-3)
    assert wave.imag == pytest.approx(cross, abs=1e-3)


def test_a_source_in_the_opposite_direction_is_the_mirror_image_and_sounds_the_same():
    # At the ecliptic's poles the Earth's motion is across the line of sight: no Doppler shift tells them apart.
    north = replace(SOURCE, theta_s_rad=0.0)
    south = replace(SOURCE, theta_s_rad=np.pi)
    one, two = strain(north, samples=FEW), strain(south, samples=FEW)
    assert two == pytest.approx(np.stack([one[0], -one[1]]), abs=1e-6 * np.abs(one).max())
    time = np.arange(FEW) * EMRI_STEP_S
    heard = [
        respond(wave, time, source=s.direction, spin=s.spin_axis) for wave, s in ((one, north), (two, south))
    ]
    assert heard[1] == pytest.approx(heard[0], abs=1e-6 * np.abs(one).max())


def test_turning_the_pericentre_or_the_phase_by_a_circle_changes_nothing():
    wave = strain(SOURCE, samples=FEW)
    for turned in (
        replace(SOURCE, gamma_rad=SOURCE.gamma_rad + np.pi),
        replace(SOURCE, phase_rad=SOURCE.phase_rad + 2 * np.pi, alpha_rad=SOURCE.alpha_rad - 2 * np.pi),
    ):
        assert strain(turned, samples=FEW) == pytest.approx(wave, abs=1e-5 * np.abs(wave).max())
    half = strain(replace(SOURCE, phase_rad=SOURCE.phase_rad + np.pi), samples=FEW)
    assert np.abs(half - wave).max() > 0.1 * np.abs(wave).max()  # odd harmonics


def test_the_wave_falls_with_distance_and_grows_with_the_compact_objects_mass():
    near, far = (strain(SOURCE, distance_gpc=d, samples=FEW) for d in (0.5, 2.0))
    assert near == pytest.approx(4 * far)
    assert optimal_snr(whiten(near)) == pytest.approx(4 * optimal_snr(whiten(far)))
    light = strain(replace(SOURCE, mu_solar=1e-2), samples=FEW)
    assert np.std(light) == pytest.approx(np.std(strain(SOURCE, samples=FEW)) / 1000, rel=0.02)


def test_a_face_on_circular_orbit_has_the_textbook_amplitude():
    source = replace(
        SOURCE,
        spin=0.0,
        e0=0.0,
        iota_rad=0.0,
        theta_s_rad=0.5,
        phi_s_rad=4.0,
        theta_k_rad=0.501,
        mu_solar=1e-2,
    )
    plus, cross = strain(source, samples=FEW)
    # 4 (mu / D) (M omega)^(2/3), with (M omega)^(2/3) = 1 / p for a circle
    expected = 4 * source.mu_s / 1.029271e17 / source.p0
    assert np.hypot(plus, cross) == pytest.approx(np.full(FEW, expected), rel=1e-3)


def test_nothing_is_heard_after_the_plunge():
    source = replace(SOURCE, mass_solar=3e5, p0=7.2, e0=0.2)
    end = evolve(source, 1e7)
    wave = strain(source, samples=65_536)
    assert end.plunges and end.end_s < 1.9e6
    assert np.abs(wave[:, int(end.end_s / EMRI_STEP_S) + 40 :]).max() == 0
    assert np.abs(wave[:, : int(end.end_s / EMRI_STEP_S) - 200]).std() > 0


def test_harmonics_above_the_nyquist_frequency_are_left_out_instead_of_folded_back():
    source = replace(SOURCE, mass_solar=1e5, p0=12.0, e0=0.5)
    coarse = strain(source, samples=FEW)[0]
    fine = strain(source, samples=2 * FEW, step_s=EMRI_STEP_S / 2)[0]
    assert np.std(fine) > 1.2 * np.std(coarse)  # there is something to fold
    # The Hann window keeps what is near the Nyquist frequency out of the bins compared.
    kept = int(0.85 * FEW / 2)
    spectra = [np.fft.rfft(h * np.hanning(h.size))[:kept] * dt for h, dt in ((coarse, 30.0), (fine, 15.0))]
    assert np.linalg.norm(spectra[0] - spectra[1]) < 0.02 * np.linalg.norm(spectra[1])


def test_the_number_of_samples_must_fit_the_blocks():
    with pytest.raises(ModelError, match="multiple of 256"):
        strain(SOURCE, samples=1000)


def test_a_source_at_no_distance_has_no_expected_snr():
    with pytest.raises(ModelError, match="redshift above 0"):
        expected_snr(replace(SOURCE, z=0.0))


@pytest.mark.parametrize(("mass", "size", "e"), [(1e6, 8.5, 0.2), (1e5, 22.0, 0.5)])
def test_the_expected_snr_is_that_of_the_waveform(mass, size, e):
    source = replace(SOURCE, mass_solar=mass, p0=size, e0=e)
    wave = strain(source, distance_gpc=luminosity_distance_gpc(source.z))
    heard = respond(
        wave, np.arange(EMRI_SAMPLES) * EMRI_STEP_S, source=source.direction, spin=source.spin_axis
    )
    assert expected_snr(source) == pytest.approx(optimal_snr(whiten(heard)), rel=0.03)
