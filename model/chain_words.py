"""What a preset may say of chains: branches of a network and their layers, as plain data. No Keras here."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from model.layer_words import BRANCH, OWN, VALUES, wrong
from schemas.errors import ModelError

_FINISH = ("norm", "activation", "l2", "name", "variational")
VARIANTS = ("faithful", "bayesian")
"""Settings of a network for which a layer may say other keys, in a table of that name."""
LAYERS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "conv": (("kernel", "filters"), ("stride", "padding", *_FINISH)),
    "dense": (("units",), _FINISH),
    "pool": (("size",), ("how", "stride", "padding")),
    "inception": (
        (),
        (
            "one",
            "three",
            "five",
            "pool",
            "how",
            "size",
            "pool_last",
            "pad_first",
            "stride",
            "norm",
            "activation",
            "l2",
            "variational",
        ),
    ),
    "dropout": ((), ("rate", "always")),
    "append": (("features",), ()),
    "bands_as_rows": ((), ()),
    "noise": ((), ("sigma", "always")),
    "flatten": ((), ()),
    "global_average": ((), ()),
}
"""Of each kind of layer: the keys it needs, and those it may have; besides ``repeat`` and `VARIANTS`."""
INPUTS = ("image", "vector")

Settings = Mapping[str, Any]


def used_branches(network: Settings) -> list[Settings]:
    """Return the branches that the one named ``network.end`` is made of, in order; that one last.

    Raises
    ------
    ModelError
        A branch has no name, no layers or an input that does not exist, or there is none of the name.
    """
    known: dict[str, Settings] = {}
    for number, branch in enumerate(network["branches"]):
        _check_branch(branch, number, known)
        known[branch["name"]] = branch
    end = network["end"] or next(reversed(known), "")
    if end not in known:
        raise ModelError(f"network.end: there is no branch {end!r}", f"set it to one of: {', '.join(known)}")
    wanted = {end}
    for name in reversed(known):
        if name in wanted:
            wanted.update(inputs_of(known[name]))
    return [branch for name, branch in known.items() if name in wanted]


def inputs_of(branch: Settings) -> tuple[str, ...]:
    """Return what a branch begins with: ``image``, ``vector``, or earlier branches."""
    found = branch["input"]
    return (found,) if isinstance(found, str) else tuple(found)


def layers_of(branch: Settings, network: Settings) -> Iterator[Settings]:
    """Yield the layers of a branch one by one, as the network's variants have them."""
    for layer in branch["layers"]:
        own = {key: value for key, value in layer.items() if key not in ("repeat", *VARIANTS)}
        for variant in VARIANTS:
            if network[variant]:
                own |= layer.get(variant, {})
        yield from [own] * layer.get("repeat", 1)


def drops(layer: Settings, network: Settings) -> bool:
    """Whether a layer is dropout, and drops anything."""
    return layer["kind"] == "dropout" and dropout_rate(layer, network) > 0


def is_always_drawn(layer: Settings, network: Settings) -> bool:
    """Whether a layer that draws does so in evaluation too, by its own ``always``, not only in training and passes."""
    idle = layer["kind"] == "dropout" and not dropout_rate(layer, network)
    return bool(layer.get("always")) and not idle


def dropout_rate(layer: Settings, network: Settings) -> float:
    """Return the rate of a dropout layer: its own, or ``network.dropout``."""
    return float(layer.get("rate", network["dropout"]))


