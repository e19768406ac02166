"""Optimizers and learning-rate schedules, from a preset."""

import math
from collections.abc import Mapping
from typing import Any

import keras

from schemas.errors import ModelError

_SCHEDULES = ("constant", "cosine")


def make_optimizer(settings: Mapping[str, Any]) -> keras.optimizers.Optimizer:
    """Return the optimizer of a preset's ``optimizer`` section.

    Raises
    ------
    ModelError
        There is no such optimizer or schedule.
    """
    makers = {
        "adam": lambda rate: keras.optimizers.Adam(rate),
        "adamw": lambda rate: keras.optimizers.AdamW(rate, weight_decay=settings["weight_decay"]),
    }
    for key, known in (("kind", tuple(makers)), ("schedule", _SCHEDULES)):
        if settings[key] not in known:
            raise ModelError(
                f"there is no optimizer.{key} {settings[key]!r}",
                f"set optimizer.{key} to one of: {', '.join(known)}",
            )
    return makers[settings["kind"]](settings["learning_rate"])


def learning_rate(settings: Mapping[str, Any], step: int, steps: int) -> float:
    """Return the learning rate of step `step` of `steps`: constant, or half a cosine down to zero.

    >>> learning_rate({"schedule": "cosine", "learning_rate": 1.0}, 50, 100)
    0.5
    """
    rate = float(settings["learning_rate"])
    if settings["schedule"] == "constant":
        return rate
    return round(rate * 0.5 * (1 + math.cos(math.pi * min(step, steps) / steps)), 12)
