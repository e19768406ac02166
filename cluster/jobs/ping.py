"""The job of ``skymill ping``: look at the node it runs on, talk to the others, write down what was found.

``python -m cluster.jobs.ping FOLDER NAME``. The folder lies on the shared file system and holds ``.order.json``,
what is to be tried; the job puts ``NAME.json`` beside it, and adds to it until all is known. ``leave`` ends it.
"""

import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cluster.jobs import node
from cluster.jobs.asking import scratch_here
from cluster.jobs.reach import Door, first_reached, greet_job, reach, reach_url
from cluster.submission import read_json, write_json

ORDER = ".order.json"
"""No pool has such a name: ``NAME.json`` is the answer of a pool's job."""
LEAVE = "leave"
"""Once this file is in the folder, the jobs end."""
SEEN = "seen"
"""``NAME.seen`` is written where `skymill ping` was called, as soon as the answer is seen there."""
ORDER_S = 60.0
"""How long a job looks for its order: a network file system may show a new file late."""
POLL_S = 0.1


def main(argv: list[str] | None = None) -> int:
    """Answer one ping; return 0, or 1 if there is no order."""
    signal.signal(
        signal.SIGUSR1, signal.SIG_IGN
    )  # a scheduler may warn of the walltime; this job is over by then
    folder, name = (sys.argv[1:] if argv is None else argv)[:2]
    return Answer(Path(folder), name).give()


class Answer:
    """What one job finds, and the file it goes into."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.found: dict[str, Any] = {"name": name, "node": socket.gethostname(), "complete": False}

    def give(self) -> int:
        """Look, talk and write until all is known and the others need this job no more."""
        started = time.monotonic()
        while (order := read_json(self.folder / ORDER)) is None:
            if time.monotonic() - started > ORDER_S:
                print(f"{self.folder / ORDER} is not to be seen on {socket.gethostname()}", file=sys.stderr)
                return 1
            time.sleep(POLL_S)
        lives_s = float(order["lives_s"][self.name])
        with Door(str(order["interface"]), str(order["nonce"]), self.name) as door:
            self.found |= {
                "nonce": order["nonce"],
                "address": door.address,
                "port": door.port,
                "door": door.fault,
            }
            self.found |= {"interfaces": node.interfaces()}
            self._write()
            self._look(order)
            self._talk(order, until=started + lives_s)
            while time.monotonic() < started + lives_s and not (self.folder / LEAVE).exists():
                time.sleep(POLL_S)
        return 0

    def _write(self) -> None:
        write_json(self.folder / f"{self.name}.json", self.found)

    def _look(self, order: Mapping[str, Any]) -> None:
        written = time.monotonic()
        looks: dict[str, Callable[[], Any]] = {
            "versions": node.versions,
            "rooms": node.rooms,
            "memory": node.memory,
            "cores": node.cores,
            "gpus": node.gpus,
            "open_files": _open_files,
            "skew_s": lambda: node.clock_skew_s(self.folder),
            "folders": lambda: {key: look_at(**each) for key, each in order["folders"].items()},
            "login": lambda: first_reached(order["login"]["addresses"], int(order["login"]["port"])),
            "source": lambda: reach_url(order["source"]) if order["source"] else None,
            "database": lambda: _database(order, self.name),
            "round_trip_s": lambda: self._round_trip_s(written),
            "scratch": lambda: _scratch(str(order["scratch"]), self.folder),
        }
        for key, look in looks.items():
            try:
                self.found[key] = look()
            except OSError as error:  # a node may be odd; what it is asked next still counts
                self.found.setdefault("faults", {})[key] = f"{type(error).__name__}: {error}"
        self.found["looked"] = True
        self._write()

    def _round_trip_s(self, written: float) -> float | None:
        while time.monotonic() < written + ORDER_S:
            if (self.folder / f"{self.name}.{SEEN}").exists():
                return time.monotonic() - written
            time.sleep(POLL_S / 2)
        return None

    def _talk(self, order: Mapping[str, Any], *, until: float) -> None:
        peers: dict[str, Any] = {}
        waiting = [name for name in order["names"] if name != self.name]
        while waiting and time.monotonic() < until and not (self.folder / LEAVE).exists():
            for name in list(waiting):
                other = read_json(self.folder / f"{name}.json")
                if other is None or other.get("nonce") != order["nonce"]:
                    continue
                waiting.remove(name)
                peers[name] = greet_job(other, str(order["nonce"]))
                self.found["peers"] = peers
                self._write()
            time.sleep(POLL_S)
        self.found |= {"peers": peers, "complete": not waiting}
        self._write()


def look_at(path: str, marker: str) -> dict[str, Any]:
    """Return whether a folder's marker is seen here, whether one can write beside it, and on what it lies."""
    folder = Path(path)
    return {
        "path": path,
        "seen": (folder / marker).exists(),
        "writable": os.access(folder, os.W_OK),
        **node.file_system(folder),
    }


def _database(order: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    if not order["database"] or name != "driver":
        return None
    return reach(order["database"][0], int(order["database"][1]))


def _scratch(scratch: str, folder: Path) -> dict[str, Any]:
    path = scratch_here(scratch) if scratch else folder / "scratch"
    if path is None:
        return {"path": scratch, "fault": "a variable in it is not set there"}
    return node.try_scratch(path)


def _open_files() -> dict[str, int]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {"soft": soft, "hard": hard}


if __name__ == "__main__":
    sys.exit(main())
