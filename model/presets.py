"""Presets: a network and how it is trained, as plain data in ``presets/*.toml``.

``_base.toml`` holds what every preset has unless it says otherwise.
"""

import difflib
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import ModelError

_FOLDER = Path(__file__).parent / "presets"


@dataclass(frozen=True)
class Preset:
    """A resolved preset: the tables of its file with the overrides put in.

    ``sections`` holds ``input``, ``network``, ``head``, ``loss``, ``optimizer`` and ``training``.
    """

    name: str
    description: str
    minimum_pixels: int
    sections: Mapping[str, Mapping[str, Any]]

    def __getitem__(self, section: str) -> Mapping[str, Any]:
        return self.sections[section]

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides the result."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """Return the preset as JSON-able values, the inverse of `preset_from_dict`."""
        return {
            "name": self.name,
            "description": self.description,
            "minimum_pixels": self.minimum_pixels,
            "sections": {key: dict(value) for key, value in self.sections.items()},
        }


def preset_from_dict(values: Mapping[str, Any]) -> Preset:
    """Return the preset `Preset.as_dict` described."""
    return Preset(values["name"], values["description"], values["minimum_pixels"], values["sections"])


def preset_names() -> list[str]:
    """Return the names of the presets that are shipped.

    >>> preset_names()
    ['light', 'menko']
    """
    return sorted(path.stem for path in _FOLDER.glob("[!_]*.toml"))


def load_preset(name: str, overrides: Mapping[str, Any] | None = None) -> Preset:
    """Return the preset `name` with `overrides` put in.

    Parameters
    ----------
    name : str
        One of `preset_names`.
    overrides : Mapping
        Values by key, nested as in the file or dotted: ``{"head": {"bins": 90}}`` and ``{"head.bins": 90}``
        are the same.

    Raises
    ------
    ModelError
        There is no such preset, it has no such key, or a value has the wrong type.

    >>> load_preset("menko", {"training.epochs": 80})["training"]["epochs"]
    80
    """
    if name not in preset_names():
        raise ModelError(
            f"there is no preset {name!r}", f"set model.preset to one of: {', '.join(preset_names())}"
        )
    base, own = (tomllib.loads((_FOLDER / f"{file}.toml").read_text()) for file in ("_base", name))
    description, minimum_pixels = own.pop("description"), own.pop("minimum_pixels")
    table = {section: base.get(section, {}) | own.get(section, {}) for section in base | own}
    for key, value in _flat(overrides or {}).items():
        _put(table, name, key, value)
    return Preset(name, description, minimum_pixels, table)


def _flat(overrides: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in overrides.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _put(table: dict[str, Any], preset: str, key: str, value: Any) -> None:
    known = {f"{section}.{name}" for section, values in table.items() for name in values}
    if key not in known:
        nearest = difflib.get_close_matches(key, known, 1, 0.5)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise ModelError(
            f"preset {preset!r} has no key {key!r}", f"{hint}known keys: {', '.join(sorted(known))}"
        )
    section, name = key.split(".")
    old = table[section][name]
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(old):
        raise ModelError(
            f"model.overrides: {key}: expected {type(old).__name__} such as {old!r}, found {value!r}",
            f"give {key} a value of type {type(old).__name__}",
        )
    table[section][name] = value
