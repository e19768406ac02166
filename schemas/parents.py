"""A process that must not outlive the one that started it (Linux)."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None)  # loaded here: nothing may be imported between fork and exec


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when the thread that started it ends.

    It is called in the new process: first thing there, or between fork and exec.

    Parameters
    ----------
    parent : int
        Process id of the one that started it.
    number : int
        The signal.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it ended before the request was made
        os._exit(1)
