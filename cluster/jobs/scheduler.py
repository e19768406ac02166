"""The Dask scheduler of a submission: ``python -m cluster.jobs.scheduler FOLDER INTERFACE``."""

import asyncio
import logging
import signal
import sys
import time
from pathlib import Path

import dask
from distributed import Scheduler

from cluster.session import SETTINGS
from cluster.submission import Submission, read_json, write_json

ALLOWED_FAILURES = 100
"""Deaths of workers with a task; how often one may be started is counted by ``cluster.starts``."""
LAST_S = 3.0
"""Workers have so long [s] to leave by themselves when the submission has ended."""


async def serve(submission: Submission, interface: str) -> None:
    """Run until a signal comes; a file tells workers and clients where it is, once it listens."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    scheduler = await Scheduler(interface=interface or None, port=0, dashboard_address=":0")
    write_json(submission.scheduler_file, scheduler.identity())
    await told.wait()
    logging.disable()  # of each connection that ends with it, Dask would print a traceback
    if (read_json(submission.scheduler_file) or {}).get("id") == scheduler.id:
        submission.scheduler_file.unlink(missing_ok=True)
    deadline = time.monotonic() + LAST_S
    while submission.end is not None and scheduler.workers and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    await scheduler.close(reason="the driver's job ends")


if __name__ == "__main__":
    logging.getLogger("distributed").setLevel(logging.ERROR)
    dask.config.set({"distributed.scheduler.allowed-failures": ALLOWED_FAILURES, **SETTINGS})
    asyncio.run(serve(Submission(Path(sys.argv[1])), sys.argv[2]))
