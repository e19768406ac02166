"""Losses: one number an object, named in the preset by ``loss.kind``.

The mean over a batch is taken in the training step, over the whole global batch, so that the number of
processes does not change it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from keras import ops

from model.estimates import bin_edges
from schemas.errors import ModelError

Loss = Callable[[Any, Any], Any]
"""Of the labels ``(batch,)`` and the network's output ``(batch, member, width)``: ``(batch,)``."""


def make_loss(loss: Mapping[str, Any], head: Mapping[str, Any]) -> Loss:
    """Return the loss of a preset.

    Raises
    ------
    ModelError
        There is no such loss, or it does not fit the head.
    """
    makers: dict[tuple[str, str], Callable[[], Loss]] = {
        ("scalar", "squared"): lambda: _squared,
        ("scalar", "absolute"): lambda: _absolute,
        ("bins", "cross_entropy"): lambda: _cross_entropy(bin_edges(head), loss["label_width"]),
        ("bins", "crps"): lambda: _crps(bin_edges(head)),
    }
    key = (head["kind"], loss["kind"])
    if key not in makers:
        known = ", ".join(name for kind, name in makers if kind == head["kind"])
        raise ModelError(f"head {key[0]!r} has no loss {key[1]!r}", f"set loss.kind to one of: {known}")
    return makers[key]()


def _squared(labels: Any, output: Any) -> Any:
    return ops.mean((output[..., 0] - labels[:, None]) ** 2, axis=-1)


def _absolute(labels: Any, output: Any) -> Any:
    return ops.mean(ops.abs(output[..., 0] - labels[:, None]), axis=-1)


def _cross_entropy(edges: Any, width: float) -> Loss:
    """Return the cross-entropy with a Gaussian of standard deviation `width` in z around the label."""
    inner = np.asarray(edges, np.float32)

    def loss(labels: Any, output: Any) -> Any:
        cumulative = 0.5 * (
            1 + ops.erf((inner - labels[:, None]) / (width * np.sqrt(2.0).astype(np.float32)))
        )
        soft = cumulative[:, 1:] - cumulative[:, :-1]
        soft = soft / ops.sum(soft, axis=-1, keepdims=True)
        logarithm = ops.log_softmax(output, axis=-1)
        return -ops.mean(ops.sum(soft[:, None, :] * logarithm, axis=-1), axis=-1)

    return loss


def _crps(edges: Any) -> Loss:
    """Return the binned continuous ranked probability score, in units of a bin's width."""
    upper = np.asarray(edges[1:], np.float32)

    def loss(labels: Any, output: Any) -> Any:
        cumulative = ops.cumsum(ops.softmax(output, axis=-1), axis=-1)
        step = ops.cast(labels[:, None] < upper, output.dtype)
        return ops.mean(ops.sum((cumulative - step[:, None, :]) ** 2, axis=-1), axis=-1)

    return loss
