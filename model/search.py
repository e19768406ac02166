"""Which values a hyper-parameter search tries: all points of a grid, or points drawn at random."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.kinds import check_kinds
from model.presets import load_preset
from schemas.errors import ModelError

_SEARCH = 5
_KINDS = ("grid", "random")
_RANGE_KEYS = {"low", "high", "log", "integer"}


def trial_overrides(
    fields: Mapping[str, Any],
    *,
    kind: str,
    trials: int,
    seed: int,
    preset: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Return what each trial overrides in the preset.

    Parameters
    ----------
    fields : Mapping
        By key of the preset, nested or dotted as overrides are (``optimizer.learning_rate``): a list of values,
        or for ``random`` also a table ``{low, high, log, integer}``: uniform in [low, high), or with ``log``
        uniform in the logarithm; with ``integer`` whole numbers, `high` among them.
    kind : str
        ``grid``: every combination, the last field changing fastest. ``random``: `trials` independent draws.
    trials : int
        How many trials there are; for ``grid`` the most there may be.
    seed : int
        Decides the draws. Trial i does not depend on `trials`, nor a field's values on the other fields.
    preset, overrides
        The preset that every trial is checked against, and what the run overrides besides; without a preset
        only the fields themselves are checked.

    Raises
    ------
    ModelError
        A field cannot be searched as it says, the grid has more points than `trials`, or a trial does not fit
        the preset.

    >>> trial_overrides({"head.bins": [90, 180], "loss.kind": ["crps"]}, kind="grid", trials=9, seed=1)
    [{'head.bins': 90, 'loss.kind': 'crps'}, {'head.bins': 180, 'loss.kind': 'crps'}]
    >>> rate = {"optimizer.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}
    >>> few, many = (trial_overrides(rate, kind="random", trials=n, seed=1) for n in (2, 5))
    >>> few == many[:2], all(1e-4 <= trial["optimizer.learning_rate"] < 1e-2 for trial in many)
    (True, True)
    """
    if kind not in _KINDS:
        raise ModelError(
            f"there is no search.kind {kind!r}", f"set search.kind to one of: {', '.join(_KINDS)}"
        )
    if trials < 1:
        raise ModelError(
            f"search.trials: expected 1 or more, found {trials}", "set search.trials to 1 or more"
        )
    if not fields:
        raise ModelError(
            "search.fields is empty: there is nothing to try",
            'name a key of the preset and its values, such as "optimizer.learning_rate" = [1e-3, 2e-3]',
        )
    fields = _flat(fields)
    for key, values in fields.items():
        _check_field(key, values, kind)
    if kind == "grid":
        found = _grid(fields, trials)
    else:
        found = [{key: _draw(key, fields[key], seed, trial) for key in fields} for trial in range(trials)]
    if preset is not None:
        for trial in found:
            check_kinds(load_preset(preset, {**(overrides or {}), **trial}))
    return found


def _flat(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields by dotted key; a table under a word without a dot is a section of the preset."""
    flat: dict[str, Any] = {}
    for key, values in fields.items():
        if "." not in key and isinstance(values, Mapping):
            flat.update({f"{key}.{name}": value for name, value in values.items()})
        else:
            flat[key] = values
    return flat


def _check_field(key: str, values: Any, kind: str) -> None:
    name = f"search.fields.{key}"
    if isinstance(values, list):
        if not values:
            raise ModelError(f"{name}: the list is empty", "give it one value or more, or take the field out")
    elif not isinstance(values, Mapping):
        raise ModelError(
            f"{name}: expected a list or a table, found {values!r}", f"write {key} = [{values!r}]"
        )
    elif kind == "grid":
        raise ModelError(
            f"{name}: a grid needs a list of values, found a range",
            'list the values to try, or set search.kind to "random"',
        )
    else:
        _check_range(name, values)


def _check_range(name: str, values: Mapping[str, Any]) -> None:
    unknown, missing = sorted(set(values) - _RANGE_KEYS), sorted({"low", "high"} - set(values))
    if unknown or missing:
        raise ModelError(
            f"{name}: a range has low and high, and may have log and integer; found {', '.join(values) or 'nothing'}",
            f"write {name} = {{ low = 1e-4, high = 1e-2, log = true }}",
        )
    low, high = values["low"], values["high"]
    if not all(isinstance(end, int | float) and math.isfinite(end) for end in (low, high)) or low >= high:
        raise ModelError(
            f"{name}: expected two numbers, low below high, found {low!r} and {high!r}",
            "correct low and high",
        )
    if values.get("log") and low <= 0:
        raise ModelError(f"{name}: a logarithmic range begins above 0, found low = {low!r}", "raise low")
    if values.get("integer") and not (low == int(low) and high == int(high)):
        raise ModelError(
            f"{name}: a range of whole numbers has whole ends, found {low!r} and {high!r}",
            "give whole low and high, or take integer out",
        )


def _grid(fields: Mapping[str, Sequence[Any]], trials: int) -> list[dict[str, Any]]:
    points = math.prod(len(values) for values in fields.values())
    if points > trials:
        raise ModelError(
            f"the grid has {points} points, search.trials allows {trials}",
            f'set search.trials to {points}, list fewer values, or set search.kind to "random"',
        )
    return [dict(zip(fields, point, strict=True)) for point in itertools.product(*fields.values())]


def _draw(key: str, values: Any, seed: int, trial: int) -> Any:
    """Draw one field's value of one trial."""
    random = np.random.default_rng([_SEARCH, seed, trial, *key.encode()])
    if isinstance(values, list):
        return values[random.integers(len(values))]
    low, high, share = values["low"], values["high"], float(random.random())
    if values.get("integer"):
        high += 1
    if values.get("log"):
        found = min(max(low * (high / low) ** share, low), math.nextafter(high, low))
    else:
        found = min(low + (high - low) * share, math.nextafter(high, low))
    return math.floor(found) if values.get("integer") else found
