"""Networks built from presets: pixels as stored go in, what the preset's head needs comes out."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import layers, ops

from model.blocks import Halve, InputMaps, RadialProfile, Seeds, Style, conv_unit, perceptron, row_dropout
from model.cubes import Geometry
from model.heads import attach_head
from model.presets import Preset
from schemas.errors import ModelError


def build_network(
    preset: Preset,
    geometry: Geometry,
    *,
    seed: int,
    synchronized: bool = False,
    precision: str = "float32",
    monte_carlo: bool = False,
) -> keras.Model:
    """Return the untrained network of `preset` for images of `geometry`.

    It is called as ``network([images, draws])``: images ``(batch, y, x, band)`` uint8, and of each row the int32
    that decides its dropout (`model.order.draws`), ``(batch,)``. The output ``(batch, member, width)`` is
    float32, and so are the variables, whatever the precision.

    Parameters
    ----------
    preset : Preset
        What to build.
    geometry : Geometry
        Side and bands of the images.
    seed : int
        Decides every initial weight.
    synchronized : bool
        Whether batch normalisation is shared by all processes of a training.
    precision : str
        Keras's policy for convolutions and dense layers: ``float32``, ``mixed_bfloat16`` or ``mixed_float16``.
    monte_carlo : bool
        Whether dropout is active in inference too, so that other draws give other answers.

    Raises
    ------
    ModelError
        The images are too small, or the preset names a part that does not exist.
    """
    if geometry.pixels < preset.minimum_pixels:
        raise ModelError(
            f"preset {preset.name!r} needs images of at least {preset.minimum_pixels} pixels, "
            f"found {geometry.pixels}",
            f"set images.pixels to at least {preset.minimum_pixels}, or take another preset",
        )
    network = preset["network"]
    if network["kind"] not in _BODIES:
        raise ModelError(
            f"there is no network {network['kind']!r}", f"set network.kind to one of: {', '.join(_BODIES)}"
        )
    style = Style(Seeds(seed), synchronized, precision, monte_carlo)
    images = keras.Input((geometry.pixels, geometry.pixels, len(geometry.bands)), name="image", dtype="uint8")
    draw = keras.Input((), name="draw", dtype="int32")
    features = _BODIES[network["kind"]](images, draw, preset, style)
    return keras.Model(
        [images, draw], attach_head(features, preset["head"], seeds=style.seeds), name=preset.name
    )


def _convolutional(images: Any, draw: Any, preset: Preset, style: Style) -> list[Any]:
    network = preset["network"]
    x = InputMaps(preset["input"]["maps"])(images)
    for place, stage in enumerate(network["stages"]):
        if place:
            x = layers.MaxPooling2D(dtype=style.precision)(x)
        for kernel, filters in stage:
            x = conv_unit(x, kernel=kernel, filters=filters, l2=network["l2"], style=style)
    x = layers.GlobalAveragePooling2D(dtype="float32")(x)
    return [row_dropout(x, draw, network.get("dropout", 0.0), style=style)]


def _radial(images: Any, draw: Any, preset: Preset, style: Style) -> list[Any]:
    network: Mapping[str, Any] = preset["network"]
    x = ops.transpose(images, (0, 3, 1, 2))
    while x.shape[-1] >= 2 * network["pooled_pixels"]:
        x = Halve()(x)
    maps = InputMaps(preset["input"]["maps"], axis=1)(x)
    features = RadialProfile(network["rings"], images.shape[-1])(maps)
    features = layers.BatchNormalization(momentum=0.9, synchronized=style.synchronized, dtype="float32")(
        features
    )
    return [
        perceptron(features, draw, network["hidden"], dropout=network["dropout"], style=style)
        for _ in range(network["members"])
    ]


_BODIES: dict[str, Callable[[Any, Any, Preset, Style], list[Any]]] = {
    "convolutional": _convolutional,
    "radial": _radial,
}
"""Each body returns the features of one or more members; the head is put on each of them."""
