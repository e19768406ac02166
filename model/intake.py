"""Intake: what a network takes of a row of the cube, its image, its vector, or both."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from model.chain_shapes import check_shapes
from model.chain_words import inputs_of, layers_of, used_branches
from model.order import Rows, normals
from model.presets import Preset
from model.unet_shape import UNetShape
from model.vectors import Vector, vector_of
from model.views import check_signal_views
from schemas import arrays
from schemas.errors import ModelError

if TYPE_CHECKING:  # Zarr is not needed to look at a preset
    from model.cubes import Cube
from model.geometry import Geometry

Content = tuple[NDArray[Any], ...]
"""Images ``(n, y, x, band)`` as stored and vectors ``(n, feature)`` of the same rows; ``(n, 0)`` where not taken.

Third, where they are learnt, the labels of the images' pixels ``(n, y, x, class)``.
"""


@dataclass(frozen=True)
class Intake:
    """What a network takes of a row; the image alone where nothing is said.

    ``target`` adds what is learnt of each pixel, where that is no single label a row. With ``raw`` the vector's columns
    are read, of which `seen` makes vectors with noise.
    """

    image: bool = True
    vector: Vector | None = None
    target: bool = False
    raw: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of what the network is given, in order."""
        return (*(["image"] if self.image else []), *(["vector"] if self.vector else []), "draw")

    @property
    def features(self) -> tuple[str, ...]:
        """Names of what the vector holds."""
        return self.vector.features if self.vector else ()

    def room(self, cube: "Cube", count: int) -> Content:
        """Return room for the content of `count` rows."""
        shape = cube.geometry.whole if self.image else (0,)
        width = self.vector.width if self.vector else 0
        vectors = np.empty((count, width), np.float32)
        if self.raw and self.vector:
            vectors = np.empty((count, len(self.vector.columns)), np.float64)
        room = np.empty((count, *shape), cube.geometry.dtype), vectors
        if not self.target:
            return room
        return *room, np.empty((count, *cube.array(arrays.TARGET.name).shape[1:]), np.float32)

    def read(self, cube: "Cube", start: int, stop: int) -> Content:
        """Read the content of rows `start` to `stop`.

        Raises
        ------
        StoreError, ModelError
            They cannot be read; or the cube lacks a column.
        """
        if self.image:
            images = cube.read(arrays.IMAGE.name, start, stop)
        else:
            images = np.empty((stop - start, 0), cube.geometry.dtype)
        if self.raw and self.vector:
            vectors: NDArray[Any] = self.vector.raw(cube.columns_of(self.vector, start, stop))
        else:
            vectors = cube.vectors(self.vector, start, stop)
        content = images, vectors
        return (*content, cube.read(arrays.TARGET.name, start, stop)) if self.target else content

    def seen(self, vectors: NDArray[Any], rows: Rows, *, seed: int, epoch: int) -> NDArray[np.float32]:
        """Return vectors ``(n, feature)`` as training sees them in an epoch; what is not `raw` stays as it is."""
        if not self.raw or self.vector is None:
            return vectors
        bands = len(self.vector.settings["fluxes"])
        return self.vector.with_noise(vectors, normals(rows, bands, seed=seed, epoch=epoch))


def intake_of(preset: Preset) -> Intake:
    """Return what the network of a preset takes of a row.

    Raises
    ------
    ModelError
        The vector is not well described, or the network takes nothing.
    """
    network, vector = preset["network"], vector_of(preset["vector"])
    if network["kind"] in ("radial", "unet"):
        return Intake()
    if network["kind"] == "forest":
        return Intake(image=False, vector=_needed(vector, preset))
    branches = used_branches(network)
    taken = {name for branch in branches for name in inputs_of(branch)}
    if any(layer["kind"] == "append" for branch in branches for layer in layers_of(branch, network)):
        taken.add("vector")
    return Intake("image" in taken, _needed(vector, preset) if "vector" in taken else None)


def learning_intake_of(preset: Preset) -> Intake:
    """Return what is read of a row to learn from it: the network's intake, and labels of pixels if it tells those."""
    return replace(intake_of(preset), target=preset["head"]["kind"] == "pixel")


def training_intake_of(preset: Preset) -> Intake:
    """Return what is read of a row to train on it; if the preset says so, each epoch sees other fluxes of it."""
    intake = learning_intake_of(preset)
    return replace(intake, raw=bool(intake.vector and intake.vector.noisy))


def _needed(vector: Vector | None, preset: Preset) -> Vector:
    if vector is None:
        raise ModelError(
            f"preset {preset.name!r} learns from a vector, and has no vector", "set vector.kind and its keys"
        )
    return vector


def check_contract(preset: Preset, geometry: "Geometry") -> None:
    """Refuse images of other bands, in another order, of another size, unit or scale than the preset's.

    What the preset leaves open (an empty list, an empty text, 0) may be anything that its layers can be applied to.

    Raises
    ------
    ModelError
        Naming each difference; or the layer that does not fit (`model.chain_shapes`).
    """
    intake = intake_of(preset)
    if intake.image:
        _check_images(preset, geometry)
    if preset["network"]["kind"] == "chains":
        check_shapes(preset, geometry.whole, intake.features)


def _check_images(preset: Preset, geometry: "Geometry") -> None:
    if not geometry.bands:
        raise ModelError(
            f"preset {preset.name!r} takes images, and images.source is 'none'",
            "set images.source, or take a preset that learns from columns alone, such as 'photometry'",
        )
    wanted = preset["input"]
    found = {
        "bands": list(geometry.bands),
        "pixels": geometry.shape[0],
        "unit": geometry.unit,
        "arcsec_per_pixel": geometry.arcsec_per_pixel,
    }
    differing = [
        f"{key}: expected {wanted[key]!r}, found {value!r}"
        for key, value in found.items()
        if wanted[key] and wanted[key] != value
    ]
    if differing:
        raise ModelError(
            f"preset {preset.name!r} is for other images: {'; '.join(differing)}",
            "set [images] as the preset wants it (the order of the bands counts), or take another preset",
        )
    check_signal_views(preset, geometry.shape)
    if preset["network"]["kind"] == "unet":
        UNetShape.of(preset["network"], preset["head"]).check(geometry.shape)
    if min(geometry.shape) < preset.minimum_pixels:
        raise ModelError(
            f"preset {preset.name!r} needs images of at least {preset.minimum_pixels} pixels, "
            f"found {min(geometry.shape)}",
            f"set images.pixels to at least {preset.minimum_pixels}, or take another preset",
        )
