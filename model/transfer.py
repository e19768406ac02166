"""Transfer: a network that begins with what others have learnt, layer by layer by name, some of them frozen."""

import fnmatch
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from model.bundles import Bundle
from schemas.errors import ModelError

HEAD = "head_"
"""Layers whose names begin so are not taken over: they speak of another network's features."""


def freeze(network: keras.Model, names: Sequence[str]) -> None:
    """Have the layers of these names keep their weights; their batch normalisation uses its moving statistics.

    A name may have wildcards, ``cnn_conv_*``.

    Raises
    ------
    ModelError
        No layer with weights has such a name.
    """
    there = [layer.name for layer in network.layers if layer.weights]
    for name in names:
        if not (found := fnmatch.filter(there, name)):
            raise ModelError(
                f"network.frozen: there is no layer {name!r}", f"layers with weights: {', '.join(there)}"
            )
        for each in found:
            network.get_layer(each).trainable = False


def take_over(network: keras.Model, donors: Sequence[tuple[Bundle, keras.Model]]) -> list[str]:
    """Give the layers of `network` the weights that layers of the same name have in the donors, the last one's first.

    Parameters
    ----------
    network : keras.Model
        The network that is to be trained.
    donors : sequence
        Bundles with their networks, weights restored.

    Returns
    -------
    list of str
        Names of the layers that were taken over, in the network's order.

    Raises
    ------
    ModelError
        A donor has no layer that the network has, or one of another shape.
    """
    taken = []
    for bundle, donor in donors:
        own = {
            layer.name: layer for layer in donor.layers if layer.weights and not layer.name.startswith(HEAD)
        }
        shared = [layer for layer in network.layers if layer.name in own]
        if not shared:
            raise ModelError(
                f"{bundle.path} ({bundle.preset.name}) has no layer of preset {network.name!r}",
                f"its layers: {', '.join(own)}",
            )
        for layer in shared:
            weights = own[layer.name].get_weights()
            _check_shapes(layer, weights, bundle)
            layer.set_weights(weights)
            taken.append(layer.name)
    return [layer.name for layer in network.layers if layer.name in set(taken)]


def _check_shapes(layer: Any, weights: Sequence[Any], bundle: Bundle) -> None:
    found, wanted = [np.shape(w) for w in weights], [tuple(w.shape) for w in layer.weights]
    if found != wanted:
        raise ModelError(
            f"layer {layer.name!r} of {bundle.path} has weights of shapes {found}, expected {wanted}",
            "train both with the same images, vector and network settings",
        )
