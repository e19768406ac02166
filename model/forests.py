"""The photometry-only baseline: a random forest on magnitudes and colours, kept as arrays.

A grown forest (`model.growing`) is a few NumPy arrays, which a bundle can hold and years later read, and it answers
in NumPy as scikit-learn does, to the last bit. Its PDF is that of a quantile regression forest. (Gradient boosting
is not offered: its leaves hold residuals of the trees before them, and no PDF.)
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from schemas.errors import ModelError

Array = NDArray[Any]

_AT_ONCE = 4096
"""Rows that go down the trees together: they, and a tree, stay in a core's cache."""


@dataclass(frozen=True)
class Forest:
    """A grown forest; one element of an array a node, tree after tree, unless said otherwise.

    ``starts`` ``(trees + 1,)`` are the trees' first nodes. A row at a node goes to ``child``, counted from the tree's
    start, if its ``feature`` is at most ``threshold``, and to the one after it if above; where the feature is missing
    (NaN), to the one after it if ``missing_right``: where missing ones went in training, or most rows if none was. A
    leaf is its own child, and has the threshold infinity. ``value`` is the mean label of the tree's own sample.
    ``labels`` ``(trees * rows,)`` are the bins, of those between ``edges`` ``(bins + 1,)``, of all training rows in a
    leaf: those from ``firsts`` ``(nodes + 1,)`` of the leaf to that of the next node. ``names`` ``(features,)`` are
    those of the features. ``weights`` are those of the ``labels``, one each, or none where all weigh the same.
    """

    starts: NDArray[np.int32]
    feature: NDArray[np.int16]
    threshold: NDArray[np.float32]
    child: NDArray[np.int32]
    missing_right: NDArray[np.bool_]
    value: NDArray[np.float64]
    firsts: NDArray[np.int64]
    labels: NDArray[np.uint16]
    edges: NDArray[np.float64]
    names: NDArray[np.str_]
    weights: NDArray[np.float32] = field(default_factory=lambda: np.ones(0, np.float32))

    @property
    def arrays(self) -> tuple[Array, ...]:
        """Return the arrays in the order of the fields, so that ``Forest(*arrays)`` is the forest again."""
        return tuple(getattr(self, one.name) for one in fields(self))

    @property
    def trees(self) -> int:
        """Number of trees."""
        return len(self.starts) - 1

    def predict(self, features: Array) -> tuple[Array, Array]:
        """Return z ``(n,)``, exactly as scikit-learn predicts it, and the `pdf` of each row."""
        return self._of(features, self._mean, np.empty(len(features))), self.pdf(features)

    def pdf(self, features: Array) -> Array:
        """Return the PDF ``(n, bins)`` of each row.

        A training row weighs the mean over the trees of its share in the leaf that it has in common with the row, 0
        where it has none: 1 / (training rows in the leaf), or its own weight over theirs (Meinshausen 2006, equations
        4 and 5). The PDF of a bin is the weight of the labels in it. A row of which nothing is known is NaN.

        Parameters
        ----------
        features : ndarray
            ``(n, features)`` in the order of training; what is not finite is missing.

        Raises
        ------
        ModelError
            The number of features is not that of training.
        """
        return self._of(features, self._weights, np.empty((len(features), len(self.edges) - 1), np.float32))

    def _of(self, features: Array, answer: Callable[[Array], Array], out: Array) -> Array:
        """Fill `out` with what `answer` makes of each row's leaves."""
        if features.ndim != 2 or features.shape[1] != len(self.names):
            raise ModelError(
                f"the forest asks for {len(self.names)} features, found an array of shape {features.shape}",
                f"give it, in this order: {', '.join(self.names)}",
            )
        for first in range(0, len(features), _AT_ONCE):
            some = slice(first, first + _AT_ONCE)
            rows = as_known(features[some])
            out[some] = answer(self.leaves(rows))
            out[some][np.isnan(rows).all(1)] = np.nan
        return out

    def leaves(self, rows: Array) -> NDArray[np.int32]:
        """Return the leaf of each row in each tree, ``(trees, n)``; `rows` are float32, what is missing is NaN."""
        found, missing = np.empty((self.trees, len(rows)), np.int32), np.isnan(rows).any(1)
        for chosen, holes in ((np.flatnonzero(~missing), False), (np.flatnonzero(missing), True)):
            columns = np.ascontiguousarray(rows[chosen].T).ravel()
            for tree, (start, stop) in enumerate(pairwise(self.starts)):
                found[tree, chosen] = start + self._down(
                    slice(start, stop), columns, len(chosen), holes=holes
                )
        return found

    def _down(self, tree: slice, columns: Array, rows: int, *, holes: bool) -> Array:
        """Return the leaf of each row in one tree, counted from its start."""
        feature, child = (array[tree].astype(np.intp) for array in (self.feature, self.child))
        threshold, missing_right = self.threshold[tree], self.missing_right[tree]
        row, node = np.arange(rows), np.zeros(rows, np.intp)
        while True:
            seen = columns.take(feature.take(node) * rows + row)
            right = seen > threshold.take(node)
            if holes:
                right |= np.isnan(seen) & missing_right.take(node)
            below = child.take(node) + right
            if np.array_equal(below, node):
                return node
            node = below

    def _mean(self, leaves: Array) -> Array:
        total = np.zeros(leaves.shape[1])
        for tree in leaves:  # one after the other, as scikit-learn adds them
            total += self.value[tree]
        return total / self.trees

    def _weights(self, leaves: Array) -> Array:
        rows = leaves.shape[1]
        ends = np.arange(rows + 1, dtype=np.int32) * self.trees
        shared = csr_array(
            (np.ones(leaves.size, np.float32), leaves.T.ravel(), ends), (rows, len(self.feature))
        )
        return np.asarray((shared @ self._labels_of_leaves).toarray())

    @cached_property
    def _labels_of_leaves(self) -> Any:
        """Share of each bin among the labels of a leaf, over the number of trees: ``(nodes, bins)``, sparse."""
        counts = np.diff(self.firsts)
        weights = self.weights if len(self.weights) else np.ones(len(self.labels), np.float32)
        total = np.add.reduceat(np.append(weights, 0.0), self.firsts[:-1], dtype=np.float64) * (counts > 0)
        share = weights / (np.repeat(total, counts) * self.trees)
        size = (len(self.feature), len(self.edges) - 1)
        found = csr_array(
            (share.astype(np.float32), self.labels, self.firsts), size, copy=True
        )  # what follows changes it in place
        found.sum_duplicates()
        indices, ends = (array.astype(np.int32) for array in (found.indices, found.indptr))
        return csr_array((found.data, indices, ends), size)  # a third faster than with int64


def as_known(features: Array) -> Array:
    """Return features as the trees see them: float32, NaN where one is not finite."""
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(features, np.float32)
    return np.where(np.isfinite(found), found, np.float32(np.nan))
