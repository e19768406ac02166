"""Growing a forest, the photometry-only baseline, with scikit-learn: an extra, ``pip install skymill[forest]``."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.forests import Forest, as_known
from model.pdfs import bin_of
from schemas.errors import ModelError

Array = NDArray[Any]


@dataclass(frozen=True)
class Growth:
    """How a forest is grown.

    ``leaf`` is the fewest rows of a leaf, ``share`` that of the features that are looked at for a split: of eight
    pairs, 5 and all had the least CRPS on one validation part of 1,494 SDSS galaxies with nine features. ``threads``
    changes the time it takes, never the forest.
    """

    trees: int = 100
    leaf: int = 5
    share: float = 1.0
    seed: int = 0
    threads: int = 1


_GROWTH = Growth()


def grow_forest(
    features: Array,
    labels: Array,
    *,
    names: Sequence[str],
    edges: Array,
    growth: Growth = _GROWTH,
    weights: Array | None = None,
) -> Forest:
    """Grow a forest with scikit-learn (Breiman 2001), the same for any number of threads.

    Parameters
    ----------
    features : ndarray
        ``(n, features)``; what is not finite is missing.
    labels : ndarray
        True redshifts, ``(n,)``.
    names : sequence of str
        Of the features, for messages.
    edges : ndarray
        Edges of the bins of the PDF, ``(bins + 1,)``; every label lies between the first and the last.
    growth : Growth
        How it is grown.
    weights : ndarray
        What each row counts, ``(n,)``, 0 or more, in the splits and in the PDF; by default all count the same.

    Raises
    ------
    ModelError
        A label lies outside the bins, a feature is missing everywhere, there are too few rows, or scikit-learn
        is not installed.
    """
    known, weights = as_known(features), np.ones(len(labels)) if weights is None else weights
    used = weights > 0
    known, labels, weights = known[used], labels[used], weights[used]
    _check_material(known, labels, names, edges, growth)
    weighted = (weights != weights[0]).any()
    try:
        ensemble = importlib.import_module("sklearn.ensemble")
    except ModuleNotFoundError as error:
        raise ModelError("to grow a forest takes scikit-learn", "pip install skymill[forest]") from error
    grown = ensemble.RandomForestRegressor(
        growth.trees,
        min_samples_leaf=growth.leaf,
        max_features=growth.share,
        random_state=growth.seed,
        n_jobs=growth.threads,
    ).fit(known, labels, sample_weight=weights if weighted else None)
    bare = forest_of(grown, known, labels, edges=edges, names=names)
    return replace(bare, weights=_of_leaves(bare, known, weights)) if weighted else bare


def forest_of(grown: Any, features: Array, labels: Array, *, edges: Array, names: Sequence[str]) -> Forest:
    """Return a forest that scikit-learn has grown on `features` and `labels` as arrays."""
    trees = [_nodes(estimator.tree_) for estimator in grown.estimators_]
    starts = np.cumsum([0, *(len(tree[0]) for tree in trees)]).astype(np.int32)
    nodes: list[Any] = [starts, *(np.concatenate(column) for column in zip(*trees, strict=True))]
    last: list[Any] = [np.asarray(edges, np.float64), np.asarray(names, np.str_)]
    bare = Forest(*[*nodes, np.zeros(1, np.int64), np.zeros(0, np.uint16), *last])
    leaves, bins = bare.leaves(features), bin_of(edges, labels).astype(np.uint16)
    firsts = np.cumsum([0, *np.bincount(leaves.ravel(), minlength=starts[-1])])
    ordered = np.concatenate([bins[np.argsort(tree, kind="stable")] for tree in leaves])
    return Forest(*[*nodes, firsts, ordered, *last])


def _of_leaves(forest: Forest, features: Array, weights: Array) -> Array:
    """Return the rows' weights in the order in which a forest has their labels."""
    leaves = forest.leaves(features)
    return np.concatenate([weights[np.argsort(tree, kind="stable")] for tree in leaves]).astype(np.float32)


def _nodes(tree: Any) -> tuple[Array, ...]:
    """Return the arrays of one tree, its nodes renumbered so that the right child comes after the left one."""
    left, right = tree.children_left, tree.children_right
    inner = np.flatnonzero(left >= 0)
    number = np.zeros(tree.node_count, np.int32)
    number[left[inner]] = 1 + 2 * np.arange(len(inner))
    number[right[inner]] = 2 + 2 * np.arange(len(inner))
    child, feature = np.arange(tree.node_count, dtype=np.int32), np.zeros(tree.node_count, np.int16)
    threshold, missing_right = np.full(len(child), np.inf, np.float32), np.zeros(len(child), bool)
    child[number[inner]], feature[number[inner]] = number[left[inner]], tree.feature[inner]
    threshold[number[inner]] = _float32_at_most(tree.threshold[inner])
    missing_right[number[inner]] = ~tree.missing_go_to_left[inner].astype(bool)
    value = np.empty(len(child))
    value[number] = tree.value[:, 0, 0]
    return feature, threshold, child, missing_right, value


def _float32_at_most(values: Array) -> Array:
    """Return the largest float32 that is not above each float64: what a float32 is at most is at most this."""
    near = values.astype(np.float32)
    return np.where(near > values, np.nextafter(near, np.float32(-np.inf)), near)


def _check_material(
    features: Array, labels: Array, names: Sequence[str], edges: Array, growth: Growth
) -> None:
    if features.shape != (len(labels), len(names)):
        raise ModelError(
            f"expected features of shape {(len(labels), len(names))}, found {features.shape}",
            "give one row a label and one column a name",
        )
    low, high = edges[[0, -1]].astype(np.float32)  # as the labels of a cube are
    outside = ~((labels.astype(np.float32) >= low) & (labels.astype(np.float32) <= high))
    if outside.any():
        raise ModelError(
            f"{outside.sum()} of {len(labels)} labels lie outside {edges[0]:g} to {edges[-1]:g}, such as "
            f"{labels[outside][0]:g}",
            "widen head.z_min and head.z_max, or cut the sample",
        )
    if len(labels) < 2 * growth.leaf:
        raise ModelError(
            f"a tree needs at least {2 * growth.leaf} rows, found {len(labels)}", "enlarge the sample"
        )
    if lost := [name for name, column in zip(names, features.T, strict=True) if np.isnan(column).all()]:
        raise ModelError(f"no row has a value of {', '.join(lost)}", "leave these features out")
