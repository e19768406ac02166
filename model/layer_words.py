"""Which values the words of a layer may have (`model.chain_words`): a wrong one is told when a run is planned."""

from collections.abc import Callable, Mapping
from typing import Any

Test = tuple[str, Callable[[Any], bool]]

ACTIVATIONS = (
    "linear",
    "relu",
    "leaky_relu",
    "prelu",
    "gelu",
    "elu",
    "selu",
    "silu",
    "softplus",
    "tanh",
    "sigmoid",
)
"""Activations of a layer: those of Keras, leaky_relu with the slope of `model.chains`, and prelu with weights."""


def _whole(value: Any, least: int = 1) -> bool:
    return type(value) is int and value >= least


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _wholes(value: Any, count: int | None = None, least: int = 1) -> bool:
    listed = isinstance(value, list | tuple) and len(value) > 0 and count in (None, len(value))
    return listed and all(_whole(each, least) for each in value)


def one_of(*words: str) -> Test:
    """Return the test for one of some words."""
    return f"one of {', '.join(words)}", lambda value: isinstance(value, str) and value in words


_COUNT: Test = ("a whole number, 1 or more", _whole)
_SIDES: Test = (
    "a whole number, 1 or more, or a list of two",
    lambda value: _whole(value) or _wholes(value, 2),
)
_NARROW_WIDE: Test = ("a list of two whole numbers, 1 or more", lambda value: _wholes(value, 2))
_FLAG: Test = ("true or false", lambda value: isinstance(value, bool))

VALUES: Mapping[str, Test] = {
    "kernel": _SIDES,
    "filters": _COUNT,
    "units": _COUNT,
    "stride": _SIDES,
    "size": _SIDES,
    "padding": one_of("same", "valid"),
    "how": one_of("max", "average"),
    "norm": _FLAG,
    "activation": one_of(*ACTIVATIONS),
    "l2": ("0 or more", lambda value: _number(value) and value >= 0),
    "name": ("a text without /", lambda value: isinstance(value, str) and value != "" and "/" not in value),
    "variational": _FLAG,
    "one": _COUNT,
    "three": _NARROW_WIDE,
    "five": _NARROW_WIDE,
    "pool": _COUNT,
    "pool_last": _FLAG,
    "pad_first": _FLAG,
    "rate": ("0 or more and less than 1", lambda value: _number(value) and 0 <= value < 1),
    "always": _FLAG,
    "sigma": ("more than 0", lambda value: _number(value) and 0 < value < float("inf")),
    "features": ("a list of places in the vector, from 0", lambda value: _wholes(value, least=0)),
    "repeat": _COUNT,
}
"""Of each word of a layer what it may say: in words, and as a test."""
OWN: Mapping[str, Mapping[str, Test]] = {
    "pool": {"padding": one_of("same", "valid", "first"), "size": _SIDES},
    "inception": {"stride": _COUNT, "size": _COUNT},
}
"""Where a kind of layer differs from `VALUES`."""
BRANCH: Mapping[str, Test] = {
    "name": ("a text without /", lambda value: isinstance(value, str) and value != "" and "/" not in value),
    "input": (
        "a name, or a list of names",
        lambda value: _names([value] if isinstance(value, str) else value),
    ),
    "layers": ("a list of layers, [{kind = ...}, ...]", lambda value: isinstance(value, list | tuple)),
    "bands": ("two ascending numbers, from 0", lambda value: _wholes(value, 2, 0) and value[0] < value[1]),
}
"""Of each word of a branch what it may say."""


def _names(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(each, str) for each in value)


def wrong(said: Mapping[str, Any], tests: Mapping[str, Test]) -> str:
    """Return what is wrong with the first value that fails its test, empty where none does.

    >>> wrong({"units": -1}, VALUES)
    'units: expected a whole number, 1 or more, found -1'
    """
    for key, value in said.items():
        if key in tests and not tests[key][1](value):
            return f"{key}: expected {tests[key][0]}, found {value!r}"
    return ""
