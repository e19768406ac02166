"""Losses: one number an object, named in the preset by ``loss.kind``.

The mean over a batch is taken in the training step, over the whole global batch, so that the number of
processes does not change it.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from keras import ops

from model.estimates import bin_edges
from model.heads import deviation
from model.pixel_losses import make_pixel_loss
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
        ("sigmoid", "squared"): lambda: lambda labels, output: _squared(labels, ops.sigmoid(output)),
        ("sigmoid", "absolute"): lambda: lambda labels, output: _absolute(labels, ops.sigmoid(output)),
        ("bins", "cross_entropy"): lambda: _cross_entropy(
            bin_edges(head), loss["label_width"], crps_share=loss.get("crps_share", 0.0)
        ),
        ("bins", "crps"): lambda: _crps(bin_edges(head)),
        ("gaussian", "likelihood"): lambda: _likelihood(head),
        ("binary", "cross_entropy"): lambda: _binary,
        ("pixel", "cross_entropy_dice"): lambda: _pixels(loss, head),
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


def _likelihood(head: Mapping[str, Any]) -> Loss:
    """Return the negative logarithm of the Gaussian density at the label, of each member."""

    def loss(labels: Any, output: Any) -> Any:
        error = deviation(output[..., 1], head)
        pull = (labels[:, None] - output[..., 0]) / error
        return ops.mean(0.5 * pull**2 + ops.log(error) + 0.5 * math.log(2 * math.pi), axis=-1)

    return loss


def _pixels(loss: Mapping[str, Any], head: Mapping[str, Any]) -> Loss:
    background = list(head["classes"]).index(head["background"])
    of_windows = make_pixel_loss(loss["masses"], background=background)
    return lambda labels, output: of_windows(labels, output[:, 0])


def _binary(labels: Any, output: Any) -> Any:
    """Return the cross-entropy of labels 0 and 1, or of probabilities between them."""
    logarithm = ops.log_softmax(output, axis=-1)
    yes = labels[:, None]
    return -ops.mean(yes * logarithm[..., 1] + (1 - yes) * logarithm[..., 0], axis=-1)


def _cross_entropy(edges: Any, width: float, *, crps_share: float) -> Loss:
    """Return the cross-entropy with a Gaussian of standard deviation `width` in z around the label.

    With a width of 0 the label is the one bin it lies in, of those outside the nearest one; a label on an edge belongs
    to the bin above it. Added is `crps_share` times the ranked probability score against the same label: the squared
    distance of the cumulative PDFs, summed over the bins, which is what the cross-entropy does not see: how far off
    a wrong bin is.
    """
    inner = np.asarray(edges, np.float32)
    label = _soft(inner, width) if width else _one_hot(inner)

    def loss(labels: Any, output: Any) -> Any:
        soft = label(labels)[:, None, :]
        rows = -ops.mean(ops.sum(soft * ops.log_softmax(output, axis=-1), axis=-1), axis=-1)
        if not crps_share:
            return rows
        distance = ops.cumsum(ops.softmax(output, axis=-1), axis=-1) - ops.cumsum(soft, axis=-1)
        return rows + crps_share * ops.mean(ops.sum(distance**2, axis=-1), axis=-1)

    return loss


def _soft(edges: Any, width: float) -> Callable[[Any], Any]:
    """Return the function that makes labels ``(batch,)`` Gaussians, ``(batch, bin)``, whose sum is 1."""

    def label(labels: Any) -> Any:
        cumulative = 0.5 * (
            1 + ops.erf((edges - labels[:, None]) / (width * np.sqrt(2.0).astype(np.float32)))
        )
        soft = cumulative[:, 1:] - cumulative[:, :-1]
        return soft / ops.sum(soft, axis=-1, keepdims=True)

    return label


def _one_hot(edges: Any) -> Callable[[Any], Any]:
    lower, upper = np.copy(edges[:-1]), np.copy(edges[1:])
    lower[0], upper[-1] = -np.inf, np.inf

    def label(labels: Any) -> Any:
        inside = ops.logical_and(labels[:, None] >= lower, labels[:, None] < upper)
        return ops.cast(inside, "float32")

    return label


def _crps(edges: Any) -> Loss:
    """Return the binned continuous ranked probability score, in units of a bin's width."""
    upper = np.asarray(edges[1:], np.float32)

    def loss(labels: Any, output: Any) -> Any:
        cumulative = ops.cumsum(ops.softmax(output, axis=-1), axis=-1)
        step = ops.cast(labels[:, None] < upper, output.dtype)
        return ops.mean(ops.sum((cumulative - step[:, None, :]) ** 2, axis=-1), axis=-1)

    return loss
