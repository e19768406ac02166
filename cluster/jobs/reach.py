"""What a job reaches: ports, web servers, and the doors of other jobs."""

import http.client
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from cluster.jobs import node

CONNECT_S = 5.0


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


def greet_job(other: Mapping[str, Any], nonce: str) -> dict[str, Any]:
    """Return whether the `Door` of another job, by its answer so far, is reached, and in which words it is not."""
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


def first_reached(addresses: list[str], port: int) -> dict[str, Any]:
    """Return which of a machine's addresses takes a connection; the words of the last one if none does."""
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


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    return str(getattr(error, "strerror", None) or error)
