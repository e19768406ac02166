"""Optimizers and learning-rate schedules, from a preset."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras

from schemas.errors import ModelError

_MIXED_FLOAT16 = "mixed_float16"


def make_optimizer(settings: Mapping[str, Any], *, precision: str = "float32") -> keras.optimizers.Optimizer:
    """Return the optimizer of a preset's ``optimizer`` section.

    Parameters
    ----------
    settings : Mapping
        ``kind``, ``schedule``, ``learning_rate``; ``weight_decay`` for ``adamw``, ``momentum`` for ``sgd``.
        A ``clip_norm`` above 0 shortens the gradient of all weights together to that length (Pascanu, Mikolov
        and Bengio 2013).
    precision : str
        With ``mixed_float16`` the loss is scaled, and a step whose gradients overflow is skipped: what
        differentiates must call the optimizer's ``scale_loss``.

    Raises
    ------
    ModelError
        There is no such optimizer or schedule.
    """
    clip = {"global_clipnorm": settings["clip_norm"]} if settings.get("clip_norm") else {}
    makers: dict[str, Callable[[float], keras.optimizers.Optimizer]] = {
        "adam": lambda rate: keras.optimizers.Adam(rate, **clip),
        "adamw": lambda rate: keras.optimizers.AdamW(rate, weight_decay=settings["weight_decay"], **clip),
        "sgd": lambda rate: keras.optimizers.SGD(rate, momentum=settings["momentum"], **clip),
    }
    for key, known in (("kind", tuple(makers)), ("schedule", tuple(_SCHEDULES))):
        if settings[key] not in known:
            raise ModelError(
                f"there is no optimizer.{key} {settings[key]!r}",
                f"set optimizer.{key} to one of: {', '.join(known)}",
            )
    optimizer = makers[settings["kind"]](settings["learning_rate"])
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == _MIXED_FLOAT16 else optimizer


def learning_rate(settings: Mapping[str, Any], step: int, steps: int, *, steps_per_epoch: int) -> float:
    """Return the learning rate of step `step` (from 0) of `steps`.

    With r the ``learning_rate``, d the ``decay`` and t = step / steps:

    - ``constant``: r
    - ``cosine``: r (1 + cos πt) / 2, half a cosine down to zero (Loshchilov and Hutter 2017)
    - ``step``: r dᵏ, k being the number of ``milestones`` that t has reached
    - ``exponential``: r dᵗ

    times min(1, (step + 1) / w), a linear rise in the first w steps: ``warmup`` epochs of `steps_per_epoch`.

    >>> rate = {"learning_rate": 1.0, "decay": 0.1, "milestones": [0.5, 0.75], "warmup": 0.0}
    >>> learning_rate(rate | {"schedule": "cosine"}, 50, 100, steps_per_epoch=10)
    0.5
    >>> [learning_rate(rate | {"schedule": "step"}, at, 100, steps_per_epoch=10) for at in (49, 50, 75)]
    [1.0, 0.1, 0.01]
    >>> learning_rate(rate | {"schedule": "exponential"}, 100, 100, steps_per_epoch=10)
    0.1
    >>> warm = rate | {"schedule": "constant", "warmup": 2.0}
    >>> [learning_rate(warm, at, 100, steps_per_epoch=10) for at in (0, 9, 19, 20)]
    [0.05, 0.5, 1.0, 1.0]
    """
    rise = settings.get("warmup", 0.0) * steps_per_epoch
    warm = (step + 1) / rise if step + 1 < rise else 1.0
    factor = warm * _SCHEDULES[settings["schedule"]](settings, min(step, steps) / steps)
    rate = float(settings["learning_rate"])
    return rate if factor == 1 else round(rate * factor, 12)


def _reached(settings: Mapping[str, Any], share: float) -> int:
    return sum(share >= milestone for milestone in settings["milestones"])


_SCHEDULES: Mapping[str, Callable[[Mapping[str, Any], float], float]] = {
    "constant": lambda settings, share: 1.0,
    "cosine": lambda settings, share: 0.5 * (1 + math.cos(math.pi * share)),
    "step": lambda settings, share: float(settings["decay"] ** _reached(settings, share)),
    "exponential": lambda settings, share: float(settings["decay"] ** share),
}
"""Of a preset's ``optimizer`` section and the share of the training done: the factor of its learning rate."""
