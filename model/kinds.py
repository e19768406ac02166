"""What a preset may say, checked without TensorFlow: a wrong word is told before anything is downloaded."""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from model.intake import intake_of
from model.presets import Preset
from model.unet_shape import check_pixel_words
from model.views import check_views
from schemas.errors import ModelError

KINDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "input.maps": {"unit": (), "colour": (), "raw": ()},
    "augment.fill": {"nearest": (), "zero": ()},
    "network.kind": {
        "chains": ("network.branches",),
        "unet": (
            "network.down",
            "network.bottleneck",
            "network.up",
            "network.operations",
            "network.dropout",
        ),
        "forest": ("network.trees", "network.leaf", "network.share"),
        "radial": (
            "network.rings",
            "network.members",
            "network.hidden",
            "network.dropout",
            "network.pooled_pixels",
        ),
    },
    "network.l2_of": {"kernels": (), "all": ()},
    "head.kind": {
        "scalar": (),
        "sigmoid": (),
        "gaussian": ("head.floor", "head.slope"),
        "binary": (),
        "pixel": ("head.classes", "head.background"),
        "bins": ("head.z_min", "head.z_max", "head.bins", "head.estimate"),
    },
    "head.estimate": {"mean": (), "median": (), "mode": ()},
    "optimizer.kind": {
        "adam": (),
        "adamw": ("optimizer.weight_decay",),
        "sgd": ("optimizer.momentum",),
    },
    "optimizer.schedule": {
        "constant": (),
        "cosine": (),
        "step": ("optimizer.decay", "optimizer.milestones"),
        "exponential": ("optimizer.decay",),
        "plateau": ("optimizer.decay",),
    },
    "loss.kind": {
        "squared": (),
        "absolute": (),
        "cross_entropy": (),
        "crps": (),
        "likelihood": (),
        "cross_entropy_dice": ("loss.masses",),
    },
    "training.precision": {"float32": (), "mixed_bfloat16": (), "mixed_float16": ()},
    "training.balance": {"none": (), "labels": ("training.balance_bins",)},
    "training.keep": {"best": (), "last": ()},
}
"""What a key of a preset may say, and which keys the preset must have for it (the trainer needs TensorFlow to tell)."""
LOSSES = {
    "scalar": ("squared", "absolute"),
    "sigmoid": ("squared", "absolute"),
    "binary": ("cross_entropy",),
    "gaussian": ("likelihood",),
    "bins": ("cross_entropy", "crps"),
    "pixel": ("cross_entropy_dice",),
}
"""Losses by the kind of head they fit."""
MEASURES = ("rings", "apertures", "growth", "texture")
"""What a radial network can measure of an image."""
_ONLY = {
    "network.measures": {"network.kind": "radial"},
    "network.clip": {"network.kind": "radial"},
    "network.moving_epochs": {"network.kind": "radial"},
    "loss.crps_share": {"head.kind": "bins", "loss.kind": "cross_entropy"},
}
"""Keys that mean nothing but with these words."""


def _ascending_shares(values: Any) -> bool:
    inside = all(_is_number(value) and 0 < value < 1 for value in values)
    return inside and all(first < second for first, second in pairwise(values))


def _factors(values: Any) -> bool:
    return len(values) == 2 and all(map(_is_number, values)) and 0 < values[0] <= values[1] < math.inf


