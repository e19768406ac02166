"""Presets: a network and how it is trained, as plain data in ``presets/*.toml``.

``_base.toml`` holds what every preset has unless it says otherwise.
"""

import difflib
import functools
import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.chain_words import drops, is_always_drawn, layers_of, used_branches
from schemas.errors import ModelError

_FOLDER = Path(__file__).parent / "presets"
OPTIONAL: Mapping[str, Any] = {
    "network.measures": ["rings"],
    "network.clip": 0.0,
    "network.moving_epochs": 0.0,
    "loss.crps_share": 0.0,
    "training.keep": "best",
    "optimizer.plateau_epochs": 5,
    "optimizer.lowest_rate": 0.0,
    "augment.fill": "nearest",
    "vector.missing": 0.0,
    "network.l2_of": "kernels",
}
"""Keys that a preset has only where it says them, and what holds elsewhere: so the others' digests do not name them."""
LATER = (
    *(
        "augment.flips",
        "augment.rotation_deg",
        "augment.shift",
        "augment.zoom",
        "transfer.from",
        "vector.kind",
    ),
    *("input.arcsec_per_pixel", "input.bands", "input.pixels", "input.unit"),
    *("network.bayesian", "network.divergence", "network.end"),
    *("network.faithful", "network.frozen", "network.l2"),
)
"""Keys that came after version 0.1.0: where they have ``_base``'s value a preset's dict and digest are as they were, so
that its runs find their networks again."""


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
    def drops(self) -> bool:
        """Whether the network has dropout or variational layers, which Monte-Carlo passes need."""
        network = self["network"]
        if network["kind"] != "chains":
            return network["dropout"] > 0
        return self.is_bayesian or any(drops(layer, network) for layer in self._layers())

    @property
    def is_bayesian(self) -> bool:
        """Whether weights of the network have posteriors, so that each answer is of other weights."""
        return self["network"]["bayesian"] or any(layer.get("variational") for layer in self._layers())

    @property
    def always_draws(self) -> bool:
        """Whether what the network says of a row depends on the row's draw in evaluation too, without passes."""
        network = self["network"]
        return self.is_bayesian or any(is_always_drawn(layer, network) for layer in self._layers())

    def _layers(self) -> Iterator[Mapping[str, Any]]:
        """Yield the layers of a network of chains, branch by branch; no other kind says its layers."""
        network = self["network"]
        branches = used_branches(network) if network["kind"] == "chains" else []
        return (layer for branch in branches for layer in layers_of(branch, network))

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides the result."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """Return the preset as JSON-able values, the inverse of `preset_from_dict`, which knows those of `LATER`."""
        said = flat(self.sections)
        unsaid = {key for key, value in _later().items() if said.get(key) == value}
        sections = {
            name: {key: value for key, value in section.items() if f"{name}.{key}" not in unsaid}
            for name, section in self.sections.items()
        }
        return {
            "name": self.name,
            "description": self.description,
            "minimum_pixels": self.minimum_pixels,
            "sections": {name: section for name, section in sections.items() if section},
        }


def preset_from_dict(values: Mapping[str, Any]) -> Preset:
    """Return the preset `Preset.as_dict` described."""
    sections = {name: dict(section) for name, section in values["sections"].items()}
    for key, value in _later().items():
        section, name = key.split(".")
        sections.setdefault(section, {}).setdefault(name, value)
    return Preset(values["name"], values["description"], values["minimum_pixels"], sections)


@functools.cache
def _later() -> dict[str, Any]:
    base = flat(_table("_base"))
    return {key: base[key] for key in LATER}


def preset_names() -> list[str]:
    """Return the names of the presets that are shipped.

    >>> {"light", "menko", "csst-hybrid"} <= set(preset_names())
    True
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
    table = _table(name)
    description, minimum_pixels = table.pop("description"), table.pop("minimum_pixels")
    for key, value in flat(overrides or {}).items():
        _put(table, name, key, value)
    return Preset(name, description, minimum_pixels, table)


def _table(name: str) -> dict[str, Any]:
    """Return what the file of a preset says, with what it has from the one it is ``based_on``, or ``_base``."""
    own = tomllib.loads((_FOLDER / f"{name}.toml").read_text())
    if name == "_base":
        return own
    base = _table(own.pop("based_on", "_base"))
    sections = {key: base.get(key, {}) | value for key, value in own.items() if isinstance(value, dict)}
    return base | own | sections


def flat(overrides: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested overrides by their dotted keys.

    >>> flat({"head": {"bins": 90}, "training.epochs": 3})
    {'head.bins': 90, 'training.epochs': 3}
    """
    found: dict[str, Any] = {}
    for key, value in overrides.items():
        if isinstance(value, Mapping):
            found.update(flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found


def _put(table: dict[str, Any], preset: str, key: str, value: Any) -> None:
    known = OPTIONAL.keys() | {f"{section}.{name}" for section, values in table.items() for name in values}
    if key not in known:
        nearest = difflib.get_close_matches(key, known, 1, 0.5)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise ModelError(
            f"preset {preset!r} has no key {key!r}", f"{hint}known keys: {', '.join(sorted(known))}"
        )
    section, name = key.split(".")
    old = table[section].get(name, OPTIONAL.get(key))
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(old):
        raise ModelError(
            f"model.overrides: {key}: expected {type(old).__name__} such as {old!r}, found {value!r}",
            f"give {key} a value of type {type(old).__name__}",
        )
    table[section][name] = value
