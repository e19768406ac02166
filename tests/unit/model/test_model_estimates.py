import numpy as np
import pytest

from model.estimates import bin_edges, combine, estimate, median_of
from schemas.flags import PredictionFlag

HEAD = {"kind": "bins", "z_min": 0.0, "z_max": 0.4, "bins": 80, "estimate": "mean"}
EDGES = bin_edges(HEAD)
MIDDLE = (EDGES[1:] + EDGES[:-1]) / 2


def _peak(*peaks):
    pdf = sum(height * np.exp(-(((MIDDLE - at) / width) ** 2) / 2) for at, width, height in peaks)
    return (pdf / pdf.sum())[None].astype("f4")


def test_a_gaussian_pdf_gives_its_mean_and_deviation_and_no_flag():
    found = estimate(_peak((0.2, 0.02, 1)), HEAD)
    assert found.z[0] == pytest.approx(0.2, abs=1e-4)
    assert found.error[0] == pytest.approx(0.02, rel=0.01)
    assert found.flags[0] == 0
    assert found.z.dtype == found.error.dtype == np.float32


def test_the_median_is_not_moved_by_a_far_small_peak():
    pdf = _peak((0.1, 0.01, 1), (0.35, 0.01, 0.1))
    assert median_of(pdf, EDGES)[0] == pytest.approx(0.1, abs=0.003)
    assert estimate(pdf, HEAD).z[0] > 0.115
    assert estimate(pdf, {**HEAD, "estimate": "median"}).z[0] == pytest.approx(0.1, abs=0.003)


@pytest.mark.parametrize(
    ("pdf", "flag"),
    [
        (_peak((0.0, 0.002, 1)), PredictionFlag.EDGE),
        (_peak((0.4, 0.002, 1)), PredictionFlag.EDGE),
        (_peak((0.1, 0.01, 1), (0.3, 0.01, 0.6)), PredictionFlag.MULTIMODAL),
        (_peak((0.1, 0.01, 1), (0.3, 0.01, 0.4)), PredictionFlag(0)),
        (_peak((0.1, 0.01, 1), (0.101, 0.01, 1)), PredictionFlag(0)),
        (np.full((1, 80), 1 / 80, "f4"), PredictionFlag(0)),
        (np.full((1, 80), np.nan, "f4"), PredictionFlag.NOT_FINITE),
    ],
)
def test_flags_say_what_is_odd_about_a_pdf(pdf, flag):
    assert estimate(pdf, HEAD).flags[0] & ~PredictionFlag.WIDE == flag


def test_a_wide_pdf_is_flagged():
    assert estimate(np.full((1, 80), 1 / 80, "f4"), {**HEAD, "z_max": 1.0}).flags[0] == PredictionFlag.WIDE


def test_a_scalar_head_has_no_error_and_flags_what_is_not_finite():
    found = estimate(np.array([[0.1], [np.inf]], "f4"), {"kind": "scalar"})
    assert found.z[0] == np.float32(0.1) and np.isnan(found.z[1])
    assert np.isnan(found.error).all() and found.pdf is None
    assert found.flags.tolist() == [0, PredictionFlag.NOT_FINITE]


def test_an_estimate_of_nothing_is_empty():
    assert len(estimate(np.zeros((0, 80), "f4"), HEAD).z) == 0


def test_the_spread_between_networks_is_part_of_the_error():
    answers = np.stack([_peak((0.1, 0.01, 1)), _peak((0.2, 0.02, 1)), _peak((0.3, 0.01, 1))])
    found, single = combine(answers, HEAD), [estimate(answer, HEAD) for answer in answers]
    z, errors = (np.array([getattr(one, name)[0] for one in single], "f8") for name in ("z", "error"))
    assert found.z[0] == pytest.approx(z.mean(), abs=1e-6)
    assert found.error[0] ** 2 == pytest.approx((errors**2).mean() + z.var(), rel=1e-4)
    assert found.pdf == pytest.approx(answers.mean(0), abs=1e-7)


def test_scalar_answers_give_their_mean_and_deviation_and_one_alone_no_error():
    answers = np.array([[[0.1], [0.1]], [[0.3], [np.inf]]], "f4")
    found = combine(answers, {"kind": "scalar"})
    assert found.z[0] == pytest.approx(0.2) and found.error[0] == pytest.approx(0.1)
    assert np.isnan([found.z[1], found.error[1]]).all() and found.flags[1] == PredictionFlag.NOT_FINITE
    assert np.isnan(combine(answers[:1], {"kind": "scalar"}).error).all()


def test_the_mixture_of_gaussian_answers_has_the_variance_within_and_between_them():
    answers = np.array([[[0.1, 0.03]], [[0.2, 0.04]]], "f4")
    one, both = combine(answers[:1], {"kind": "gaussian"}), combine(answers, {"kind": "gaussian"})
    assert (one.z[0], one.error[0]) == pytest.approx((0.1, 0.03))
    assert both.z[0] == pytest.approx(0.15)
    assert both.error[0] == pytest.approx(np.sqrt((0.03**2 + 0.04**2) / 2 + 0.05**2))
    assert one.pdf is None and both.flags[0] == 0
