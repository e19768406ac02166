"""What travels between driver and workers: tasks, and what became of them.

Functions travel by name (``package.module:function``), so that the driver never has to import what only
workers need, TensorFlow above all.
"""

import importlib
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import SkymillError
from schemas.imports import uncollected


@dataclass(frozen=True)
class Task:
    """One call of `work` with `arguments`; `key` names it in logs, `attempt` fences its result.

    ``starts`` is how often it may be started, should its worker die; ``stage`` is what its worker must be for, where
    workers are for some stages only.
    """

    key: str
    work: str
    arguments: dict[str, Any] = field(default_factory=dict, hash=False)
    attempt: int = 1
    starts: int = 1
    stage: str = ""


@dataclass(frozen=True)
class GroupTask:
    """One call of `work` on every member of a group, as ``work(**arguments, place=, tell=, stopped=)``.

    ``key`` names it, and fences members that a dead driver left behind; generations are numbered from
    ``first_generation``; ``attempts`` is how many may fail one after the other without a new durable step.
    ``growable`` says that it may be asked to begin anew when more workers are there, ``deadline_s`` after how long
    [s] a silent member is ended by its own task; the driver waits for twice as long.
    """

    key: str
    work: str
    arguments: dict[str, Any] = field(default_factory=dict, hash=False)
    attempt: int = 1
    attempts: int = 4
    first_generation: int = 1
    growable: bool = True
    deadline_s: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What became of a task: a value, or an error and how often the task was started.

    ``killed`` says that the error is the death of each worker that took it.
    """

    task: Task | GroupTask
    value: Any = None
    error: SkymillError | None = None
    starts: int = 1
    killed: bool = False


def find(work: str) -> Callable[..., Any]:
    """Return the function that ``package.module:function`` names.

    Examples
    --------
    >>> find("os.path:basename")("a/b")
    'b'
    """
    module, _, name = work.partition(":")
    if module not in sys.modules:
        with uncollected():
            importlib.import_module(module)
    function = getattr(sys.modules[module], name)
    return function  # type: ignore[no-any-return]


def whoami() -> str:
    """Return ``host:pid`` of this process."""
    return f"{socket.gethostname()}:{os.getpid()}"
