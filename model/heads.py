"""Heads: what a network says about an object. A head is named in the preset by ``head.kind``."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers, ops

from model.blocks import Seeds
from schemas.errors import ModelError


def attach_head(members: list[Any], head: Mapping[str, Any], *, seeds: Seeds) -> Any:
    """Return the head's output ``(batch, member, width)`` on the features of each member.

    ``scalar``: width 1, the target itself. ``bins``: the logits of a PDF in ``head["bins"]`` bins. Float32 in any
    precision of the network: bfloat16 cannot tell redshifts 0.1 and 0.1004 apart.
    """
    widths = {"scalar": lambda: 1, "bins": lambda: head["bins"]}
    if head["kind"] not in widths:
        raise ModelError(
            f"there is no head {head['kind']!r}", f"set head.kind to one of: {', '.join(widths)}"
        )
    width = widths[head["kind"]]()
    outputs = [
        layers.Dense(width, kernel_initializer=keras.initializers.GlorotUniform(seeds()), dtype="float32")(
            features
        )
        for features in members
    ]
    return ops.stack(outputs, axis=1)


def summarise(output: Any, head: Mapping[str, Any]) -> Any:
    """Return one answer an object from the members' outputs: the mean target, or the mean PDF."""
    if head["kind"] == "bins":
        return ops.mean(ops.softmax(output, axis=-1), axis=1)
    return ops.mean(output, axis=1)
