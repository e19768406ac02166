"""What a preset may say of views, the images as training shows them: turned, mirrored, stretched. No Keras here."""

from collections.abc import Mapping, Sequence
from typing import Any

from model.presets import Preset
from schemas.errors import ModelError


def is_moved(augment: Mapping[str, Any]) -> bool:
    """Whether the settings of ``augment`` change an image at all."""
    still = not augment["rotation_deg"] and not augment["shift"] and not augment["flips"]
    return not still or list(augment["zoom"]) != [1.0, 1.0]


def check_views(preset: Preset, *, image: bool) -> None:
    """Refuse views that the network would not be shown; `image` says whether it takes images.

    Raises
    ------
    ModelError
        It takes no images; or its body draws no views of them.
    """
    kind = preset["network"]["kind"]
    if is_moved(preset["augment"]) and not (kind == "chains" and image):
        raise ModelError(
            f"[augment] is for networks of chains that take images, and preset {preset.name!r} "
            + (f"is of network.kind {kind!r}" if image else "takes none"),
            "set model.overrides.augment to rotation_deg = 0.0, zoom = [1.0, 1.0], shift = 0.0, flips = false",
        )
    if not image and (said := _of_the_square(preset)):
        raise ModelError(
            f"{said} is for images, and preset {preset.name!r} takes none",
            f"set model.overrides.{said} = false",
        )


def check_signal_views(preset: Preset, sides: Sequence[int]) -> None:
    """Refuse views of what is no image but a signal, whose `sides` are one.

    Raises
    ------
    ModelError
        There are such views.
    """
    said = _of_the_square(preset) or ("augment" if is_moved(preset["augment"]) else "")
    if said and len(sides) == 1:
        raise ModelError(
            f"{said}: preset {preset.name!r} is shown signals of {sides[0]} samples, which have no such views",
            f"leave out model.overrides.{said}",
        )


def _of_the_square(preset: Preset) -> str:
    """Return the key by which images are turned and mirrored, empty where none says so."""
    keys = ("symmetries", "average_symmetries")
    return next((f"input.{key}" for key in keys if preset["input"][key]), "")
