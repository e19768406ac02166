"""Read a run file, and name all of its faults at once."""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from schemas.config import SCHEMA, RunFile
from schemas.errors import RunFileError

PREFIX = "SKYMILL_"
RESERVED = {"SKYMILL_PG_BIN", "SKYMILL_SHARED", "SKYMILL_SUBMISSION", "SKYMILL_LEASE"}


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
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunFileError(
            f"cannot read the run file {path}: {error.strerror}", "give the path of a TOML run file"
        ) from error
    except UnicodeDecodeError as error:
        raise RunFileError(f"{path} is not TOML: {error}", "save it as UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise RunFileError(f"{path} is not TOML: {error}", "mend the line named above") from error
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
    try:
        return RunFile.model_validate(data)
    except ValidationError as error:
        faults = [_describe(fault) for fault in error.errors()]
    count = f"{len(faults)} fault" + ("s" if len(faults) > 1 else "")
    raise RunFileError(
        f"{name} has {count}:\n" + "\n".join(f"  {fault}" for fault in faults),
        "mend the keys named above; surveys/default.toml explains every key",
    )


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


def _describe(fault: Any) -> str:
    path = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    # A value that may hold a password, as a URL or a DSN may, is not repeated.
    secret = re.search(r"@|passw", repr(fault["input"]), re.IGNORECASE)
    found = "" if secret or "found" in message else f", found {_short(fault['input'])}"
    if fault["type"] == "extra_forbidden":
        return f"{path}: unknown key{_suggestion(fault['loc'])}"
    if fault["type"] == "missing":
        return f"{path}: expected a value, found none"
    if path == "schema":
        return f"schema: expected {SCHEMA}{found} (a newer run file needs a newer skymill)"
    return f"{path + ': ' if path else ''}{message[:1].lower()}{message[1:]}{found}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _suggestion(loc: tuple[Any, ...]) -> str:
    section: Any = RunFile
    for part in loc[:-1]:
        field = section.model_fields.get(part) if _is_section(section) else None
        annotation = field.annotation if field else None
        section = annotation if _is_section(annotation) else None
    known = [field.alias or name for name, field in section.model_fields.items()] if section else []
    near = difflib.get_close_matches(str(loc[-1]), known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known keys: {', '.join(known)}" if known else ""


def _is_section(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)
