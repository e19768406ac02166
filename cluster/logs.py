"""Logs go to files of the run folder, never to the terminal of the user."""

import contextlib
import logging
from pathlib import Path

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
NAME = "skymill"


def log_to_file(path: Path) -> None:
    """Send the logs of this process to a file, those of distributed included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.name = NAME
    handler.setFormatter(logging.Formatter(FORMAT))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for name in ("distributed", "tornado", "bokeh"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)


def open_logs() -> list[Path]:
    """Return the files that the logs of this process go to."""
    return [Path(log.baseFilename) for log in _handlers()]


def close_logs() -> None:
    """Let go of the files that the logs of this process go to: the next verb has its own."""
    for handler in _handlers():
        logging.getLogger().removeHandler(handler)
        with contextlib.suppress(OSError):  # a full disk was told when the product met it
            handler.close()


def _handlers() -> list[logging.FileHandler]:
    handlers = logging.getLogger().handlers
    return [log for log in handlers if isinstance(log, logging.FileHandler) and log.name == NAME]
