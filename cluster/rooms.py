"""Make sure that the four rooms on this machine are ours.

``pipeline``, ``cluster``, ``model`` and ``schemas`` are common words: a stray ``model.py`` in a job's
folder, or a foreign package of that name, would shadow ours and fail late and oddly.
"""

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

from schemas.errors import SkymillError

ROOMS = ("pipeline", "cluster", "model", "schemas")
HOME = Path(__file__).resolve().parents[1]


def check_rooms() -> str:
    """Return the installed version of skymill, after checking where its rooms come from.

    Raises
    ------
    SkymillError
        If a room is missing, comes from elsewhere, or skymill is not installed here.
    """
    for room in ROOMS:
        spec = importlib.util.find_spec(room)
        found = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if found != HOME / room:
            raise SkymillError(
                f"the package {room!r} should come from {HOME / room}, but Python finds {found or 'nothing'}",
                f"start in another folder, rename what shadows {room!r}, or set PYTHONSAFEPATH=1",
            )
    try:
        version = importlib.metadata.version("skymill")
    except importlib.metadata.PackageNotFoundError as error:
        raise SkymillError(
            f"skymill is not installed for {sys.executable}", "install it there: pip install skymill[cpu]"
        ) from error
    return f"{version} (Python {sys.version_info.major}.{sys.version_info.minor})"
