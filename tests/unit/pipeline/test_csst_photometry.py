import dataclasses

import numpy as np
import pytest

from pipeline.sandbox.csst import photometry
from pipeline.sandbox.csst.bands import IMAGE_SIGMA, ab_flux, counts_per_flux
from pipeline.sandbox.csst.drawing import add_noise, coloured, parametric, star
from pipeline.sandbox.csst.photometry import Trouble, measure
from pipeline.sandbox.csst.population import Galaxy

SPECTRUM = ab_flux(np.array([24.0, 23.5, 22.5, 22.0, 21.7, 21.5, 21.4]))
TRUTH = Galaxy(
    z=0.5,
    early=False,
    bulge_share=0.3,
    radius_arcsec=0.35,
    bulge_ratio=0.8,
    disc_ratio=0.6,
    angle_deg=30.0,
    shift_arcsec=(0.01, -0.02),
    bulge_flux=0.3 * SPECTRUM,
    disc_flux=0.7 * SPECTRUM,
)


def field(truth: Galaxy, seed: int = 0) -> np.ndarray:
    worth = counts_per_flux()
    drawn = coloured(*parametric(truth), (truth.bulge_flux * worth, truth.disc_flux * worth))
    return add_noise(drawn, np.random.default_rng(seed))


def test_measured_colours_are_the_true_ones_and_most_of_the_light_is_measured():
    bright = dataclasses.replace(TRUTH, bulge_flux=3 * SPECTRUM, disc_flux=7 * SPECTRUM)
    measured = measure(field(bright))
    share = measured.counts / counts_per_flux() / (10 * SPECTRUM)
    assert measured.trouble == Trouble(0) and measured.trouble.reason == ""
    assert np.all(share > 0.7) and np.all(share < 1.0)
    assert share == pytest.approx(share.mean(), rel=0.05)


def test_errors_are_what_the_measurements_scatter_by():
    worth, rng = counts_per_flux(), np.random.default_rng(0)
    drawn = coloured(*parametric(TRUTH), (TRUTH.bulge_flux * worth, TRUTH.disc_flux * worth))
    runs = [measure(add_noise(drawn, rng)) for _ in range(150)]
    # NUV is not among the bands that set the aperture; 150 draws know its scatter to 6 %.
    nuv = np.array([run.counts[0] for run in runs])
    assert nuv.std() == pytest.approx(np.mean([run.errors[0] for run in runs]), rel=0.2)


def test_empty_sky_is_flagged_and_keeps_its_negative_fluxes():
    runs = [
        measure(add_noise(np.zeros((7, 64, 64), np.float32), np.random.default_rng(k))) for k in range(40)
    ]
    assert all(run.trouble & Trouble.FAINT for run in runs)
    missed = [run for run in runs if run.trouble & Trouble.NOT_DETECTED]
    assert len(missed) > 20
    counts = np.array([run.counts for run in missed])
    assert 0.35 < (counts < 0).mean() < 0.65
    # A circle of 3 pixels' radius holds 32 whole ones.
    assert missed[0].errors == pytest.approx(IMAGE_SIGMA * np.sqrt(32))
    assert missed[0].trouble.reason == "not detected; faint"


def test_a_galaxy_larger_than_the_field_is_flagged_at_the_edge():
    large = dataclasses.replace(TRUTH, radius_arcsec=1.6, bulge_flux=30 * SPECTRUM, disc_flux=70 * SPECTRUM)
    assert measure(field(large)).trouble & Trouble.EDGE


def test_an_upright_galaxy_whose_angle_is_rounded_up_is_measured(monkeypatch):
    def rounded(depth):
        found = real(depth)
        found["theta"] = np.float32(np.pi / 2)  # 4e-8 more than a right angle, as SEP itself may say
        return found

    real = photometry._extract
    monkeypatch.setattr(photometry, "_extract", rounded)
    assert measure(field(TRUTH)).trouble == Trouble(0)


def test_a_neighbour_is_not_taken_for_the_galaxy_in_the_middle():
    shifted = np.roll(star(100 * ab_flux(25.0 * np.ones(7)) * counts_per_flux()), 20, axis=2)
    assert measure(add_noise(shifted, np.random.default_rng(0))).trouble & Trouble.NOT_DETECTED
