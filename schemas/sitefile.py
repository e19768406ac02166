"""Find and read a site file, and name all of its faults at once."""

import difflib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.errors import RunFileError
from schemas.site import Site
from schemas.tomlfile import check, read_toml

FOLDERS = ("sites", "~/.config/skymill/sites")
"""Where ``NAME.toml`` is looked for."""

BUILT_IN: dict[str, dict[str, Any]] = {
    "local": {
        "name": "local",
        "kind": "local",
        "interface": "lo" if sys.platform == "linux" else "lo0",
        "node_local": [],
        "driver": {"memory_gib": 2.0, "walltime": "30-00:00:00"},
        "pools": {"workers": {"memory_gib": 2.0, "walltime": "30-00:00:00"}},
    }
}
"""Sites that need no file."""


def load_site(name: str) -> Site:
    """Return the site of that name.

    Parameters
    ----------
    name : str
        A path, or a name: ``sites/NAME.toml`` here, ``~/.config/skymill/sites/NAME.toml``, or a built-in one.

    Raises
    ------
    RunFileError
        If there is none, or its file has faults; the message lists all of them.
    """
    try:
        path = _path_of(name)
    except (OSError, RuntimeError, ValueError) as error:
        raise RunFileError(
            f"cannot look for the site {name!r}: {error}", "give another path or name"
        ) from error
    if path:
        return _read(path)
    if name in BUILT_IN:
        return check_site(BUILT_IN[name], name=f"the built-in site {name}")
    known = known_sites()
    near = difflib.get_close_matches(name, known, n=1)
    raise RunFileError(
        f"unknown site {name!r}{f'; did you mean {near[0]}?' if near else ''}; there are {', '.join(known)}",
        f"give the path of a site file, or write {FOLDERS[0]}/{name}.toml; surveys/sites has one of every kind",
    )


def _path_of(name: str) -> Path | None:
    if name.endswith(".toml") or os.sep in name:
        return Path(name).expanduser()
    paths = (Path(folder).expanduser() / f"{name}.toml" for folder in FOLDERS)
    return next((path for path in paths if path.exists()), None)


def known_sites() -> list[str]:
    """Return the names of all sites that can be found from here."""
    files = (path.stem for folder in FOLDERS for path in Path(folder).expanduser().glob("*.toml"))
    return sorted({*files, *BUILT_IN})


def check_site(data: Mapping[str, Any], *, name: str = "the site file") -> Site:
    """Turn plain data into a `Site`.

    Raises
    ------
    RunFileError
        With one line a fault: the key's path, what was expected, what was found.
    """
    return check(Site, data, name=name, kind="site file", example="surveys/sites/slurm.toml")


def _read(path: Path) -> Site:
    return check_site({"name": path.stem, **read_toml(path, "site file")}, name=str(path))
