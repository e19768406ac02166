import numpy as np
import pytest

from model.blocks import RowDropout

DRAWS = np.random.default_rng(5).integers(-(2**31), 2**31, 400, dtype=np.int32)


def _kept(draws, *, seed=7, rate=0.3, width=100, **training):
    """Say which elements the layer keeps of rows of ones."""
    ones = np.ones((len(draws), width), "f4")
    return np.asarray(RowDropout(rate, seed)([ones, draws], **(training or {"training": True}))) > 0


def _lowbias32(x):
    """The hash in NumPy's unsigned integers."""
    x = x.astype(np.uint32)
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def test_the_mask_is_the_published_hash_of_the_row_s_draw_and_the_element():
    elements = np.random.default_rng(7).integers(0, 1 << 32, (1, 100), dtype=np.uint32)
    uniform = (_lowbias32(DRAWS.view(np.uint32)[:, None] ^ elements) >> np.uint32(8)) / 2**24
    assert np.array_equal(_kept(DRAWS), uniform >= 0.3)


def test_what_is_kept_is_scaled_so_that_the_mean_stays():
    x = np.random.default_rng(0).normal(size=(400, 100)).astype("f4")
    output = np.asarray(RowDropout(0.2, 1)([x, DRAWS], training=True))
    assert output[output != 0] == pytest.approx((x / np.float32(0.8))[output != 0], rel=1e-6)


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.9])
def test_each_element_and_each_row_is_kept_as_often_as_the_rate_says(rate):
    kept = _kept(DRAWS, rate=rate)
    spread = np.sqrt(rate * (1 - rate))
    assert kept.mean() == pytest.approx(1 - rate, abs=5 * spread / np.sqrt(kept.size))
    for axis in (0, 1):
        means = kept.mean(axis)
        assert means.std() == pytest.approx(spread / np.sqrt(kept.shape[axis]), rel=0.25)


def _correlation(one, other):
    return abs(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_rows_elements_and_layers_know_nothing_of_each_other():
    kept, bound = _kept(DRAWS), 5 / np.sqrt(400 * 100)
    assert _correlation(kept[1:], kept[:-1]) < bound
    assert _correlation(kept[:, 1:], kept[:, :-1]) < bound
    assert _correlation(kept, _kept(DRAWS, seed=8)) < bound
    neighbours = np.arange(400, dtype=np.int32)  # draws that differ in few bits
    assert _correlation(_kept(neighbours)[1:], _kept(neighbours)[:-1]) < bound


def test_a_row_meets_the_same_mask_in_any_batch_and_another_with_another_draw():
    whole = _kept(DRAWS)
    assert np.array_equal(_kept(DRAWS[[17, 3]]), whole[[17, 3]])
    assert not np.array_equal(_kept(DRAWS[:1] + 1), whole[:1])


def test_inference_drops_nothing_unless_it_is_asked_to():
    assert _kept(DRAWS, training=False).all()
    ones = np.ones((400, 100), "f4")
    always = np.asarray(RowDropout(0.3, 7, always=True)([ones, DRAWS], training=False)) > 0
    assert np.array_equal(always, _kept(DRAWS))


def test_elements_of_an_image_are_dropped_each_for_itself():
    ones = np.ones((50, 4, 4, 3), "f4")
    kept = np.asarray(RowDropout(0.5, 7)([ones, DRAWS[:50]], training=True)) > 0
    assert kept.reshape(50, -1).mean(0).std() > 0 and 0.4 < kept.mean() < 0.6
    assert _correlation(kept[..., 0], kept[..., 1]) < 0.2


def test_mixed_precision_keeps_the_mask():
    ones = np.ones((50, 100), "f4")
    half = RowDropout(0.3, 7, dtype="mixed_bfloat16")([ones, DRAWS[:50]], training=True)
    assert "bfloat16" in str(half.dtype)
    assert np.array_equal(np.asarray(half).astype("f4") > 0, _kept(DRAWS[:50]))
