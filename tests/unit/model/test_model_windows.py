import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.windows import Region, Windows
from schemas.errors import PlanError


@st.composite
def windows(draw):
    side = draw(st.integers(2, 9))
    margin = draw(st.integers(0, (side - 1) // 2))
    shape = (draw(st.integers(side, 24)), draw(st.integers(side, 24)))
    stride = draw(st.integers(1, side - 2 * margin))
    return Windows(shape, side=side, margin=margin, stride=stride, batch=draw(st.integers(1, 7)))


def _covered(plan, tile):
    """Votes of each pixel of a tile, by brute force over the calls."""
    votes, inner = np.zeros(plan.shape, int), slice(plan.margin, plan.side - plan.margin)
    for call in plan.calls(tile):
        for window in call:
            votes[window.slices][inner, inner] += 1
    return votes[tile.slices]


def test_at_stride_one_an_inner_pixel_is_seen_900_times_and_the_outer_five_never():
    plan = Windows((110, 130))
    votes = _covered(plan, plan.whole)
    assert votes[40:-40, 40:-40].min() == votes.max() == 900
    outer = np.ones(plan.shape, bool)
    outer[5:-5, 5:-5] = False
    assert not votes[outer].any() and votes[~outer].min() == 1


@given(windows())
def test_only_the_margin_is_never_seen_whatever_the_stride(plan):
    votes = _covered(plan, plan.whole)
    inside = np.zeros(plan.shape, bool)
    inside[tuple(slice(plan.margin, size - plan.margin) for size in plan.shape)] = True
    assert np.array_equal(votes > 0, inside)


@settings(max_examples=50)
@given(windows(), st.integers(2, 25))
def test_tiles_are_a_partition_and_each_sees_all_windows_of_its_pixels(plan, side):
    whole, seen = _covered(plan, plan.whole), np.zeros(plan.shape, int)
    put = np.zeros(plan.shape, int)
    for tile in plan.tiles(side):
        put[tile.slices] += 1
        seen[tile.slices] = _covered(plan, tile)
    assert (put == 1).all()
    assert np.array_equal(seen, whole)


@settings(max_examples=50)
@given(windows(), st.integers(2, 25))
def test_a_tile_s_calls_are_calls_of_the_whole_and_its_halo_holds_their_pixels(plan, side):
    calls = list(plan.calls(plan.whole))
    for tile in plan.tiles(side):
        own, halo = list(plan.calls(tile)), plan.halo(tile)
        places = [calls.index(call) for call in own]
        assert places == sorted(set(places))
        assert len(own) * plan.per_call == plan.computed(tile)
        for window in (window for call in own for window in call):
            assert window.shape == (plan.side, plan.side)
            assert halo.y0 <= window.y0 and window.y1 <= halo.y1
            assert halo.x0 <= window.x0 and window.x1 <= halo.x1
        assert bool(own) == all(halo.shape)


def test_a_tile_reads_little_more_than_itself():
    plan = Windows((2000, 2000), batch=64)
    assert plan.call_shape == (8, 8)
    assert max(plan.halo(Region(800, 1000, 800, 1000)).shape) <= 200 + 2 * 34 + 2 * 7


def test_calls_are_full_or_nearly_so():
    plan = Windows((300, 62), batch=64)  # 261 times 23 windows
    assert plan.call_shape == (8, 8)
    assert plan.computed(plan.whole) == 33 * 3 * 64
    assert Windows((300, 42), batch=64).call_shape == (8, 3)
    assert Windows((40, 300), batch=64).call_shape == (1, 53)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"shape": (39, 100)}, "mosaic only 39x100"),
        ({"shape": (100, 100), "margin": 20}, "no inner part"),
        ({"shape": (100, 100), "stride": 31}, "stride from 1 to 30"),
        ({"shape": (100, 100), "stride": 0}, "stride from 1 to 30"),
        ({"shape": (100, 100), "batch": 0}, "batch of 1 or more"),
    ],
)
def test_windows_that_cannot_cover_a_mosaic_are_refused(settings, words):
    with pytest.raises(PlanError, match=words):
        Windows(**settings)


def test_tiles_without_a_pixel_are_refused():
    with pytest.raises(PlanError, match="found 0"):
        Windows((50, 50)).tiles(0)