def inception_parts(layer: Settings) -> dict[str, list[dict[str, Any]]]:
    """Return the layers of each part of an inception block: a 1x1, a 3x3 and a 5x5 convolution and a pooling.

    As Szegedy et al. 2015 put them next to each other. ``one`` and ``pool`` are numbers of filters, ``three`` and
    ``five`` those of the 1x1 convolution that narrows and of the wide one; what is left out is absent. The stride is
    that of each part's last convolution.
    """
    shared = {key: layer[key] for key in ("norm", "activation", "l2") if key in layer}

    def conv(kernel: int, filters: int, last: bool) -> dict[str, Any]:
        own = {"kind": "conv", "kernel": kernel, "filters": filters, **shared}
        if layer.get("variational", False):  # the narrow ones are plain, without normalisation
            own |= {"variational": True} if kernel > 1 else {"norm": False}
        return own | ({"stride": layer.get("stride", 1)} if last else {})

    size, how = layer.get("size", 2), layer.get("how", "average")
    pooled = {"kind": "pool", "how": how, "size": size, "stride": 1}
    pooled |= {"padding": "first" if layer.get("pad_first") else "same"}
    parts: dict[str, list[dict[str, Any]]] = {}
    if "one" in layer:
        parts["one"] = [conv(1, layer["one"], True)]
    for name, kernel in (("three", 3), ("five", 5)):
        if name in layer:
            narrow, wide = layer[name]
            parts[name] = [conv(1, narrow, False), conv(kernel, wide, True)]
    if "pool" in layer:
        last = conv(1, layer["pool"], True)
        parts["pool"] = [last, pooled] if layer.get("pool_last") else [pooled, last]
    return parts


def _check_branch(branch: Any, number: int, known: Mapping[str, Settings]) -> None:
    where = f"network.branches, number {number + 1}"
    if not isinstance(branch, Mapping) or not {"name", "input", "layers"} <= set(branch):
        raise ModelError(f"{where}: expected a table with name, input and layers", "give it what it lacks")
    if unknown := set(branch) - set(BRANCH):
        raise ModelError(f"{where} has no {', '.join(sorted(unknown))}", f"it may have: {', '.join(BRANCH)}")
    if fault := wrong(branch, BRANCH):
        raise ModelError(f"{where}: {fault}", "say it so")
    if "bands" in branch and inputs_of(branch) != ("image",):
        raise ModelError(f"{where}: bands are for a branch whose input is 'image'", "leave them out")
    if branch["name"] in (*INPUTS, *known):
        raise ModelError(
            f"{where}: the name {branch['name']!r} is taken", "give each branch a name of its own"
        )
    for name in inputs_of(branch):
        if name not in (*INPUTS, *known):
            raise ModelError(
                f"{where}: there is no input {name!r}", f"take some of: {', '.join((*INPUTS, *known))}"
            )
    _check_layers(branch["layers"], where=f"branch {branch['name']!r}")


def _check_layers(layers: Sequence[Any], *, where: str) -> None:
    for number, layer in enumerate(layers, 1):
        kind = layer.get("kind") if isinstance(layer, Mapping) else None
        if not isinstance(kind, str) or kind not in LAYERS:
            raise ModelError(
                f"{where}, layer {number}: there is no layer {kind!r}",
                f"its kind is one of: {', '.join(LAYERS)}",
            )
        _check_layer(layer, where=f"{where}, layer {number} ({kind})")


def _check_layer(layer: Settings, *, where: str) -> None:
    """Refuse words that a layer does not know or lacks, and values they cannot have, in its variants too."""
    needed, more = LAYERS[layer["kind"]]
    for variant in VARIANTS:
        if not isinstance(layer.get(variant, {}), Mapping):
            raise ModelError(
                f"{where}: {variant}: expected a table, found {layer[variant]!r}", "write {key = ...}"
            )
    said = [layer, *(layer.get(variant, {}) for variant in VARIANTS)]
    words = {word for each in said for word in each} - {"kind", "repeat", *VARIANTS}
    if missing := set(needed) - words:
        raise ModelError(f"{where} lacks {', '.join(sorted(missing))}", "give it")
    if unknown := words - {*needed, *more}:
        raise ModelError(
            f"{where} has no {', '.join(sorted(unknown))}",
            f"it may have: {', '.join((*needed, *more, 'repeat', *VARIANTS))}",
        )
    if layer["kind"] == "inception" and not words & {"one", "three", "five", "pool"}:
        raise ModelError(f"{where} has no part", "give it one, three, five or pool")
    for each in said:
        if fault := wrong(each, {**VALUES, **OWN.get(layer["kind"], {})}):
            raise ModelError(f"{where}: {fault}", "say it so")
