"""What the layers of chains make of a row, and which weights they have, worked out from the words without Keras.

So a layer that cannot be applied to what comes before it, and a layer to be frozen that there is not, are told when
a run is planned.
"""

import fnmatch
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from model.chain_words import inception_parts, inputs_of, layers_of, used_branches
from model.presets import Preset
from schemas.errors import ModelError

Settings = Mapping[str, Any]
Shape = tuple[int, ...]
"""Of a row: ``(y, x, channel)``, ``(sample, channel)`` or ``(feature,)``."""


def check_shapes(preset: Preset, image: Shape, features: Sequence[str]) -> None:
    """Refuse layers that cannot be applied one after the other, and frozen ones that there are not.

    Raises
    ------
    ModelError
        Naming the layer.
    """
    there = weights_of(preset, image, features)
    for name in preset["network"]["frozen"]:
        if not fnmatch.filter(there, name):
            raise ModelError(
                f"network.frozen: there is no layer {name!r}", f"layers with weights: {', '.join(there)}"
            )


def weights_of(preset: Preset, image: Shape, features: Sequence[str]) -> dict[str, tuple[Shape, ...]]:
    """Return the shapes of the weights of each layer of a network of chains by its name, the head's last.

    Parameters
    ----------
    preset : Preset
        Whose network it is.
    image : tuple of int
        Shape of an image.
    features : sequence of str
        Names of what the vector holds.

    Raises
    ------
    ModelError
        A layer cannot be applied to what comes before it.
    """
    network, made = preset["network"], dict[str, tuple[Shape, ...]]()
    ends: dict[str, Shape] = {"image": image, "vector": (len(features),)}
    for branch in (used := used_branches(network)):
        where = f"branch {branch['name']!r}"
        x = _joined([ends[name] for name in inputs_of(branch)], where)
        if "bands" in branch:
            x = (*x[:-1], _taken(branch["bands"], x[-1], where))
        walk = _Walk(branch["name"], made, len(features))
        for number, layer in enumerate(layers_of(branch, network), 1):
            x = walk.after(x, layer, f"{where}, layer {number} ({layer['kind']})")
        ends[branch["name"]] = x
    x = ends[used[-1]["name"]]
    if len(x) > 1:
        raise ModelError(
            f"branch {used[-1]['name']!r} ends with {_said(x)}, and a head needs one list of features",
            'end it with {kind = "flatten"} or {kind = "global_average"}',
        )
    width = {"gaussian": 2, "binary": 2}.get(preset["head"]["kind"], preset["head"].get("bins", 1))
    head: tuple[Shape, ...] = ((x[0], width), (width,))
    return made | {"head_1": (head[0], *head) if network["bayesian"] else head}


@dataclass
class _Walk:
    """The layers of a chain one by one; ``made`` has the weights of all before, ``features`` is the vector's length."""

    name: str
    made: dict[str, tuple[Shape, ...]]
    features: int
    counts: dict[str, int] = field(default_factory=dict)

    def after(self, x: Shape, layer: Settings, where: str) -> Shape:
        """Return the shape that a layer makes of `x`."""
        kind = layer["kind"]
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if kind in _NEEDS and (len(x) == 1) != (kind == "append"):
            raise ModelError(f"{where} needs {_NEEDS[kind]}, found {_said(x)}", "put it at another place")
        made = _KINDS.get(kind, lambda walk, x, layer, where: x)(self, x, layer, where)
        if min(made) < 1:
            raise ModelError(
                f"{where} makes {_said(made)} of {_said(x)}", "take larger images or fewer layers"
            )
        return made

    def weigh(self, name: str, shapes: tuple[Shape, ...], where: str) -> None:
        """Enter a layer's weights; one that has another's name must have weights of the same shapes."""
        if self.made.setdefault(name, shapes) != shapes:
            raise ModelError(
                f"{where}: the layer {name!r} is there already, with weights of shapes {self.made[name]} and not "
                f"{shapes}",
                "give it a name of its own",
            )

    def finish(self, x: Shape, layer: Settings, name: str, where: str) -> Shape:
        """Enter the weights of normalisation and activation."""
        if layer.get("norm"):
            self.weigh(f"{name}_norm", (x[-1:],) * 4, where)
        if layer.get("activation") == "prelu":
            self.weigh(f"{name}_prelu", ((*[1] * (len(x) - 1), x[-1]),), where)
        return x

    def named(self, layer: Settings) -> str:
        """Return the name of a layer."""
        kind = layer["kind"]
        return str(layer.get("name") or f"{self.name}_{kind}_{self.counts[kind]}")