def _widths(values: Any) -> bool:
    return all(type(value) is int and value >= 1 for value in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _measures(values: Any) -> bool:
    return bool(values) and all(value in MEASURES and values.count(value) == 1 for value in values)


_Range = tuple[str, Callable[[Any], bool]]
_FROM_0: _Range = ("0 or more", lambda value: value >= 0)
_FROM_1: _Range = ("1 or more", lambda value: value >= 1)
_ABOVE_0: _Range = ("more than 0", lambda value: value > 0)
_SHARE: _Range = ("0 or more and less than 1", lambda value: 0 <= value < 1)
RANGES: Mapping[str, _Range] = {
    "augment.rotation_deg": ("0 to 180", lambda value: 0 <= value <= 180),
    "augment.zoom": ("two ascending numbers above 0", _factors),
    "augment.shift": ("0 or more and less than 0.5", lambda value: 0 <= value < 0.5),
    "network.dropout": _SHARE,
    "network.down": ("a list of whole numbers, 1 or more", _widths),
    "network.up": ("a list of whole numbers, 1 or more", _widths),
    "network.operations": ("a list of whole numbers, 1 or more", _widths),
    "network.bottleneck": _FROM_1,
    "network.hidden": ("a list of whole numbers, 1 or more", _widths),
    "network.divergence": _FROM_0,
    "network.l2": _FROM_0,
    "network.members": _FROM_1,
    "network.measures": (f"some of {', '.join(MEASURES)}, each once", _measures),
    "network.clip": _FROM_0,
    "network.moving_epochs": _FROM_0,
    "network.pooled_pixels": _FROM_1,
    "network.rings": _FROM_1,
    "network.trees": _FROM_1,
    "network.leaf": _FROM_1,
    "network.share": ("more than 0, at most 1", lambda value: 0 < value <= 1),
    "vector.missing": _FROM_0,
    "head.bins": ("2 or more", lambda value: value >= 2),
    "loss.label_width": _FROM_0,
    "loss.crps_share": _FROM_0,
    "head.floor": _ABOVE_0,
    "head.slope": _ABOVE_0,
    "optimizer.learning_rate": _ABOVE_0,
    "optimizer.weight_decay": _FROM_0,
    "optimizer.clip_norm": _FROM_0,
    "optimizer.warmup": _FROM_0,
    "optimizer.momentum": _SHARE,
    "optimizer.decay": ("more than 0, at most 1", lambda value: 0 < value <= 1),
    "optimizer.plateau_epochs": _FROM_1,
    "optimizer.lowest_rate": _FROM_0,
    "optimizer.milestones": ("ascending numbers between 0 and 1", _ascending_shares),
    "training.epochs": _FROM_1,
    "training.batch": _FROM_1,
    "training.patience": _FROM_1,
    "training.accumulate": _FROM_1,
    "training.balance_bins": _FROM_1,
}
"""Which values a key of a preset may have: in words, and as a test."""


def check_kinds(preset: Preset) -> None:
    """Refuse a preset whose parts do not exist or do not fit each other, or whose numbers make no sense.

    Raises
    ------
    ModelError
        Naming the key, and what it may say.
    """
    found = {f"{part}.{key}": value for part, keys in preset.sections.items() for key, value in keys.items()}
    for key, kinds in KINDS.items():
        if key in found:
            _check_kind(preset.name, key, kinds, found)
    for key, value in found.items():
        _check_range(key, value)
    _check_fits(found)
    if found["network.divergence"] != 1 and not preset.is_bayesian:
        raise ModelError(
            "network.divergence is for networks whose weights have posteriors",
            "leave out model.overrides.network.divergence",
        )
    intake = intake_of(preset)  # its branches and its vector fit each other
    check_views(preset, image=intake.image)


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


def _check_range(key: str, value: Any) -> None:
    words, allowed = RANGES.get(key, ("a finite number", lambda value: True))
    if (isinstance(value, float) and not math.isfinite(value)) or not allowed(value):
        raise ModelError(f"{key}: expected {words}, found {value!r}", f"set model.overrides.{key} to {words}")


def _check_only(found: Mapping[str, Any]) -> None:
    """Refuse keys that the rest of the preset has no use for."""
    for key, words in _ONLY.items():
        if key in found and any(found[other] != word for other, word in words.items()):
            wanted = " and ".join(f"{other} {word!r}" for other, word in words.items())
            raise ModelError(f"{key} is for {wanted} only", f"leave out model.overrides.{key}")


def _check_fits(found: Mapping[str, Any]) -> None:
    """Refuse values that are wrong only together."""
    _check_only(found)
    check_pixel_words(found)
    losses = LOSSES[found["head.kind"]]
    if found["loss.kind"] not in losses:
        raise ModelError(
            f"head {found['head.kind']!r} has no loss {found['loss.kind']!r}",
            f"set model.overrides.loss.kind to one of: {', '.join(losses)}",
        )
    if (
        found["head.kind"] == "bins"
        and found["loss.kind"] == "cross_entropy"
        and "loss.label_width" not in found
    ):
        raise ModelError(
            "loss.kind 'cross_entropy' of bins lacks loss.label_width", "set it; 0 is a one-hot label"
        )
    if found["head.kind"] == "bins" and found["head.z_min"] >= found["head.z_max"]:
        raise ModelError(
            f"head.z_min is {found['head.z_min']:g}, head.z_max {found['head.z_max']:g}: there is nothing between",
            "set model.overrides.head.z_min below head.z_max",
        )
    if found["network.kind"] == "forest" and found["head.kind"] != "bins":
        raise ModelError(
            f"network 'forest' has no head {found['head.kind']!r}", "set model.overrides.head.kind to bins"
        )
    for key in ("network.bayesian", "network.faithful", "network.frozen"):
        if found[key] and found["network.kind"] != "chains":
            raise ModelError(
                f"{key} is for network.kind 'chains' only, whose layers have names and words",
                f"leave out model.overrides.{key}",
            )
    if found.get("training.accumulate", 1) > found["training.batch"]:
        raise ModelError(
            f"a batch of {found['training.batch']} cannot be cut into {found['training.accumulate']} pieces",
            "set model.overrides.training.accumulate to at most training.batch",
        )
