"""How a U-Net of pixel classes is built and what its preset may say, without Keras: told when a run is planned."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.views import is_moved
from schemas.errors import ModelError

_RESERVED = {
    *(
        "sample",
        "id",
        "ra",
        "dec",
        "healpix",
        "source_id",
        "y",
        "x",
        "y_centroid",
        "x_centroid",
        "y_pixel",
        "x_pixel",
    ),
    *(
        "flux",
        "area_pixels",
        "radius_arcsec",
        "class",
        "class_number",
        "confidence",
        "flags",
        "provenance",
        "n",
    ),
}
"""Other columns of the catalogue in which a class has one of its name."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")


@dataclass(frozen=True)
class UNetShape:
    """How a U-Net is built; the defaults are the published ones.

    Attributes
    ----------
    classes : int
        Width of the output.
    down, up : tuple of int
        Filters of each level on the way down, and on the way up again: as many.
    bottleneck : int
        Filters between the two.
    operations : tuple of int
        Operations of a level on the way down, of the bottleneck, and of a level on the way up.
    dropout : float
        Share of elements dropped after each operation, 0 <= dropout < 1.
    """

    classes: int = 5
    down: tuple[int, ...] = (8, 16, 32)
    bottleneck: int = 16
    up: tuple[int, ...] = (8, 16, 32)
    operations: tuple[int, int, int] = (4, 1, 2)
    dropout: float = 0.5

    @classmethod
    def of(cls, network: Mapping[str, Any], head: Mapping[str, Any]) -> "UNetShape":
        """Take the shape from the sections of a preset.

        Raises
        ------
        ModelError
            There are not three numbers of operations.
        """
        down, up, operations = (tuple(network[key]) for key in ("down", "up", "operations"))
        if len(operations) != 3:
            raise ModelError(
                f"network.operations: expected three numbers (down, bottleneck, up), found {len(operations)}",
                "set model.overrides.network.operations to [4, 1, 2]",
            )
        return cls(len(head["classes"]), down, network["bottleneck"], up, operations, network["dropout"])

    def check(self, pixels: Sequence[int]) -> None:
        """Refuse windows of `pixels` (y, x) that cannot be halved as often as there are levels.

        Raises
        ------
        ModelError
            Also if there are not as many levels up as down.
        """
        if len(self.down) != len(self.up):
            raise ModelError(
                f"a U-Net has as many levels up as down: found {len(self.up)} up and {len(self.down)} down",
                "give network.down and network.up as many filters",
            )
        step = 2 ** len(self.down)
        if any(side % step or side < 2 * step for side in pixels):
            raise ModelError(
                f"a U-Net of {len(self.down)} levels halves its window {len(self.down)} times: expected sides "
                f"that are multiples of {step}, at least {2 * step}, found {pixels[0]}x{pixels[1]} pixels",
                f"set images.pixels to a multiple of {step}, or take fewer levels",
            )


def check_pixel_words(found: Mapping[str, Any]) -> None:
    """Refuse what a preset says of pixel classes and cannot be; `found` by dotted key.

    Raises
    ------
    ModelError
        A U-Net without pixel classes or the other way round; classes that are no names or come twice; a background
        that is none of them; masses of other classes; or augmentation that the labels would not follow.
    """
    is_unet, is_pixel = found["network.kind"] == "unet", found["head.kind"] == "pixel"
    if is_unet != is_pixel:
        raise ModelError(
            f"network {found['network.kind']!r} has no head {found['head.kind']!r}: a U-Net tells classes of pixels, "
            "and nothing else does",
            "take the preset 'morpheus' as it is, or another preset",
        )
    if is_pixel:
        _check_classes(found["head.classes"], found["head.background"], found.get("loss.masses", ()))
        _check_augmentation(found)


def _check_classes(classes: Sequence[Any], background: str, masses: Sequence[float]) -> None:
    named = all(isinstance(name, str) and _NAME.fullmatch(name) for name in classes)
    named = named and not _RESERVED & set(classes)
    if not named or len(set(classes)) < len(classes) or len(classes) < 2 or background not in classes:
        raise ModelError(
            f"head.classes: expected two or more different names of small letters, digits and _, none that of a "
            f"catalogue's column ({', '.join(sorted(_RESERVED & set(map(str, classes)))) or 'as id'}), with "
            f"head.background {background!r} among them, found {list(classes)}",
            "set model.overrides.head.classes and head.background so",
        )
    if masses and (len(masses) != len(classes) or not all(mass > 0 for mass in masses)):
        raise ModelError(
            f"loss.masses: expected {len(classes)} numbers above 0, one a class, or none, found {list(masses)}",
            "leave them empty: they are counted on the training rows",
        )


def _check_augmentation(found: Mapping[str, Any]) -> None:
    augment = {key.removeprefix("augment."): value for key, value in found.items()}
    if is_moved(augment) or found["input.average_symmetries"]:
        raise ModelError(
            "head 'pixel' cannot have [augment] or input.average_symmetries: labels would not follow the images",
            "set input.symmetries = true: windows and labels are turned and mirrored together",
        )
