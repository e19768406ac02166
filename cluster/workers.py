"""What every worker of a run is given when it joins."""

import os
from pathlib import Path

from distributed import Worker
from distributed.diagnostics.plugin import WorkerPlugin

from cluster.logs import log_to_file


class WorkerLog(WorkerPlugin):  # type: ignore[misc]
    """Give every worker, a restarted one too, a log file of its own."""

    name = "skymill-log"

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def setup(self, worker: Worker) -> None:
        """Turn logging, stdout and stderr of the worker's process into its file."""
        if worker.nanny is None:  # shares its process with the one who started it
            return
        path = Path(self._folder) / f"worker-{os.uname().nodename}-{os.getpid()}.log"
        log_to_file(path)
        with path.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
