import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sandbox.csst.attenuation import dust_transmission, hydrogen_transmission
from pipeline.sandbox.csst.bands import BANDS, ab_mag
from pipeline.sandbox.csst.ingredients import bulge_recipe, cosmic_age_gyr, disc_recipe
from pipeline.sandbox.csst.palette import band_fluxes
from pipeline.sandbox.csst.starlight import INGREDIENTS, WAVELENGTH_A, spectra

YOUNG, OLD = np.eye(7)[0], np.eye(7)[4]


def colour(blue: str, red: str, z: float, recipe: np.ndarray, ebv: float = 0.0) -> float:
    mags = ab_mag(band_fluxes(z, ebv=ebv, recipe=recipe))
    return float(mags[BANDS.index(blue)] - mags[BANDS.index(red)])


def mean_between(spectrum: np.ndarray, low: float, high: float) -> float:
    return float(spectrum[(low < WAVELENGTH_A) & (high > WAVELENGTH_A)].mean())


def test_the_break_at_4000_angstrom_grows_with_age():
    # D4000 per frequency (Bruzual 1983): 4050-4250 over 3750-3950.
    breaks = [
        mean_between(s * WAVELENGTH_A**2, 4050, 4250) / mean_between(s * WAVELENGTH_A**2, 3750, 3950)
        for s in spectra()[:5]
    ]
    assert breaks == sorted(breaks)
    assert breaks[0] < 1.3 and 1.6 < breaks[-1] < 2.6


def test_young_stars_have_the_ultraviolet_slope_of_a_starburst_and_old_ones_no_ultraviolet():
    young, *_, old = spectra()[:5]
    slope = np.log(mean_between(young, 2400, 2600) / mean_between(young, 1250, 1350)) / np.log(2500 / 1300)
    assert -2.7 < slope < -1.9
    assert mean_between(old, 1900, 2500) < 0.05 * mean_between(young, 1900, 2500)


def test_h_alpha_of_young_stars_has_the_equivalent_width_of_a_starburst():
    hydrogen, young = spectra()[INGREDIENTS.index("hydrogen")], spectra()[0]
    near = (WAVELENGTH_A > 6400) & (WAVELENGTH_A < 6700)
    width_a = (hydrogen * np.gradient(WAVELENGTH_A))[near].sum() / young[near].mean()
    assert 150 < width_a < 1500


@pytest.mark.parametrize(
    ("blue", "red", "low", "high"), [("g", "r", 0.02, 0.35), ("r", "i", 0.42, 0.75), ("i", "z", 0.80, 1.15)]
)
def test_an_old_galaxy_reddens_while_the_break_crosses_the_bluer_band(blue, red, low, high):
    colours = [colour(blue, red, z, OLD) for z in np.linspace(low, high, 12)]
    assert np.all(np.diff(colours) > 0) and colours[-1] - colours[0] > 0.3


@pytest.mark.parametrize(("blue", "red", "low", "high"), [("nuv", "u", 1.8, 2.4), ("u", "g", 2.5, 3.3)])
def test_a_young_galaxy_drops_out_of_the_band_that_the_lyman_limit_reaches(blue, red, low, high):
    colours = [colour(blue, red, z, YOUNG) for z in np.linspace(low, high, 12)]
    assert np.all(np.diff(colours) > 0) and colours[-1] - colours[0] > 1.0


def test_nothing_is_left_beyond_the_lyman_limit():
    assert band_fluxes(4.0, ebv=0.1, recipe=YOUNG)[0] == 0
    assert band_fluxes(4.0, ebv=0.1, recipe=YOUNG)[3] > 0


def test_dust_is_calzettis():
    # k(V) = R_V = 4.05; the law's two pieces meet at 0.63 micron to 0.03 mag.
    magnitudes = -2.5 * np.log10(dust_transmission(np.array([1500.0, 5500.0, 6299.0, 6301.0]), 1.0))
    assert magnitudes[:2] == pytest.approx([10.33, 4.05], abs=0.01)
    assert magnitudes[2] == pytest.approx(magnitudes[3], abs=0.03)


def test_hydrogen_between_the_galaxy_and_us_is_madaus():
    # eq. 15 just blueward of Lyman alpha at z = 3: exp(-0.0036 4^3.46) = 0.647
    assert hydrogen_transmission(np.array([1215.6 * 4]), 3.0) == pytest.approx(0.647, abs=0.002)
    assert hydrogen_transmission(np.array([5000.0]), 3.0) == pytest.approx(1)


@given(z=st.floats(0, 4), wavelength=st.floats(2000, 11000))
def test_hydrogen_only_ever_takes_light_away(z, wavelength):
    assert 0 <= hydrogen_transmission(np.array([wavelength]), z)[0] <= 1 + 1e-12


@given(z=st.floats(0, 4), ebv=st.floats(0, 0.6), seed=st.integers(0, 99), early=st.booleans())
def test_every_recipe_has_light_in_the_red_and_dust_reddens_it(z, ebv, seed, early):
    rng = np.random.default_rng(seed)
    for recipe in (bulge_recipe(z, early, rng), disc_recipe(z, early, rng)):
        assert recipe.shape == (7,) and recipe[:5].sum() == pytest.approx(1) and recipe.min() >= 0
        fluxes = band_fluxes(z, ebv=ebv, recipe=recipe)
        assert np.all(np.isfinite(fluxes)) and np.all(fluxes[4:] > 0)
        assert colour("g", "i", z, recipe, ebv) >= colour("g", "i", z, recipe) - 1e-9


def test_the_universe_has_the_age_of_its_parameters():
    assert cosmic_age_gyr(0) == pytest.approx(13.47, abs=0.02)
    assert cosmic_age_gyr(1) == pytest.approx(5.75, abs=0.02)
