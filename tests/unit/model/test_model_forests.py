import numpy as np
import pytest

from model.forests import Forest
from model.growing import Growth, forest_of, grow_forest
from model.pdfs import crps, pdf_metrics, pdf_scores, pit
from model.tensors import pack, unpack
from schemas.errors import ModelError

ensemble = pytest.importorskip("sklearn.ensemble", reason="needs the extra: pip install skymill[forest]")

NAMES = ["g", "r", "g-r"]
EDGES = np.linspace(0, 0.4, 41)
SMALL = Growth(trees=12, leaf=4, seed=3)


def _sky(n, seed=0):
    random = np.random.default_rng(seed)
    z = random.uniform(0.02, 0.38, n)
    g = 17 + 8 * z + random.normal(0, 0.3, n)
    r = g - 0.4 - 2 * z + random.normal(0, 0.03, n)
    return np.stack([g, r, g - r], 1), z


FEATURES, Z = _sky(800)
TEST, Z_TEST = _sky(1500, seed=1)


@pytest.fixture(scope="module")
def forest():
    return grow_forest(FEATURES, Z, names=NAMES, edges=EDGES, growth=SMALL)


def _both(features, labels, **settings):
    """Return a forest of scikit-learn, and the same as arrays."""
    known = features.astype(np.float32)
    grown = ensemble.RandomForestRegressor(15, random_state=0, **settings).fit(known, labels)
    return grown, forest_of(grown, known, labels, edges=EDGES, names=NAMES)


@pytest.mark.parametrize(
    "settings",
    [{"min_samples_leaf": 5, "max_features": 0.5}, {}, {"max_depth": 1}, {"max_leaf_nodes": 9}],
    ids=str,
)
def test_arrays_answer_as_scikit_learn_to_the_last_bit(settings):
    grown, ours = _both(FEATURES, Z, **settings)
    assert (ours.predict(TEST)[0] == grown.predict(TEST.astype(np.float32))).all()


def test_a_missing_feature_takes_the_side_that_scikit_learn_chose():
    random = np.random.default_rng(4)
    holes = np.where(random.random(FEATURES.shape) < 0.2, np.nan, FEATURES)
    tested = np.where(random.random(TEST.shape) < 0.3, np.nan, TEST)
    some = ~np.isnan(tested).all(1)
    for material in (holes, FEATURES):  # missing in training too, or only now
        grown, ours = _both(material, Z, min_samples_leaf=3)
        found, pdf = ours.predict(tested)
        assert (found[some] == grown.predict(tested[some].astype(np.float32))).all()
        assert np.isnan(found[~some]).all() and np.isnan(pdf[~some]).all() and (~some).any()
        assert np.isfinite(pdf[some]).all()


def test_thresholds_between_two_float32_are_kept_apart():
    low = np.float32(18.0)
    high = np.nextafter(low, np.float32(np.inf))
    features = np.repeat([[low], [high]], 20, axis=0)
    labels = np.repeat([0.1, 0.3], 20)
    grown = ensemble.RandomForestRegressor(3, random_state=0, bootstrap=False).fit(features, labels)
    ours = forest_of(grown, features, labels, edges=EDGES, names=["g"])
    assert (ours.predict(features)[0] == grown.predict(features)).all()
    assert ours.predict(features)[0] == pytest.approx(labels)


def test_infinite_features_are_missing_ones(forest):
    infinite, missing = TEST[:5].copy(), TEST[:5].copy()
    infinite[:, 0], missing[:, 0] = [np.inf, -np.inf, np.nan, np.inf, 1e39], np.nan
    assert (forest.predict(infinite)[0] == forest.predict(missing)[0]).all()


def test_the_pdf_gives_each_training_row_the_weight_of_meinshausen(forest):
    rows, train = TEST[:3].astype(np.float32), FEATURES.astype(np.float32)
    _, pdf = forest.predict(rows)
    home, leaves = forest.leaves(train), forest.leaves(rows)
    for number in range(3):
        together = home == leaves[:, [number]]
        weights = (together / together.sum(1, keepdims=True)).mean(0)
        assert weights.sum() == pytest.approx(1)
        expected = np.histogram(Z, EDGES, weights=weights)[0]
        assert pdf[number] == pytest.approx(expected, abs=1e-6)


