"""Import what is large without Python's collector walking over all of it again and again."""

import atexit
import contextlib
import gc
from collections.abc import Iterator

atexit.register(gc.unfreeze)  # else extension modules say at the end that their types were leaked


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage while modules are imported, and never again among what they define.

    It stays until the process ends, and looking through it is a fifth of the CPU that importing TensorFlow takes,
    and a tenth of what compiling a training step with it takes then.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
