"""What a preset may say, checked without TensorFlow: a wrong word is told before anything is downloaded."""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
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
    },
    "loss.kind": {"squared": (), "absolute": (), "cross_entropy": ("loss.label_width",), "crps": ()},
    "training.precision": {"float32": (), "mixed_bfloat16": (), "mixed_float16": ()},
    "training.balance": {"none": (), "labels": ("training.balance_bins",)},
}
"""What a key of a preset may say, and which keys the preset must have for it (the trainer needs TensorFlow to tell)."""
LOSSES = {"scalar": ("squared", "absolute"), "bins": ("cross_entropy", "crps")}
"""Losses by the kind of head they fit."""


def _ascending_shares(values: Any) -> bool:
    inside = all(_is_number(value) and 0 < value < 1 for value in values)
    return inside and all(first < second for first, second in pairwise(values))


def _widths(values: Any) -> bool:
    return all(type(value) is int and value >= 1 for value in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _stages(values: Any) -> bool:
    """Say whether these are stages of [kernel, filters], none of them empty."""
    return bool(values) and all(
        isinstance(stage, list)
        and stage
        and all(isinstance(unit, list) and len(unit) == 2 and _widths(unit) for unit in stage)
        for stage in values
    )


_Range = tuple[str, Callable[[Any], bool]]
_FROM_0: _Range = ("0 or more", lambda value: value >= 0)
_FROM_1: _Range = ("1 or more", lambda value: value >= 1)
_ABOVE_0: _Range = ("more than 0", lambda value: value > 0)
_SHARE: _Range = ("0 or more and less than 1", lambda value: 0 <= value < 1)
RANGES: Mapping[str, _Range] = {
    "network.dropout": _SHARE,
    "network.hidden": ("a list of whole numbers, 1 or more", _widths),
    "network.l2": _FROM_0,
    "network.members": _FROM_1,
    "network.pooled_pixels": _FROM_1,
    "network.rings": _FROM_1,
    "network.stages": ("a list of stages of [kernel, filters], whole numbers, 1 or more", _stages),
    "head.bins": ("2 or more", lambda value: value >= 2),
    "loss.label_width": _ABOVE_0,
    "optimizer.learning_rate": _ABOVE_0,
    "optimizer.weight_decay": _FROM_0,
    "optimizer.clip_norm": _FROM_0,
    "optimizer.warmup": _FROM_0,
    "optimizer.momentum": _SHARE,
    "optimizer.decay": ("more than 0, at most 1", lambda value: 0 < value <= 1),
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


def _check_fits(found: Mapping[str, Any]) -> None:
    """Refuse values that are wrong only together."""
    losses = LOSSES[found["head.kind"]]
    if found["loss.kind"] not in losses:
        raise ModelError(
            f"head {found['head.kind']!r} has no loss {found['loss.kind']!r}",
            f"set model.overrides.loss.kind to one of: {', '.join(losses)}",
        )
    if found["head.kind"] == "bins" and found["head.z_min"] >= found["head.z_max"]:
        raise ModelError(
            f"head.z_min is {found['head.z_min']:g}, head.z_max {found['head.z_max']:g}: there is nothing between",
            "set model.overrides.head.z_min below head.z_max",
        )
    if found.get("training.accumulate", 1) > found["training.batch"]:
        raise ModelError(
            f"a batch of {found['training.batch']} cannot be cut into {found['training.accumulate']} pieces",
            "set model.overrides.training.accumulate to at most training.batch",
        )
