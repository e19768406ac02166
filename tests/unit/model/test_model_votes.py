from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.votes import KINDS, classify_tile
from model.windows import Region, Windows
from schemas.errors import ModelError, PlanError

CLASSES = 3
RANDOM = np.random.default_rng(4)
SKY = RANDOM.normal(size=(64, 70, 2)).astype("f4")
MIX = RANDOM.normal(size=(2, CLASSES)).astype("f4")


def network(batch):
    """Classes that hang on a pixel, its place in the window and the window's mean; slots of a batch differ a little.

    The last is worse than any real network: only windows that keep their place in the batch give the same bits.
    """
    place = np.arange(batch.shape[1], dtype="f4")
    logits = batch @ MIX + np.sin(place)[None, :, None, None] + np.cos(place)[None, None, :, None]
    logits = logits + batch.mean((1, 2, 3), keepdims=True) * np.arange(CLASSES, dtype="f4")
    logits = logits * (1 + np.arange(len(batch), dtype="f4") * 1e-5)[:, None, None, None]
    power = np.exp(logits - logits.max(-1, keepdims=True))
    return power / power.sum(-1, keepdims=True)


class Guarded:
    """An array that remembers which part of it was read."""

    def __init__(self, values):
        self.values, self.shape, self.read = values, values.shape, []

    def __getitem__(self, part):
        self.read.append(part)
        return self.values[part]


def _classify(windows, tile, source=SKY, answer=network):
    return classify_tile(source, answer, windows=windows, tile=tile, classes=CLASSES, kinds=KINDS)


def _together(windows, tiles, workers, source=SKY):
    whole = {}
    with ThreadPoolExecutor(workers) as pool:
        for tile, maps in zip(
            tiles, pool.map(lambda tile: _classify(windows, tile, source), tiles), strict=True
        ):
            for name, values in maps.items():
                whole.setdefault(name, np.full((*windows.shape, *values.shape[2:]), -7, values.dtype))
                whole[name][tile.slices] = values
    return whole


@settings(max_examples=12)
@given(
    st.integers(12, 30),
    st.integers(12, 34),
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(5, 40),
    st.integers(1, 3),
    st.randoms(),
)
def test_tiles_put_together_are_the_whole_bit_for_bit(height, width, stride, batch, side, workers, random):
    windows = Windows((height, width), side=12, margin=2, stride=stride, batch=batch)
    source = SKY[:height, :width]
    tiles = windows.tiles(side)
    random.shuffle(tiles)
    whole, parts = _classify(windows, windows.whole, source), _together(windows, tiles, workers, source)
    assert set(whole) == {"n", "rank", "mean", "variance"}
    for name, values in whole.items():
        assert values.tobytes() == parts[name].tobytes(), name


def test_the_maps_are_shares_means_and_variances_of_the_windows_over_a_pixel():
    windows = Windows((20, 22), side=12, margin=2, stride=3, batch=100)
    maps = _classify(windows, windows.whole, SKY[:20, :22])
    y, x, seen = 9, 11, []
    for call in windows.calls(windows.whole):
        answers = network(np.stack([SKY[window.slices] for window in call]))
        for window, answer in zip(call, answers, strict=False):
            top, left = y - window.y0, x - window.x0
            if 2 <= top < 10 and 2 <= left < 10:
                seen.append(answer[top, left])
    assert len(seen) == maps["n"][y, x] > 4
    assert maps["mean"][y, x] == pytest.approx(np.mean(seen, 0), abs=1e-6)
    assert maps["variance"][y, x] == pytest.approx(np.var(seen, 0), abs=1e-6)
    assert maps["rank"][y, x] == pytest.approx(np.bincount(np.argmax(seen, 1), minlength=3) / len(seen))


def test_what_no_window_counts_in_has_no_votes_and_no_class():
    maps = _classify(Windows((30, 30), side=12, margin=2), Region(0, 30, 0, 30), SKY[:30, :30])
    outer = np.ones((30, 30), bool)
    outer[2:-2, 2:-2] = False
    assert not maps["n"][outer].any() and maps["n"][~outer].all()
    for name in ("rank", "mean", "variance"):
        assert np.isnan(maps[name][outer]).all() and np.isfinite(maps[name][~outer]).all()


def test_a_tile_reads_its_surroundings_once_and_nothing_else():
    windows = Windows((64, 70), side=12, margin=2, batch=4)
    source, tile = Guarded(SKY), Region(30, 40, 30, 40)
    _classify(windows, tile, source)
    assert source.read == [windows.halo(tile).slices]


def test_a_tile_in_the_margin_reads_nothing():
    source = Guarded(SKY)
    maps = _classify(Windows((64, 70), side=12, margin=2), Region(0, 2, 0, 70), source)
    assert not source.read and not maps["n"].any() and np.isnan(maps["mean"]).all()


def test_windows_with_a_pixel_that_is_not_finite_have_no_vote_and_reach_no_network():
    source = SKY[:40, :44].copy()
    source[20, 20, 1] = np.nan
    windows = Windows((40, 44), side=12, margin=2, batch=5)

    def strict(batch):
        assert np.isfinite(batch).all()
        return network(batch)

    whole = _classify(windows, windows.whole, source, strict)
    assert whole["n"][20, 20] == 0 and whole["n"][20, 29] == 56 and whole["n"][20, 30] == 64
    parts = _together(windows, windows.tiles(17), 2, source)
    assert all(whole[name].tobytes() == parts[name].tobytes() for name in whole)


def test_every_call_has_the_same_shape():
    shapes = set()

    def watching(batch):
        shapes.add(batch.shape)
        return network(batch)

    windows = Windows((28, 31), side=12, margin=2, batch=6)
    for tile in windows.tiles(13):
        _classify(windows, tile, SKY[:28, :31], watching)
    assert shapes == {(windows.per_call, 12, 12, 2)}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda batch: np.zeros((*batch.shape[:3], 4)), r"found \(\d+, 12, 12, 4\)"),
        (lambda batch: network(batch) * 3, "sum up to 1"),
        (lambda batch: network(batch) * np.nan, "sum up to 1"),
    ],
)
def test_answers_that_are_no_probabilities_are_refused(answer, words):
    windows = Windows((64, 70), side=12, margin=2)
    with pytest.raises(ModelError, match=words):
        _classify(windows, windows.whole, SKY, answer)


def test_windows_of_another_mosaic_and_unknown_votes_are_refused():
    windows = Windows((60, 70), side=12, margin=2)
    with pytest.raises(PlanError, match=r"the mosaic has \(64, 70\)"):
        _classify(windows, windows.whole)
    with pytest.raises(PlanError, match="no vote 'median'"):
        classify_tile(SKY, network, windows=windows, tile=windows.whole, classes=CLASSES, kinds=["median"])