def _conv(walk: _Walk, x: Shape, layer: Settings, where: str) -> Shape:
    sides, drawn = x[:-1], layer.get("variational", False)
    kernel, stride = _per_side(layer, "kernel", sides, where), _per_side(layer, "stride", sides, where)
    padding = layer.get("padding", "same")
    plain = isinstance(layer["kernel"], int) and isinstance(layer.get("stride", 1), int) and padding == "same"
    if drawn and not (plain and len(sides) == 2):
        raise ModelError(
            f"{where}: a variational convolution is one of images, with a square kernel and padding 'same'",
            "leave out variational, or these words",
        )
    made = _slid(sides, kernel, stride, padding)
    weights = ((*kernel, x[-1], layer["filters"]), (layer["filters"],))
    walk.weigh(name := walk.named(layer), (weights[0], *weights) if drawn else weights, where)
    return walk.finish((*made, layer["filters"]), layer, name, where)


def _dense(walk: _Walk, x: Shape, layer: Settings, where: str) -> Shape:
    weights = ((x[-1], layer["units"]), (layer["units"],))
    walk.weigh(
        name := walk.named(layer), (weights[0], *weights) if layer.get("variational") else weights, where
    )
    return walk.finish((*x[:-1], layer["units"]), layer, name, where)


def _pool(walk: _Walk, x: Shape, layer: Settings, where: str) -> Shape:
    sides, padding = x[:-1], layer.get("padding", "valid")
    size = _per_side(layer, "size", sides, where)
    stride = _per_side({"stride": layer["size"]} | dict(layer), "stride", sides, where)
    made = _slid(sides, size, stride, padding)
    zeros = size if padding == "first" else [1] * len(sides)
    return (*(side + more - 1 for side, more in zip(made, zeros, strict=True)), x[-1])


def _inception(walk: _Walk, x: Shape, layer: Settings, where: str) -> Shape:
    made = []
    for part, inner in inception_parts(layer).items():
        own = _Walk(f"{walk.named(layer)}_{part}", walk.made, walk.features)
        y = x
        for each in inner:
            y = own.after(y, each, where)
        made.append(y)
    return _joined(made, where)


def _append(walk: _Walk, x: Shape, layer: Settings, where: str) -> Shape:
    if (last := max(layer["features"])) >= walk.features:
        raise ModelError(
            f"{where}: features: expected places in the vector, 0 to {walk.features - 1}, found {last}",
            "count them from 0",
        )
    return (x[0] + len(layer["features"]),)


def _bands_as_rows(walk: _Walk, x: Shape, layer: Settings, where: str) -> Shape:
    if len(x) != 2:
        raise ModelError(f"{where} needs signals (sample, band), found {_said(x)}", "leave it out")
    return (x[1], x[0], 1)


_NEEDS = {"append": "a list of features (put flatten or global_average before it)"} | dict.fromkeys(
    ("conv", "pool", "inception", "bands_as_rows", "global_average"), "images or signals"
)
_KINDS: dict[str, Callable[[_Walk, Shape, Settings, str], Shape]] = {
    "conv": _conv,
    "dense": _dense,
    "pool": _pool,
    "inception": _inception,
    "append": _append,
    "bands_as_rows": _bands_as_rows,
    "flatten": lambda walk, x, layer, where: (math.prod(x),),
    "global_average": lambda walk, x, layer, where: x[-1:],
}


def _per_side(layer: Settings, key: str, sides: Shape, where: str) -> list[int]:
    """Return a number for each side: the same for all, or those that are listed."""
    value = layer.get(key, 1)
    if isinstance(value, int):
        return [value] * len(sides)
    if len(value) != len(sides):
        raise ModelError(
            f"{where}: {key}: expected one number or {len(sides)}, found {list(value)}", "give one a side"
        )
    return list(value)


def _slid(sides: Shape, kernel: Sequence[int], stride: Sequence[int], padding: str) -> list[int]:
    """Return at how many places a window fits, on each side."""
    beyond = [0 if padding == "same" else width - 1 for width in kernel]
    return [-(-(side - less) // step) for side, less, step in zip(sides, beyond, stride, strict=True)]


def _joined(shapes: Sequence[Shape], where: str) -> Shape:
    if len({shape[:-1] for shape in shapes}) > 1:
        raise ModelError(
            f"{where} puts next to each other what differs in shape: {' and '.join(map(_said, shapes))}",
            'bring them to one shape, such as {kind = "global_average"} makes',
        )
    return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))


def _taken(bands: Sequence[int], there: int, where: str) -> int:
    first, last = bands
    if last > there:
        raise ModelError(
            f"{where}: bands: expected two ascending numbers from 0 to {there}, found {list(bands)}",
            "take bands that the images have",
        )
    return last - first


def _said(shape: Shape) -> str:
    return (
        f"{shape[0]} features"
        if len(shape) == 1
        else f"{'x'.join(map(str, shape[:-1]))} of {shape[-1]} channels"
    )
