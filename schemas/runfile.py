"""Read a run file, and name all of its faults at once."""

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from schemas.config import RunFile
from schemas.errors import RunFileError
from schemas.tomlfile import check, read_toml

PREFIX = "SKYMILL_"
RESERVED = {
    "SKYMILL_PG_BIN",
    "SKYMILL_SHARED",
    "SKYMILL_SUBMISSION",
    "SKYMILL_LEASE",
    "SKYMILL_JOB_ID",
    "SKYMILL_JOB_TIMES",
    "SKYMILL_ARRAY_INDEX",
    "SKYMILL_KEEPER",
    "SKYMILL_LIFETIME_S",
    "SKYMILL_SCRIPT",
}
"""Variables of skymill's own that are no keys of a run file."""


def load_run_file(
    path: Path, *, words: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> RunFile:
    """Read, override and check a run file.

    Parameters
    ----------
    path : Path
        The TOML file.
    words : sequence of str
        ``key=value`` overrides of the command line, keys dotted.
    environ : mapping, optional
        Environment to take ``SKYMILL_SECTION__KEY`` overrides from; the process's own by default.

    Raises
    ------
    RunFileError
        If the file cannot be read, or has faults; the message lists all of them.
    """
    data = read_toml(path, "run file")
    for dotted, text in _environment(os.environ if environ is None else environ):
        _put(data, dotted, text)
    for word in words:
        dotted, sign, text = word.partition("=")
        if not sign or not dotted:
            raise RunFileError(f"expected key=value, found {word!r}", "write for example training.epochs=3")
        _put(data, dotted, text)
    return check_run_file(data, name=str(path))


def check_run_file(data: Mapping[str, Any], *, name: str = "the run file") -> RunFile:
    """Turn plain data into a `RunFile`.

    Raises
    ------
    RunFileError
        With one line a fault: the key's path, what was expected, what was found.
    """
    return check(RunFile, data, name=name, kind="run file", example="surveys/default.toml")


def _environment(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    return [
        (key.removeprefix(PREFIX).lower().replace("__", "."), value)
        for key, value in sorted(environ.items())
        if key.startswith(PREFIX) and key not in RESERVED
    ]


def _put(data: dict[str, Any], dotted: str, text: str) -> None:
    *sections, key = dotted.split(".")
    for section in sections:
        inner = data.setdefault(section, {})
        if not isinstance(inner, dict):
            raise RunFileError(f"{dotted}: {section} is not a section", "check the spelling of the key")
        data = inner
    data[key] = _value(text)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
