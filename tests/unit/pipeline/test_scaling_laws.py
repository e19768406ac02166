"""Laws of scaling: known parameters come back, and data that cannot tell are said not to."""

import math

import numpy as np
import pytest

from pipeline.scale.laws import AMDAHL, GUSTAFSON, UNIVERSAL, Law, fit, half_of, peak_of

NODES = [1, 2, 4, 8, 16] * 3


def throughputs(law: Law, *values: float, scatter: float, seed: int = 5) -> list[float]:
    rng = np.random.default_rng(seed)
    exact = law.throughput(np.array(NODES, float), *values)
    return list(exact * (1 + scatter * rng.standard_normal(len(NODES))))


@pytest.mark.parametrize(
    ("law", "values"),
    [(AMDAHL, (500.0, 0.03)), (GUSTAFSON, (12.0, 0.1)), (UNIVERSAL, (500.0, 0.03, 0.002))],
    ids=lambda given: given.name if isinstance(given, Law) else "",
)
def test_known_parameters_come_back_within_their_uncertainty(law, values):
    found = fit(law, NODES, throughputs(law, *values, scatter=0.03))
    assert not found.unsure
    for name, true in zip(law.parameters, values, strict=True):
        assert abs(found.values[name] - true) < 4 * found.errors[name], name
        assert found.errors[name] < 0.5 * true, name
    assert 0.015 < found.scatter < 0.06


def test_the_peak_and_the_half_are_where_the_curve_has_them():
    found = fit(UNIVERSAL, NODES, throughputs(UNIVERSAL, 500.0, 0.03, 0.002, scatter=0.0))
    many = np.arange(1.0, 200.0, 0.01)
    curve = found.curve(many)
    assert many[curve.argmax()] == pytest.approx(found.peak, rel=1e-2)
    efficiency = curve / (many * found.values["rate"])
    assert many[np.abs(efficiency - 0.5).argmin()] == pytest.approx(found.half, rel=1e-2)
    low, high = found.spread(lambda each: each.peak)
    assert low <= found.peak * 1.01 and high >= found.peak * 0.99


def test_work_that_scales_perfectly_has_no_peak_and_no_false_precision():
    found = fit(UNIVERSAL, NODES, throughputs(UNIVERSAL, 500.0, 0.0, 0.0, scatter=0.03))
    assert found.values["sigma"] < 0.01 and found.values["kappa"] < 0.001
    assert found.peak > 4 * max(NODES)
    assert found.spread(lambda each: each.peak)[1] == math.inf
    assert peak_of(0.1, 0.0) == math.inf and half_of(AMDAHL, 0.0, 0.0) == math.inf


def test_more_than_ideal_speedup_is_fitted_at_the_bound():
    found = fit(AMDAHL, [1, 2, 4], [100.0, 230.0, 480.0])
    assert found.values["sigma"] == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize(
    ("law", "nodes", "words"),
    [
        (AMDAHL, [4, 4, 4], "a single number of nodes"),
        (UNIVERSAL, [1, 2, 1, 2], "2 different numbers of nodes cannot tell"),
        (AMDAHL, [1, 2, 1, 2], "2 different numbers of nodes cannot tell"),
        (UNIVERSAL, [1, 2, 4], "its uncertainty is not known"),
        (UNIVERSAL, [1, 2, 4, 1, 2, 4], "leave nothing to check the law by"),
    ],
)
def test_data_that_cannot_tell_are_said_so(law, nodes, words):
    rates = [90.0 * number**0.9 * (1 + 0.01 * place) for place, number in enumerate(nodes)]
    assert words in fit(law, nodes, rates).unsure


def test_a_rate_that_is_no_number_is_fitted_to_nothing():
    found = fit(AMDAHL, [1, 2, 4], [1.0, math.nan, 3.0])
    assert not found.found and found.unsure


def test_a_law_of_another_shape_is_said_not_to_describe_the_data():
    nodes = [1, 2, 3, 4] * 3
    falling = [500 / number * (1 + 0.02 * (place % 3)) for place, number in enumerate(nodes)]
    assert "does not describe" in fit(AMDAHL, nodes, falling).unsure
    assert fit(UNIVERSAL, nodes, falling).unsure == ""
