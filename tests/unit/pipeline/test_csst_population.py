import functools

import numpy as np
import pytest

from pipeline.sandbox.csst.bands import BANDS, ab_mag
from pipeline.sandbox.csst.population import BRIGHT_MAG, FAINT_MAG, Galaxy, Population, early_share

POPULATION = Population()


@functools.cache
def galaxies() -> tuple[Galaxy, ...]:
    return tuple(POPULATION.draw(np.random.default_rng((7, n))) for n in range(1500))


def magnitudes() -> np.ndarray:
    return np.array([ab_mag(one.bulge_flux + one.disc_flux)[BANDS.index("i")] for one in galaxies()])


def test_counts_rise_with_magnitude_as_those_of_the_sky():
    mags = magnitudes()
    assert mags.min() >= BRIGHT_MAG - 1e-6 and mags.max() <= FAINT_MAG + 1e-6
    # N(23.7-24.7) / N(22.7-23.7) = 10^0.31
    ratio = (mags > 23.7).sum() / ((mags > 22.7) & (mags < 23.7)).sum()
    assert ratio == pytest.approx(10**0.31, rel=0.25)


def test_the_median_redshift_of_a_magnitude_is_that_of_deep_surveys():
    z, mags = np.array([one.z for one in galaxies()]), magnitudes()
    near = np.abs(mags - 24.0) < 0.4
    assert np.median(z[near]) == pytest.approx(0.18 * 24.0 - 3.3, rel=0.12)
    assert z.min() > 0 and z.max() <= 4 and 0.03 < (z > 2).mean() < 0.4


def test_the_bulge_has_its_share_of_the_light_in_i():
    i = BANDS.index("i")
    for one in galaxies()[:100]:
        total = one.bulge_flux[i] + one.disc_flux[i]
        assert one.bulge_flux[i] == pytest.approx(one.bulge_share * total)


def test_bulges_are_redder_than_the_discs_about_them():
    late = [one for one in galaxies() if not one.early and one.bulge_share > 0.05 and one.z < 1]
    g, i = BANDS.index("g"), BANDS.index("i")
    redder = [one.bulge_flux[g] / one.bulge_flux[i] < one.disc_flux[g] / one.disc_flux[i] for one in late]
    assert len(late) > 300 and np.mean(redder) > 0.85


def test_early_types_are_luminous_and_rarer_at_high_redshift():
    assert early_share(-23, 0.5) > 0.5 > 0.1 > early_share(-18, 0.5)
    assert early_share(-22.5, 0.2) > early_share(-22.5, 1.0) > early_share(-22.5, 2.5)


def test_galaxies_have_the_sizes_of_their_redshift():
    radii = np.array([one.radius_arcsec for one in galaxies()])
    faint = magnitudes() > 24
    assert 0.15 < np.median(radii[faint]) < 0.45 < np.median(radii[magnitudes() < 21.5])