def test_rows_with_weights_count_so_in_the_splits_and_in_the_pdf():
    weights = np.where(Z > 0.2, 50.0, 0.5)
    weights[::7] = 0
    heavy = grow_forest(FEATURES, Z, names=NAMES, edges=EDGES, growth=SMALL, weights=weights)
    used = weights > 0
    known = FEATURES[used].astype(np.float32)
    grown = ensemble.RandomForestRegressor(12, min_samples_leaf=4, random_state=3)
    grown.fit(known, Z[used], sample_weight=weights[used])
    z, pdf = heavy.predict(TEST[:40])
    assert (z == grown.predict(TEST[:40].astype(np.float32))).all()
    home, leaves = heavy.leaves(known), heavy.leaves(TEST[:40].astype(np.float32))
    for number in range(3):
        together = (home == leaves[:, [number]]) * weights[used]
        share = (together / together.sum(1, keepdims=True)).mean(0)
        assert pdf[number] == pytest.approx(np.histogram(Z[used], EDGES, weights=share)[0], abs=1e-6)
    same = grow_forest(FEATURES, Z, names=NAMES, edges=EDGES, growth=SMALL, weights=np.full(len(Z), 3.0))
    plain = grow_forest(FEATURES, Z, names=NAMES, edges=EDGES, growth=SMALL)
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(same.arrays, plain.arrays, strict=True))


def test_a_label_on_the_last_edge_as_a_cube_has_it_lies_in_the_last_bin():
    labels = Z.astype(np.float32)
    labels[:3] = np.float32(0.4)
    assert labels[0] > EDGES[-1]
    _, pdf = grow_forest(FEATURES, labels, names=NAMES, edges=EDGES, growth=SMALL).predict(FEATURES[:1])
    assert pdf[0, -1] > 0


def test_pdfs_are_normalised_and_say_more_than_the_distribution_of_all(forest):
    _, pdf = forest.predict(TEST)
    assert pdf.sum(1) == pytest.approx(np.ones(len(TEST)), abs=1e-5)
    alike = np.histogram(Z, EDGES)[0] / len(Z)
    assert crps(pdf, EDGES, Z_TEST).mean() < 0.3 * crps(np.tile(alike, (len(TEST), 1)), EDGES, Z_TEST).mean()
    assert pdf_metrics(pdf_scores(pdf, EDGES, Z_TEST))["pit_ks"] < 0.15
    assert 0.3 < pit(pdf, EDGES, Z_TEST).mean() < 0.7


def test_a_row_has_the_same_answer_alone_and_among_many(forest):
    z, pdf = forest.predict(np.tile(TEST, (4, 1)))
    alone_z, alone_pdf = forest.predict(TEST[700:701])
    assert z[4 * 1500 - 800] == alone_z[0] and (pdf[5200] == alone_pdf[0]).all()
    assert len(forest.predict(TEST[:0])[0]) == 0


def test_a_forest_is_the_same_for_any_number_of_threads_and_another_for_another_seed(forest):
    threaded = grow_forest(FEATURES, Z, names=NAMES, edges=EDGES, growth=Growth(12, 4, seed=3, threads=2))
    other = grow_forest(FEATURES, Z, names=NAMES, edges=EDGES, growth=Growth(12, 4, seed=4))
    for ours, theirs in zip(forest.arrays, threaded.arrays, strict=True):
        assert ours.dtype == theirs.dtype and (ours == theirs).all()
    assert (forest.predict(TEST)[0] != other.predict(TEST)[0]).any()


def test_a_forest_comes_back_from_a_file_of_arrays_as_it_was(forest):
    names = [f"{number:04d}" for number in range(len(forest.arrays))]
    arrays, _ = unpack(pack(dict(zip(names, forest.arrays, strict=True))))
    again = Forest(*(arrays[name] for name in names))
    for ours, theirs in zip(forest.predict(TEST), again.predict(TEST), strict=True):
        assert (ours == theirs).all()


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (FEATURES[:, :2], Z, r"expected features of shape \(800, 3\), found \(800, 2\)"),
        (FEATURES, Z + 0.1, r"labels lie outside 0 to 0.4, such as 0\.4"),
        (FEATURES, np.where(np.arange(800) == 5, np.nan, Z), "1 of 800 labels lie outside"),
        (FEATURES * [1, np.nan, 1], Z, r"no row has a value of r\n"),
        (FEATURES[:7], Z[:7], "at least 8 rows, found 7"),
    ],
)
def test_what_no_forest_can_be_grown_on_is_refused(features, labels, message):
    with pytest.raises(ModelError, match=message) as caught:
        grow_forest(features, labels, names=NAMES, edges=EDGES, growth=SMALL)
    assert caught.value.remedy


def test_another_number_of_features_is_refused_with_their_names(forest):
    with pytest.raises(ModelError, match="asks for 3 features") as caught:
        forest.predict(TEST[:, :2])
    assert "g, r, g-r" in caught.value.remedy
