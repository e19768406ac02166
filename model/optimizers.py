"""Optimizers and learning-rate schedules, from a preset."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from model.presets import OPTIONAL
from schemas.errors import ModelError

_MIXED_FLOAT16 = "mixed_float16"
_GAIN = 1e-4
"""A loss that is lower by less is no gain: the default of Keras's ReduceLROnPlateau."""


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


def learning_rate(
    settings: Mapping[str, Any], step: int, steps: int, *, steps_per_epoch: int, losses: Sequence[float] = ()
) -> float:
    """Return the learning rate of step `step` (from 0) of `steps`, after epochs with these validation `losses`.

    With r the ``learning_rate``, d the ``decay`` and t = step / steps:

    - ``constant``: r
    - ``cosine``: r (1 + cos πt) / 2, half a cosine down to zero (Loshchilov and Hutter 2017)
    - ``step``: r dᵏ, k being the number of ``milestones`` that t has reached
    - ``exponential``: r dᵗ
    - ``plateau``: r dᵏ, but not below ``lowest_rate``, k being how often ``plateau_epochs`` epochs in a row had no
      lower loss (`plateaus`)

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
    rate = float(settings["learning_rate"])
    if settings["schedule"] == "plateau":
        patience = settings.get("plateau_epochs", OPTIONAL["optimizer.plateau_epochs"])
        lowest = settings.get("lowest_rate", OPTIONAL["optimizer.lowest_rate"])
        factor = float(settings["decay"] ** plateaus(losses, patience))
        factor = warm * max(factor, min(1.0, lowest / rate))
    else:
        factor = warm * _SCHEDULES[settings["schedule"]](settings, min(step, steps) / steps)
    return rate if factor == 1 else round(rate * factor, 12)


def plateaus(losses: Sequence[float], patience: int) -> int:
    """Return how often `patience` epochs in a row had no loss lower by 1e-4 than the lowest before.

    That of Keras's callback ReduceLROnPlateau with its default ``min_delta``; a function of the losses alone, so that a
    training that was stopped goes on with the same rate.

    >>> plateaus([1.0, 0.9, 0.95, 0.89995, 0.92, 0.91], 2)
    2
    """
    best, waited, count = math.inf, 0, 0
    for loss in losses:
        if loss < best - _GAIN:
            best, waited = loss, 0
        else:
            waited += 1
            if waited == patience:
                waited, count = 0, count + 1
    return count


def _reached(settings: Mapping[str, Any], share: float) -> int:
    return sum(share >= milestone for milestone in settings["milestones"])


_SCHEDULES: Mapping[str, Callable[[Mapping[str, Any], float], float]] = {
    "constant": lambda settings, share: 1.0,
    "cosine": lambda settings, share: 0.5 * (1 + math.cos(math.pi * share)),
    "step": lambda settings, share: float(settings["decay"] ** _reached(settings, share)),
    "exponential": lambda settings, share: float(settings["decay"] ** share),
    "plateau": lambda settings, share: 1.0,
}
"""Of a preset's ``optimizer`` section and the share of the training done: the factor of its learning rate; that of a
plateau comes from the losses."""
