"""How many threads the framework may use, and how it is imported: only where it is needed."""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType

from schemas.errors import ModelError
from schemas.imports import uncollected

_INSTALL = {
    "keras": "pip install 'skymill[cpu]' (or 'skymill[gpu]')",
    "tensorflow": "pip install 'skymill[cpu]' (or 'skymill[gpu]')",
    "jax": "pip install jax",
    "torch": "pip install torch",
}

_NOT_USED = ("jax", "matplotlib", "pandas", "sklearn")
"""What TensorFlow and Keras import where it is installed, for parts of theirs that this room does not use.

It is 3 of the 7 s of CPU that importing them takes, in each trainer: `python -X importtime -c "import tensorflow"`.
"""


def limit_threads(threads: int) -> None:
    """Set the framework's number of threads; of no effect once it has been imported."""
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["TF_NUM_INTEROP_THREADS"] = "1"


def import_with_tensorflow(module: str, *, threads: int) -> ModuleType:
    """Import a module of this room that needs Keras and its framework, mostly TensorFlow.

    Raises
    ------
    ModelError
        One of them is not installed.
    """
    limit_threads(threads)
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    try:
        if "keras" not in sys.modules:
            with uncollected(), _as_if_absent(name for name in _NOT_USED if name != backend):
                importlib.import_module("keras")
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        name = (error.name or "").split(".")[0]
        if name not in _INSTALL:
            raise
        raise ModelError(f"{error.name} is not installed", f"install it: {_INSTALL[name]}") from error


@contextlib.contextmanager
def _as_if_absent(names: Iterable[str]) -> Iterator[None]:
    """Let imports of packages fail meanwhile as if they were not installed, unless they are imported already."""
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None has an import fail
    try:
        yield
    finally:
        for name in absent:
            if sys.modules.get(name) is None:
                sys.modules.pop(name, None)


def engine() -> ModuleType:
    """Return the module that speaks Keras's framework: `model.engines` for TensorFlow, else `model.portable`.

    Raises
    ------
    ModelError
        The framework is not installed.
    """
    tensorflow = os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow"
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    return import_with_tensorflow("model.engines" if tensorflow else "model.portable", threads=threads)
