"""Open a sky and serve it until told to stop."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

from pipeline.sandbox.default_sky import DefaultSky
from pipeline.sandbox.options import READY_LINE, SandboxOptions
from pipeline.sandbox.recorded_sky import RecordedSky
from pipeline.sandbox.service import SandboxService
from pipeline.sandbox.sky import Sky
from schemas.errors import SourceError


def open_sky(options: SandboxOptions) -> Sky:
    """Open the sky that the options name.

    Raises
    ------
    StoreError
        If a recorded sky's folder is faulty.
    SourceError
        If the default sky's data are not installed, or the folder of HST stamps has none.
    """
    if options.sky == "default":
        return DefaultSky(options.seed, csst_galaxies=options.csst_galaxies, stamps=options.stamps)
    return RecordedSky(Path(options.sky))


async def _run(options: SandboxOptions, announce: Callable[[str], object]) -> None:
    server = SandboxService(open_sky(options), options)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    try:
        announce(f"{READY_LINE} {await server.start()}")
    except OSError as fault:
        raise SourceError(
            f"the sandbox cannot listen on {options.host}:{options.port}: {fault.strerror}",
            "choose a --host of this machine, and another --port, or 0 for a free one",
        ) from fault
    try:
        await ended.wait()
    finally:
        await server.stop()


def serve(options: SandboxOptions) -> None:
    """Serve until SIGTERM; prints ``sandbox ready URL`` when it answers.

    Parameters
    ----------
    options : SandboxOptions
        What to be.

    Raises
    ------
    StoreError
        If a recorded sky's folder is faulty.
    SourceError
        If the default sky's data are not installed, or the port cannot be had.
    """
    asyncio.run(_run(options, lambda line: print(line, flush=True)))
