"""Networks built from presets: what the intake reads goes in, what the preset's head needs comes out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import layers, ops

from model.apertures import photometry
from model.augment import augmented
from model.blocks import Halve, InputMaps, RadialProfile, Seeds, Style, perceptron
from model.chain_words import inputs_of, layers_of, used_branches
from model.chains import Chain
from model.geometry import Geometry
from model.heads import Dense, attach_head
from model.intake import check_contract, intake_of
from model.presets import Preset
from model.transfer import freeze
from model.unet import StandardiseWindow, unet
from model.unet_shape import UNetShape
from schemas.errors import ModelError


@dataclass(frozen=True)
class Inputs:
    """A network's symbolic inputs; None for what its preset does not take."""

    image: Any
    vector: Any
    draw: Any


def input_names(network: keras.Model) -> list[str]:
    """Return the names of a network's inputs, in order: those of ``image``, ``vector`` and ``draw`` that it takes."""
    return [tensor.name for tensor in network.inputs]


def label_shape(network: keras.Model) -> tuple[int, ...]:
    """Return the shape of what a network learns of a row: () of a number, (y, x, class) of the classes of pixels."""
    output: tuple[int, ...] = network.output.shape[2:]
    return output if len(output) > 1 else ()


def build_network(
    preset: Preset,
    geometry: Geometry,
    *,
    seed: int,
    synchronized: bool = False,
    precision: str = "float32",
    monte_carlo: bool = False,
    rows: int = 1,
) -> keras.Model:
    """Return the untrained network of `preset` for images of `geometry`.

    It is called with a list: of images ``(batch, y, x, band)`` as stored, vectors ``(batch, feature)``, and of each row
    the int32 that decides its dropout (`model.order.draws`), ``(batch,)``, those that the preset takes, in this order.
    The output ``(batch, member, width)``, of classes of pixels ``(batch, 1, y, x, class)``, is float32, and so are the
    variables, whatever the precision.

    Parameters
    ----------
    preset : Preset
        What to build.
    geometry : Geometry
        What images are.
    seed : int
        Decides every initial weight.
    synchronized : bool
        Whether batch normalisation is shared by all processes of a training.
    precision : str
        Keras's policy for convolutions and dense layers: ``float32``, ``mixed_bfloat16`` or ``mixed_float16``.
    monte_carlo : bool
        Whether dropout is active in inference too, so that other draws give other answers.
    rows : int
        Number of rows that are learnt from.

    Raises
    ------
    ModelError
        The images are not those the preset is for, or the preset names a part that does not exist.
    """
    check_contract(preset, geometry)
    network, intake = preset["network"], intake_of(preset)
    if network["kind"] not in _BODIES:
        raise ModelError(
            f"there is no network {network['kind']!r}", f"set network.kind to one of: {', '.join(_BODIES)}"
        )
    style = Style(Seeds(seed), synchronized, precision, monte_carlo, rows)
    given: dict[str, Any] = {"draw": keras.Input((), name="draw", dtype="int32")}
    if intake.image:
        given["image"] = keras.Input(geometry.whole, name="image", dtype=geometry.dtype)
    if intake.vector:
        given["vector"] = keras.Input((intake.vector.width,), name="vector", dtype="float32")
    inputs = Inputs(given.get("image"), given.get("vector"), given["draw"])
    features = _BODIES[network["kind"]](inputs, preset, style)
    output = attach_head(features, preset["head"], dense=_head_layer(inputs, preset, style))
    built = keras.Model([given[name] for name in intake.names], output, name=preset.name.replace("-", "_"))
    freeze(built, network["frozen"])
    return built


def _head_layer(inputs: Inputs, preset: Preset, style: Style) -> Dense:
    """Return what applies a head's layer: in float32, with a posterior of its weights in a Bayesian network."""
    network = preset["network"]
    l2 = network["l2"] if network.get("l2_of") == "all" else 0.0
    words = {"kind": "dense", "l2": l2, "variational": network["bayesian"]}
    chain = Chain("head", replace(style, precision="float32"), inputs.vector, inputs.draw, network, {})
    return lambda features, width, name: chain(features, [{**words, "units": width, "name": name}])


def _chains(inputs: Inputs, preset: Preset, style: Style) -> list[Any]:
    """Build the preset's branches, each a chain of layers, one after the other; the last one is the network."""
    network, made = preset["network"], dict[str, Any]()
    ends = {"vector": inputs.vector}
    if inputs.image is not None:
        maps = InputMaps(preset["input"]["maps"])(inputs.image)
        ends["image"] = augmented(maps, inputs.draw, preset["augment"], seed=style.seeds())
    for branch in (used := used_branches(network)):
        begins = [ends[name] for name in inputs_of(branch)]
        x = begins[0] if len(begins) == 1 else ops.concatenate(begins, axis=-1)
        if "bands" in branch:
            x = x[..., slice(*branch["bands"])]
        chain = Chain(branch["name"], style, inputs.vector, inputs.draw, network, made)
        ends[branch["name"]] = chain(x, layers_of(branch, network))
    return [ends[used[-1]["name"]]]


def _radial(inputs: Inputs, preset: Preset, style: Style) -> list[Any]:
    network: Mapping[str, Any] = preset["network"]
    images = [ops.transpose(inputs.image, (0, 3, 1, 2))]
    while images[-1].shape[-1] >= 2 * network["pooled_pixels"]:
        images.append(Halve()(images[-1]))
    maps = InputMaps(preset["input"]["maps"], axis=1)(images[-1])
    measures = network.get("measures", ["rings"])
    found = [RadialProfile(network["rings"], inputs.image.shape[-1])(maps)] if "rings" in measures else []
    if set(measures) - {"rings"}:
        found += photometry(images, maps, measures=measures, rings=network["rings"])
    features = found[0] if len(found) == 1 else ops.concatenate(found, axis=-1)
    momentum = _momentum(network.get("moving_epochs", 0.0) * style.rows / preset["training"]["batch"])
    features = layers.BatchNormalization(momentum=momentum, synchronized=style.synchronized, dtype="float32")(
        features
    )
    if clip := network.get("clip", 0.0):
        features = ops.clip(features, -clip, clip)
    return [
        perceptron(features, inputs.draw, network["hidden"], dropout=network["dropout"], style=style)
        for _ in range(network["members"])
    ]


def _unet(inputs: Inputs, preset: Preset, style: Style) -> list[Any]:
    """Build the U-Net; what it gives are the logits of each pixel."""
    shape = UNetShape.of(preset["network"], preset["head"])
    return [unet(StandardiseWindow()(inputs.image), inputs.draw, shape, style=style)]


def _momentum(batches: float) -> float:
    """Return that of moving statistics which remember so many batches, at least 10 and at most 1000."""
    return 1 - 1 / min(max(batches, 10.0), 1000.0)


_BODIES: dict[str, Callable[[Inputs, Preset, Style], list[Any]]] = {
    "chains": _chains,
    "radial": _radial,
    "unet": _unet,
}
"""Each body returns the features of one or more members; the head is put on each of them."""
