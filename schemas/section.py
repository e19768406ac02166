"""What the sections of a run file have in common: how they read paths, names and shares."""

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _expand(value: str) -> str:
    expanded = os.path.expandvars(str(Path(value).expanduser()) if value.startswith("~") else value)
    if missing := re.findall(r"\$\{?(\w+)", expanded):
        raise ValueError(f"expected the environment variable {missing[0]} to be set")
    return expanded


ExpandedPath = Annotated[str, AfterValidator(_expand)]
"""A path in which ``~`` and ``$VARIABLES`` are expanded."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]


class Section(BaseModel):
    """A frozen part of the run file that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
