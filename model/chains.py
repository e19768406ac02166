"""Chains: a branch of a network from plain data, the list of its layers (`model.chain_words`).

Every layer with
weights has a name, ``<chain>_<kind>_<number>``, by which it is frozen or takes over another network's weights; one
that is given the name of an earlier layer is that layer, with the same weights.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import keras
from keras import layers, ops

from model.blocks import RowDropout, Style
from model.chain_words import dropout_rate, inception_parts
from model.noise import Noise
from model.variational import Variational

Settings = Mapping[str, Any]

_LEAK = 0.3
"""Slope of LeakyReLU for negative values: the default of Keras 2, with which the CSST networks were trained."""


@dataclass
class Chain:
    """Layers of one branch under construction.

    ``vector`` and ``draw`` are inputs of the network that layers may look at; ``network`` is the preset's section;
    ``made`` holds the whole network's named layers, ``counts`` how many of a kind this chain has.
    """

    name: str
    style: Style
    vector: Any
    draw: Any
    network: Settings
    made: dict[str, Any]
    counts: dict[str, int] = field(default_factory=dict)

    def __call__(self, x: Any, chain: Iterable[Settings]) -> Any:
        """Apply the layers of `chain`, one after the other, to the tensor `x`."""
        for settings in chain:
            kind = settings["kind"]
            self.counts[kind] = self.counts.get(kind, 0) + 1
            x = KINDS[kind](self, x, settings)
        return x

    def named(self, settings: Settings, make: Callable[[str], Any]) -> Any:
        """Return the layer of these settings: one that was made before under its name, or a new one."""
        name = settings.get("name") or f"{self.name}_{settings['kind']}_{self.counts[settings['kind']]}"
        if name not in self.made:
            self.made[name] = make(name)
        return self.made[name]

    def inner(self, part: str, settings: Settings) -> "Chain":
        """Return the chain of a part of the layer under construction, which counts for itself."""
        name = f"{self.name}_{settings['kind']}_{self.counts[settings['kind']]}_{part}"
        return replace(self, name=name, counts={})


def _finished(chain: Chain, x: Any, settings: Settings, name: str) -> Any:
    """Apply normalisation and activation, where the settings have them."""
    if settings.get("norm"):
        style = chain.style
        make = partial(layers.BatchNormalization, synchronized=style.synchronized, dtype=style.precision)
        x = chain.named({"name": f"{name}_norm"}, lambda own: make(name=own))(x)
    activation = settings.get("activation", "linear")
    if activation == "prelu":
        sides = list(range(1, len(x.shape) - 1))  # which share a channel's slope
        return chain.named({"name": f"{name}_prelu"}, lambda own: layers.PReLU(shared_axes=sides, name=own))(
            x
        )
    if activation == "leaky_relu":
        return layers.LeakyReLU(negative_slope=_LEAK, dtype=chain.style.precision)(x)
    return x if activation == "linear" else layers.Activation(activation, dtype=chain.style.precision)(x)


def _weighted(chain: Chain, settings: Settings) -> dict[str, Any]:
    """Return the keywords that layers with a kernel share."""
    l2 = settings.get("l2", chain.network["l2"])
    penalty = keras.regularizers.L2(l2) if l2 else None
    return {
        "kernel_initializer": keras.initializers.GlorotUniform(chain.style.seeds()),
        "kernel_regularizer": penalty,
        "bias_regularizer": penalty if chain.network.get("l2_of") == "all" else None,
        "dtype": chain.style.precision,
    }


def _convolution(chain: Chain, x: Any, settings: Settings) -> Any:
    """Convolve images ``(y, x, channel)`` or signals ``(sample, channel)``."""
    if settings.get("variational"):
        layer = chain.named(settings, partial(_variational, chain, settings))
        return _finished(chain, layer([x, chain.draw]), settings, layer.name)
    kind = layers.Conv2D if len(x.shape) == 4 else layers.Conv1D

    def make(name: str) -> Any:
        return kind(
            settings["filters"],
            settings["kernel"],
            strides=settings.get("stride", 1),
            padding=settings.get("padding", "same"),
            name=name,
            **_weighted(chain, settings),
        )

    layer = chain.named(settings, make)
    return _finished(chain, layer(x), settings, layer.name)


def _variational(chain: Chain, settings: Settings, name: str) -> Variational:
    return Variational(
        settings.get("filters") or settings["units"],
        kernel=settings.get("kernel", 0),
        stride=settings.get("stride", 1),
        share=chain.network["divergence"] / chain.style.rows,
        seeds=(chain.style.seeds(), chain.style.seeds()),
        name=name,
    )


def _dense(chain: Chain, x: Any, settings: Settings) -> Any:
    if settings.get("variational"):
        layer = chain.named(settings, partial(_variational, chain, settings))
        return _finished(chain, layer([x, chain.draw]), settings, layer.name)
    layer = chain.named(
        settings, lambda name: layers.Dense(settings["units"], name=name, **_weighted(chain, settings))
    )
    return _finished(chain, layer(x), settings, layer.name)


def _pool(chain: Chain, x: Any, settings: Settings) -> Any:
    names = {
        ("max", 4): layers.MaxPooling2D,
        ("average", 4): layers.AveragePooling2D,
        ("max", 3): layers.MaxPooling1D,
        ("average", 3): layers.AveragePooling1D,
    }
    size, padding = settings["size"], settings.get("padding", "valid")
    pool = names[settings.get("how", "max"), len(x.shape)]
    first = padding == "first"
    pooled = pool(
        size,
        strides=settings.get("stride", size),
        padding="valid" if first else padding,
        dtype=chain.style.precision,
    )(x)
    # zeros before the first row and column of what is pooled
    return ops.pad(pooled, [(0, 0), *[(size - 1, 0)] * (len(x.shape) - 2), (0, 0)]) if first else pooled


def _inception(chain: Chain, x: Any, settings: Settings) -> Any:
    parts = inception_parts(settings).items()
    return ops.concatenate([chain.inner(name, settings)(x, part) for name, part in parts], axis=-1)


def _dropout(chain: Chain, x: Any, settings: Settings) -> Any:
    rate = dropout_rate(settings, chain.network)
    if not rate:
        return x
    always = settings.get("always", False) or chain.style.monte_carlo
    layer = RowDropout(rate, chain.style.seeds(), always=always, dtype=chain.style.precision)
    return layer([x, chain.draw])


def _noise(chain: Chain, x: Any, settings: Settings) -> Any:
    sigma, always = settings.get("sigma", 1.0), settings.get("always", False)
    return Noise(chain.style.seeds(), sigma=sigma, always=always)([x, chain.draw])


def _append(chain: Chain, x: Any, settings: Settings) -> Any:
    """Append some features of the vector, by their places in it."""
    return ops.concatenate([x, ops.take(chain.vector, settings["features"], axis=-1)], axis=-1)


def _bands_as_rows(chain: Chain, x: Any, settings: Settings) -> Any:
    """Turn signals ``(sample, band)`` into images ``(band, sample, 1)``, in which a kernel is shared by the bands."""
    return ops.transpose(x, (0, 2, 1))[..., None]


KINDS: dict[str, Callable[[Chain, Any, Settings], Any]] = {
    "conv": _convolution,
    "dense": _dense,
    "pool": _pool,
    "inception": _inception,
    "dropout": _dropout,
    "append": _append,
    "bands_as_rows": _bands_as_rows,
    "noise": _noise,
    "flatten": lambda chain, x, settings: layers.Flatten(dtype="float32")(x),
    "global_average": lambda chain, x, settings: ops.mean(
        ops.cast(x, "float32"), axis=tuple(range(1, len(x.shape) - 1))
    ),
}
