"""Networks built from presets: pixels as stored go in, what the preset's head needs comes out."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import layers, ops

from model.blocks import Halve, InputMaps, RadialProfile, Seeds, conv_unit, perceptron
from model.cubes import Geometry
from model.heads import attach_head
from model.presets import Preset
from schemas.errors import ModelError


def build_network(
    preset: Preset, geometry: Geometry, *, seed: int, synchronized: bool = False
) -> keras.Model:
    """Return the untrained network of `preset` for images of `geometry`.

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
    seeds = Seeds(seed)
    images = keras.Input((geometry.pixels, geometry.pixels, len(geometry.bands)), name="image", dtype="uint8")
    features = _BODIES[network["kind"]](images, preset, seeds, synchronized)
    return keras.Model(images, attach_head(features, preset["head"], seeds=seeds), name=preset.name)


def _convolutional(images: Any, preset: Preset, seeds: Seeds, synchronized: bool) -> list[Any]:
    network = preset["network"]
    x = InputMaps(preset["input"]["maps"])(images)
    for place, stage in enumerate(network["stages"]):
        if place:
            x = layers.MaxPooling2D()(x)
        for kernel, filters in stage:
            x = conv_unit(
                x, kernel=kernel, filters=filters, l2=network["l2"], seeds=seeds, synchronized=synchronized
            )
    return [layers.GlobalAveragePooling2D()(x)]


def _radial(images: Any, preset: Preset, seeds: Seeds, synchronized: bool) -> list[Any]:
    network: Mapping[str, Any] = preset["network"]
    x = ops.transpose(images, (0, 3, 1, 2))
    while x.shape[-1] >= 2 * network["pooled_pixels"]:
        x = Halve()(x)
    maps = InputMaps(preset["input"]["maps"], axis=1)(x)
    features = RadialProfile(network["rings"], images.shape[-1])(maps)
    features = layers.BatchNormalization(momentum=0.9, synchronized=synchronized)(features)
    return [
        perceptron(features, network["hidden"], dropout=network["dropout"], seeds=seeds)
        for _ in range(network["members"])
    ]


_BODIES: dict[str, Callable[[Any, Preset, Seeds, bool], list[Any]]] = {
    "convolutional": _convolutional,
    "radial": _radial,
}
"""Each body returns the features of one or more members; the head is put on each of them."""
