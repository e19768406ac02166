"""How many threads TensorFlow may use, and how it is imported: only where it is needed."""

import importlib
import os
import sys
from types import ModuleType

from schemas.errors import ModelError


def limit_threads(threads: int) -> None:
    """Set TensorFlow's number of threads; of no effect once it has been imported."""
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["TF_NUM_INTEROP_THREADS"] = "1"


def import_with_tensorflow(module: str, *, threads: int) -> ModuleType:
    """Import a module of this room that needs TensorFlow.

    Raises
    ------
    ModelError
        TensorFlow or Keras is not installed.
    """
    limit_threads(threads)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("tensorflow", "keras"):
            raise
        raise ModelError(
            f"{error.name} is not installed", "install it: pip install 'skymill[cpu]' (or 'skymill[gpu]')"
        ) from error
