import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import BarycentricMeanEcliptic, SkyCoord
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.emri import tianqin
from pipeline.sources.emri.sky import equatorial_deg

colatitudes = st.floats(0.05, np.pi - 0.05)
longitudes = st.floats(0, 2 * np.pi)


def meridian_axes(theta, phi):
    """Return the unit vectors towards growing colatitude and growing longitude."""
    south = tianqin.unit_vector(theta + np.pi / 2, phi)
    return south, np.array([-np.sin(phi), np.cos(phi), 0.0])


def test_the_noise_at_10_mhz_is_what_its_two_parts_give_by_hand():
    # (4 * 1.01e-30 / (0.02 pi)^4 + 1e-24) / 3e16
    assert tianqin.strain_psd(np.array([0.01]))[0] == pytest.approx(4.1974e-41, rel=1e-4)
    transfer_hz = float(tianqin.TRANSFER_HZ)
    assert transfer_hz == pytest.approx(0.27548, rel=1e-4)


def test_the_sky_averaged_curve_is_20_thirds_of_the_noise_at_low_frequency():
    frequency = np.array([1e-4, 1e-3])
    ratio = tianqin.sky_averaged_psd(frequency) / tianqin.strain_psd(frequency)
    assert ratio == pytest.approx([20 / 3, 20 / 3], rel=1e-4)
    assert tianqin.sky_averaged_psd(np.array([tianqin.TRANSFER_HZ])) == pytest.approx(
        20 / 3 * 1.6 * tianqin.strain_psd(np.array([tianqin.TRANSFER_HZ]))
    )


def test_it_faces_rx_j0806_3_1527():
    star = SkyCoord("08h06m23.2s +15d27m30s").transform_to(BarycentricMeanEcliptic())
    colatitude, longitude = tianqin.POINTING
    assert np.degrees(longitude) == pytest.approx(star.lon.deg, abs=0.02)
    assert 90 - np.degrees(colatitude) == pytest.approx(star.lat.deg, abs=0.02)


def test_the_mean_square_of_each_pattern_over_the_sky_is_3_twentieths():
    random = np.random.default_rng(3)
    squares = []
    for _ in range(800):
        source, spin = (v / np.linalg.norm(v) for v in random.standard_normal((2, 3)))
        squares.append(np.square(tianqin.patterns(*tianqin.polarisation_axes(source, spin))))
    assert np.mean(squares, axis=0) == pytest.approx(np.full((2, 2), 3 / 20), abs=0.015)


@given(colatitudes, longitudes)
def test_both_channels_together_hear_what_the_published_response_has_as_its_amplitude(theta, phi):
    """Hu et al. 2018 (CQG 35, 095008) write F+ = D+ / 2 with its orbit's phase kappa in cos and sin of 2 kappa."""
    theta_j, phi_j = tianqin.POINTING
    off = phi - phi_j
    cosine = 8 * (
        (3 + np.cos(2 * theta)) * np.sin(2 * off) * np.cos(theta_j)
        + 2 * np.sin(theta_j) * np.sin(off) * np.sin(2 * theta)
    )
    sine = -2 * (
        3
        + np.cos(2 * off) * (9 + np.cos(2 * theta) * (3 + np.cos(2 * theta_j)))
        - 6 * np.cos(2 * theta_j) * np.sin(off) ** 2
        - 6 * np.cos(2 * theta) * np.sin(theta_j) ** 2
        + 4 * np.cos(off) * np.sin(2 * theta_j) * np.sin(2 * theta)
    )
    plus, _ = tianqin.patterns(*meridian_axes(theta, phi))
    assert np.hypot(*plus) == pytest.approx(np.sqrt(3) / 64 * np.hypot(cosine, sine), abs=1e-9)


def test_a_source_it_faces_is_heard_best_and_one_at_its_edge_half_as_well():
    theta, phi = tianqin.POINTING
    plus, cross = tianqin.patterns(*meridian_axes(theta, phi))
    assert np.hypot(*plus) == pytest.approx(np.sqrt(3) / 2)
    assert np.hypot(*cross) == pytest.approx(np.sqrt(3) / 2)
    plus, cross = tianqin.patterns(*meridian_axes(theta + np.pi / 2, phi))
    assert np.hypot(*plus) == pytest.approx(np.sqrt(3) / 4)
    assert np.hypot(*cross) == pytest.approx(0, abs=1e-9)


def test_a_steady_wave_comes_back_twice_an_orbit_and_the_second_channel_45_degrees_later():
    time = np.linspace(0, tianqin.ORBIT_S, 401)
    source, spin = tianqin.unit_vector(1.0, 2.0), tianqin.unit_vector(0.4, 5.0)
    one, two = tianqin.respond(np.stack([np.ones(401), np.zeros(401)]), time, source=source, spin=spin)
    assert one[200] == pytest.approx(one[0]) and one[100] == pytest.approx(-one[0])
    assert np.abs(np.roll(one[:-1], -50)) == pytest.approx(np.abs(two[:-1]))
    assert np.ptp(one) > 0.1


def test_a_wave_passes_the_earth_first_when_the_earth_is_on_its_side_of_the_sun():
    source = tianqin.unit_vector(np.pi / 2, 0.0)
    delay = tianqin.delay_s(np.array([0.0, tianqin.YEAR_S / 2]), source)
    assert delay == pytest.approx([499.0048, -499.0048], abs=1e-3)
    assert tianqin.delay_s(np.array([1e6]), tianqin.unit_vector(0.0, 0.0)) == pytest.approx([0])


@given(colatitudes, longitudes)
def test_positions_are_those_astropy_gives(theta, phi):
    frame = BarycentricMeanEcliptic(lon=phi * u.rad, lat=(np.pi / 2 - theta) * u.rad)
    ra, dec = equatorial_deg(theta, phi)
    assert SkyCoord(ra, dec, unit="deg").separation(SkyCoord(frame).icrs).deg < 1e-3
