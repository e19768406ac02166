import hashlib

import numpy as np
import pytest

from model.presets import load_preset
from model.vectors import find_columns, vector_of
from schemas.errors import ModelError

FLUXES = load_preset("csst-hybrid")["vector"]


def _columns(flux, error):
    names = (*FLUXES["fluxes"], *FLUXES["errors"])
    return dict(zip(names, np.concatenate([flux, error], axis=1).T, strict=True))


def test_columns_and_their_differences_come_in_the_order_that_is_asked_for():
    vector = vector_of({"kind": "columns", "features": ["r", "g - r", "ebv", "g"]})
    assert vector.columns == ("r", "g", "ebv") and vector.width == 4
    found = vector({"g": np.array([18.5, 20.0]), "r": np.array([18.0, 19.0]), "ebv": np.array([0.1, np.nan])})
    assert found.dtype == np.float32
    assert found[0] == pytest.approx([18.0, 0.5, 0.1, 18.5])
    assert np.isnan(found[1]).tolist() == [False, False, True, False]


@pytest.mark.parametrize("mark", [-9999.0, -9999.31, 99.0, 90.0, -90.0, np.inf])
def test_a_mark_of_a_missing_magnitude_is_no_magnitude_nor_a_colour(mark):
    settings = load_preset("photometry")["vector"]
    vector, bands = vector_of(settings), ("u", "g", "r", "i", "z_mag")
    columns = {band: np.array([20.0 - number, 89.9]) for number, band in enumerate(bands)}
    columns["u"][0] = mark
    assert np.isnan(vector(columns)).tolist() == [[True, *[False] * 4, True, *[False] * 3], [False] * 9]
    everything = vector_of(dict(settings) | {"missing": 0.0})
    assert everything(columns)[0, 0] == np.float32(mark)


def test_the_csst_vector_is_seven_fluxes_six_ratios_and_seven_errors_on_a_signed_logarithm():
    limit = 10 ** (-(np.array(FLUXES["limits"]) + 48.6) / 2.5)
    flux, error = 100 * limit[None], 10 * limit[None]
    flux[0, 2] *= -1
    vector = vector_of(FLUXES)
    found = vector(_columns(flux, error))[0]
    assert vector.width == len(found) == 20
    assert found[:7] == pytest.approx([2, 2, -2, 2, 2, 2, 2], abs=1e-5)
    ratios = np.log10(limit[:-1] / limit[1:]) * [1, -1, -1, 1, 1, 1]
    assert found[7:13] == pytest.approx(ratios, abs=1e-5)
    assert found[13:] == pytest.approx(np.full(7, -1.0), abs=1e-5)


def test_noise_moves_fluxes_by_their_errors_and_leaves_the_errors():
    flux, error = np.full((3, 7), 1e-28), np.full((3, 7), 1e-29)
    vector, normals = vector_of(FLUXES), np.array([[0.0] * 7, [1.0] * 7, [-1.0, 1.0] * 3 + [0.0]])
    found = vector.with_noise(vector.raw(_columns(flux, error)), normals)
    assert np.array_equal(found[0], vector(_columns(flux, error))[0])
    assert found[1, 13:] == pytest.approx(np.full(7, np.log10(0.1 / 1.1)), abs=1e-5)
    low, high = np.log10(0.9), np.log10(1.1)
    assert found[2, 7:13] == pytest.approx(
        [low - high, high - low, low - high, high - low, low - high, high], abs=1e-5
    )


def test_only_fluxes_with_errors_can_have_noise():
    with pytest.raises(ModelError, match="only fluxes with errors"):
        vector_of({"kind": "columns", "features": ["g"], "noise": True})


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_flux_whose_logarithm_is_not_finite_gives_no_number(value):
    flux, error = np.full((2, 7), 1e-29), np.full((2, 7), 1e-30)
    flux[1, 3] = value
    found = vector_of(FLUXES)(_columns(flux, error))
    assert np.isfinite(found[0]).all()
    assert np.flatnonzero(np.isnan(found[1])).tolist() == [3, 9, 10, 16]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "colours"}, "no vector.kind 'colours'"),
        ({"kind": "columns"}, "lacks"),
        ({"kind": "columns", "features": []}, "different names"),
        ({"kind": "columns", "features": ["g", "g"]}, "different names"),
        ({"kind": "columns", "features": ["g - "]}, "different names"),
        ({"kind": "columns", "features": ["g - r - i"]}, "no difference of two"),
        ({"kind": "fluxes", "fluxes": ["a", "b"], "errors": ["c"], "limits": [25.0, 25.0]}, "as many errors"),
    ],
)
def test_a_vector_that_is_not_well_said_is_refused(settings, words):
    with pytest.raises(ModelError, match=words):
        vector_of(settings)


def test_columns_are_found_whatever_their_capitals_and_all_that_are_missing_are_named():
    vector = vector_of({"kind": "columns", "features": ["modelMag_g - modelMag_r", "ebv", "w1"]})
    there = ["modelmag_G", "modelMag_r", "EBV", "W1"]
    spelt = find_columns(vector, there, where="the cube")
    assert spelt == {"modelMag_g": "modelmag_G", "modelMag_r": "modelMag_r", "ebv": "EBV", "w1": "W1"}
    with pytest.raises(ModelError, match="modelMag_g, w1"):
        find_columns(vector, ["modelMag_r", "ebv"], where="the cube")


def test_the_vector_of_elg_is_made_of_six_magnitudes_and_42_aperture_magnitudes_with_reddening_last():
    vector = vector_of(load_preset("elg")["vector"])
    assert vector.width == 86 and vector.features[-1] == "ebv"
    order = " ".join(name.replace(" ", "") for name in vector.features)
    assert (
        hashlib.sha256(order.encode()).hexdigest()[:16] == "19c7e3e3a12c76ca"
    )  # a network learns places, not names
    apertures = {name for name in vector.columns if name.startswith("apmag")}
    assert apertures <= {f"apmag_{b}_{n}" for b in "griz" for n in range(1, 9)} | {
        f"apmag_{b}_{n}" for b in ("w1", "w2") for n in range(1, 6)
    }
    assert set(vector.columns) - apertures == {*(f"mag_{b}" for b in ("g", "r", "i", "z", "w1", "w2")), "ebv"}
