"""What a preset may say, checked without TensorFlow: a wrong word is told before anything is downloaded."""

from collections.abc import Mapping
from typing import Any

from model.presets import Preset
from schemas.errors import ModelError

KINDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "input.maps": {"unit": (), "colour": ()},
    "network.kind": {
        "convolutional": ("network.stages", "network.l2"),
        "radial": (
            "network.rings",
            "network.members",
            "network.hidden",
            "network.dropout",
            "network.pooled_pixels",
        ),
    },
    "head.kind": {"scalar": (), "bins": ("head.z_min", "head.z_max", "head.bins", "head.estimate")},
    "head.estimate": {"mean": (), "median": ()},
    "optimizer.kind": {"adam": (), "adamw": ("optimizer.weight_decay",)},
    "optimizer.schedule": {"constant": (), "cosine": ()},
    "loss.kind": {"squared": (), "absolute": (), "cross_entropy": ("loss.label_width",), "crps": ()},
}
"""What a key of a preset may say, and which keys the preset must have for it (the trainer needs TensorFlow to tell)."""
LOSSES = {"scalar": ("squared", "absolute"), "bins": ("cross_entropy", "crps")}
"""Losses by the kind of head they fit."""


def check_kinds(preset: Preset) -> None:
    """Refuse a preset whose parts do not exist or do not fit each other.

    Raises
    ------
    ModelError
        Naming the key, and what it may say.
    """
    found = {f"{part}.{key}": value for part, keys in preset.sections.items() for key, value in keys.items()}
    for key, kinds in KINDS.items():
        if key in found:
            _check_kind(preset.name, key, kinds, found)
    losses = LOSSES[found["head.kind"]]
    if found["loss.kind"] not in losses:
        raise ModelError(
            f"head {found['head.kind']!r} has no loss {found['loss.kind']!r}",
            f"set model.overrides.loss.kind to one of: {', '.join(losses)}",
        )


def _check_kind(preset: str, key: str, kinds: Mapping[str, tuple[str, ...]], found: dict[str, Any]) -> None:
    if found[key] not in kinds:
        raise ModelError(
            f"there is no {key} {found[key]!r}", f"set model.overrides.{key} to one of: {', '.join(kinds)}"
        )
    if missing := [needed for needed in kinds[found[key]] if needed not in found]:
        raise ModelError(
            f"preset {preset!r} cannot have {key} {found[key]!r}: it has no {', '.join(missing)}",
            "take a preset of this kind",
        )
