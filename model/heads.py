"""Heads: what a network says about an object. A head is named in the preset by ``head.kind``."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from keras import ops

from schemas.errors import ModelError

Dense = Callable[[Any, int, str], Any]


def attach_head(members: list[Any], head: Mapping[str, Any], *, dense: Dense) -> Any:
    """Return the head's output ``(batch, member, width)`` on the features of each member.

    ``scalar``: width 1, the target itself. ``sigmoid``: width 1, whose logistic function is the target, in [0, 1].
    ``bins``: the logits of a PDF in ``head["bins"]`` bins. ``gaussian``: mean and what `deviation` makes a standard
    deviation of. ``binary``: the logits of no and yes. ``pixel``: the features are the logits of each pixel's
    classes. Float32 in any precision of the network: bfloat16 cannot tell redshifts 0.1 and 0.1004 apart.

    Parameters
    ----------
    members : list
        Features of each.
    head : Mapping
        The preset's section.
    dense : callable
        Applies a new layer to features, given its width and name.
    """
    if head["kind"] == "pixel":
        return ops.stack(members, axis=1)
    width = output_width(head)
    outputs = [dense(features, width, f"head_{number}") for number, features in enumerate(members, 1)]
    return ops.stack(outputs, axis=1)


def output_width(head: Mapping[str, Any]) -> int:
    """Return how many numbers of a member's output describe an object.

    Raises
    ------
    ModelError
        There is no such head.
    """
    widths = {
        "scalar": 1,
        "sigmoid": 1,
        "gaussian": 2,
        "binary": 2,
        "pixel": len(head.get("classes", ())),
        "bins": head.get("bins", 0),
    }
    if head["kind"] not in widths:
        raise ModelError(
            f"there is no head {head['kind']!r}", f"set head.kind to one of: {', '.join(widths)}"
        )
    return int(widths[head["kind"]])


def deviation(raw: Any, head: Mapping[str, Any]) -> Any:
    """Return the standard deviation of a ``gaussian`` head, floor + softplus(slope t), from its second output t.

    Zhou et al. 2022 (CSST, floor 1e-3, slope 0.01).
    """
    return head["floor"] + ops.softplus(head["slope"] * raw)


def summarise(output: Any, head: Mapping[str, Any]) -> Any:
    """Return one answer an object ``(batch, width)`` from the members' outputs.

    The mean target, the mean PDF, the mean probability of yes; or the mean and the standard deviation of the mixture of
    the members' Gaussians; of classes of pixels, their probabilities, flat: ``(batch, y * x * class)``.
    """
    if head["kind"] == "pixel":
        maps = ops.mean(ops.softmax(output, axis=-1), axis=1)
        return ops.reshape(maps, (-1, math.prod(maps.shape[1:])))
    if head["kind"] == "bins":
        return ops.mean(ops.softmax(output, axis=-1), axis=1)
    if head["kind"] == "binary":
        return ops.mean(ops.softmax(output, axis=-1), axis=1)[:, 1:]
    if head["kind"] == "sigmoid":
        return ops.mean(ops.sigmoid(output), axis=1)
    if head["kind"] == "gaussian":
        mean, error = output[..., 0], deviation(output[..., 1], head)
        variance = ops.mean(error**2, axis=1) + ops.var(mean, axis=1)
        return ops.stack([ops.mean(mean, axis=1), ops.sqrt(variance)], axis=-1)
    return ops.mean(output, axis=1)
