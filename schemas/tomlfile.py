"""Read TOML files of one's own, and name all of their faults at once."""

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from schemas.errors import RunFileError

Checked = TypeVar("Checked", bound=BaseModel)


def read_toml(path: Path, kind: str) -> dict[str, Any]:
    """Return what a TOML file holds; `kind` is what it is called, such as "run file".

    Raises
    ------
    RunFileError
        If it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunFileError(
            f"cannot read the {kind} {path}: {error.strerror}", f"give the path of a TOML {kind}"
        ) from error
    except UnicodeDecodeError as error:
        raise RunFileError(f"{path} is not TOML: {error}", "save it as UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise RunFileError(f"{path} is not TOML: {error}", "mend the line named above") from error


def check(model: type[Checked], data: Mapping[str, Any], *, name: str, kind: str, example: str) -> Checked:
    """Turn plain data into a `model`.

    Raises
    ------
    RunFileError
        With one line a fault: the key's path, what was expected, what was found; `example` explains every key.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        found = error.errors()
        faults = [
            line for fault in found if not _follows(fault, found) for line in _describe(fault, model, kind)
        ]
    count = f"{len(faults)} fault" + ("s" if len(faults) > 1 else "")
    raise RunFileError(
        f"{name} has {count}:\n" + "\n".join(f"  {fault}" for fault in faults),
        f"mend the keys named above; {example} explains every key",
    )


def _follows(fault: Any, faults: Sequence[Any]) -> bool:
    """Say whether a list is called too short only because what is in it has faults."""
    depth = len(fault["loc"])
    return fault["type"] == "too_short" and any(
        other["loc"][:depth] == fault["loc"] and len(other["loc"]) > depth for other in faults
    )


def _describe(fault: Any, model: type[BaseModel], kind: str) -> list[str]:
    """Return the lines of a fault: one, or as many as a check of several keys has found."""
    path = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    # A value that may hold a password, as a URL or a DSN may, is not repeated.
    secret = re.search(r"@|passw", repr(fault["input"]), re.IGNORECASE)
    found = "" if secret or "found" in message else f", found {_short(fault['input'])}"
    if fault["type"] == "extra_forbidden":
        return [f"{path}: unknown key{_suggestion(fault['loc'], model)}"]
    if fault["type"] == "missing":
        return [f"{path}: expected a value, found none"]
    if path == "schema":
        known = get_args(model.model_fields["schema_"].annotation)
        return [f"schema: expected {known[0]}{found} (a newer {kind} needs a newer skymill)"]
    return f"{path + ': ' if path else ''}{message[:1].lower()}{message[1:]}{found}".splitlines()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _suggestion(loc: tuple[Any, ...], model: type[BaseModel]) -> str:
    annotation: Any = model
    for part in loc[:-1]:
        annotation = _inner(annotation, part)
    known = [field.alias or name for name, field in annotation.model_fields.items()] if annotation else []
    near = difflib.get_close_matches(str(loc[-1]), known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known keys: {', '.join(known)}" if known else ""


def _inner(model: type[BaseModel] | None, part: Any) -> Any:
    """Return the section under a key: its own, or that of a mapping's values when `part` is one of its keys."""
    if model is None:
        return None
    if isinstance(model, _Values):
        return model.inner
    field = model.model_fields.get(str(part))
    return _section(field.annotation) if field else None


class _Values:
    """Stands for a mapping whose values are sections."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner


def _section(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    arguments = get_args(annotation)
    if get_origin(annotation) is dict:
        return _Values(_section(arguments[1]))
    if get_origin(annotation) in (Annotated, Union, UnionType):
        return next((found for argument in arguments if (found := _section(argument))), None)
    return None
