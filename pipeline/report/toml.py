"""Write plain data as TOML, so that a resolved run file can be run again."""

import json
from collections.abc import Mapping
from typing import Any


def as_toml(data: Mapping[str, Any], *, name: str = "") -> str:
    """Return `data` as TOML; keys without a value are left out, as TOML has no null.

    >>> print(as_toml({"seed": 1, "images": {"bands": ["i", "r"], "path": None}}))
    seed = 1
    <BLANKLINE>
    [images]
    bands = ["i", "r"]
    """
    plain = [
        f"{_key(k)} = {_value(v)}" for k, v in data.items() if v is not None and not isinstance(v, Mapping)
    ]
    tables = {f"{name}.{_key(k)}" if name else _key(k): v for k, v in data.items() if isinstance(v, Mapping)}
    blocks = []
    if plain or (name and not tables):
        blocks.append("\n".join(([f"[{name}]"] if name else []) + plain))
    blocks += [as_toml(table, name=path) for path, table in tables.items()]
    return "\n\n".join(blocks)


def _key(key: str) -> str:
    return key if key and all(c.isascii() and (c.isalnum() or c in "_-") for c in key) else _string(key)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None) + "}"
    return json.dumps(value)


def _string(text: str) -> str:
    if "\n" in text and "'''" not in text and "\r" not in text:
        return f"'''\n{text}'''"
    return json.dumps(text, ensure_ascii=False)
