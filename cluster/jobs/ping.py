"""The job of ``skymill ping``: look at the node it runs on, talk to the others, write down what was found.

``python -m cluster.jobs.ping FOLDER NAME``. The folder lies on the shared file system and holds ``ping.json``, what
is to be tried; the job puts ``NAME.json`` beside it, and adds to it until all is known. ``leave`` ends it.
"""

import http.client
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster.jobs import node
from cluster.submission import read_json, write_json

ORDER = "ping.json"
LEAVE = "leave"
"""Once this file is in the folder, the jobs end."""
SEEN = "seen"
"""``NAME.seen`` is written where `skymill ping` was called, as soon as the answer is seen there."""
ORDER_S = 60.0
"""How long a job looks for its order: a network file system may show a new file late."""
CONNECT_S = 5.0
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
            "login": lambda: _first_reached(order["login"]["addresses"], int(order["login"]["port"])),
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
                peers[name] = _greet(other, str(order["nonce"]))
                self.found["peers"] = peers
                self._write()
            time.sleep(POLL_S)
        self.found |= {"peers": peers, "complete": not waiting}
        self._write()


class Door:
    """A port on an interface that tells who asks the right word the name behind it."""

    def __init__(self, interface: str, nonce: str, name: str) -> None:
        self.address = node.address_of(interface)
        self.port = 0
        self.fault = ""
        self._nonce, self._name = nonce.encode(), name.encode()
        self._server: socket.socket | None = None
        if not self.address:
            self.fault = "no such interface"
            return
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        try:
            self._server = socket.create_server((self.address, 0), family=family)
        except OSError as error:
            self.fault = _words(error)
            return
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._answer, args=(self._server,), daemon=True).start()

    def __enter__(self) -> "Door":
        return self

    def __exit__(self, *error: object) -> None:
        if self._server:
            self._server.close()

    def _answer(self, server: socket.socket) -> None:
        while True:
            try:
                caller, _ = server.accept()
            except OSError:  # closed
                return
            with suppress(OSError), caller:
                caller.settimeout(CONNECT_S)
                if caller.recv(256) == self._nonce:
                    caller.sendall(self._name)


def greet(address: str, port: int, nonce: str) -> str:
    """Connect to a `Door` and return the name behind it.

    Raises
    ------
    OSError
        If it cannot be reached, or something else answers there.
    """
    with socket.create_connection((address, port), timeout=CONNECT_S) as caller:
        caller.sendall(nonce.encode())
        name = caller.recv(256).decode("utf-8", "replace")
    if not name:
        raise ConnectionAbortedError("something else listens there")
    return name


def _greet(other: Mapping[str, Any], nonce: str) -> dict[str, Any]:
    if not other.get("port"):
        return {"reached": False, "tried": False, "words": f"it has no open port ({other.get('door')})"}
    where = f"{other['address']}:{other['port']} on {other['node']}"
    for _ in range(2):
        try:
            started = time.monotonic()
            greet(str(other["address"]), int(other["port"]), nonce)
        except OSError as error:
            words = f"{where}: {_words(error)}"
            continue
        return {"reached": True, "words": where, "seconds": time.monotonic() - started}
    return {"reached": False, "words": words}


def _first_reached(addresses: list[str], port: int) -> dict[str, Any]:
    words = "no address"
    for address in addresses:
        found = reach(address, port, timeout_s=2.0)
        if found["reached"]:
            return found
        words = str(found["words"])
    return {"reached": False, "words": words}


def reach(host: str, port: int, *, timeout_s: float = CONNECT_S) -> dict[str, Any]:
    """Return whether a port takes a connection, and in which words it does not."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s):
            return {"reached": True, "words": f"{host}:{port}"}
    except OSError as error:
        return {"reached": False, "words": f"{host}:{port}: {_words(error)}"}


def reach_url(url: str) -> dict[str, Any]:
    """Return whether a web server answers at all: as the mill does, without a proxy."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=3 * CONNECT_S)
    try:
        connection.request("HEAD", parts.path or "/")
        return {"reached": True, "words": f"{url}: {connection.getresponse().status}"}
    except (OSError, http.client.HTTPException) as error:
        return {"reached": False, "words": f"{url}: {_words(error)}"}
    finally:
        connection.close()


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
    path = os.path.expandvars(scratch) if scratch else str(folder / "scratch")
    if "$" in path:
        return {"path": path, "fault": "a variable in it is not set there"}
    return node.try_scratch(Path(path))


def _open_files() -> dict[str, int]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {"soft": soft, "hard": hard}


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    return str(getattr(error, "strerror", None) or error)


if __name__ == "__main__":
    sys.exit(main())
