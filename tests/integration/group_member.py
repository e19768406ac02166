"""Work of a member, for the tests of groups: in step with its peers over plain sockets."""

import os
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from distributed import Worker, get_worker
from distributed.core import Status

import schemas.errors
from schemas.errors import PeerLost
from schemas.records import Place


def keep_step(
    *,
    folder: str,
    steps: int,
    place: Place,
    tell: Any,
    stopped: Any,
    fails: dict[int, str] | None = None,
    bad: dict[str, str] | None = None,
    every: int = 5,
    step_s: float = 0.02,
) -> Any:
    """Make `steps` steps with all peers; rank 0 notes each `every` of them, and goes on from there.

    ``fails`` names the error that a rank raises after its first step, ``bad`` the one that a member on a worker
    raises at once.
    """
    if bad and (kind := bad.get(get_worker().address)):
        raise getattr(schemas.errors, kind)("a bad worker", "mend it")
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    with (home / "members").open("a") as file:
        file.write(
            f"{place.generation} {place.rank} {place.size} {os.getpid()} {place.members[place.rank]}\n"
        )
    tell({"event": "begun", "pid": os.getpid()})
    peers = _meet(place, stopped)
    step = int((home / "step").read_text()) if (home / "step").exists() else 0
    first, regroup = step, False
    try:
        while step < steps and not regroup and (place.rank or not (home / "enough").exists()):
            if stopped():
                (home / f"ended-{place.generation}-{place.rank}").touch()
                raise schemas.errors.WorkerError("it was ended")
            step += 1
            if place.rank == 0 and step % every == 0:
                (home / "step.new").write_text(str(step))
                (home / "step.new").rename(home / "step")
                tell({"event": "checkpoint", "step": step})
                regroup = (home / f"regroup-{place.generation}").exists()
            regroup = _together(place, peers, regroup, stopped)
            if fails and place.rank in fails:
                kind = getattr(schemas.errors, fails[place.rank])
                raise kind(f"rank {place.rank} failed", "mend it")
            time.sleep(step_s)
    finally:
        for peer in peers:
            peer.close()
    if place.rank:
        return None
    return SimpleNamespace(regroup=regroup, place=place, first=first, last=step, pid=os.getpid())


def be_deaf(*, folder: str, place: Place, tell: Any, stopped: Any) -> int:
    """Fail at rank 0 in the first generation, while the others never end, whatever is said."""
    tell({"event": "begun", "pid": os.getpid()})
    if place.generation > 1:
        return place.size
    deaf = Path(folder, "deaf")
    if place.rank:
        deaf.touch()
        time.sleep(600)
    while not deaf.exists():
        time.sleep(0.02)
    raise schemas.errors.WorkerError("rank 0 failed")


def be_mute(*, place: Place, tell: Any, stopped: Any) -> int:
    """Have rank 1 say nothing in the first generation, while the others go on speaking."""
    while place.generation == 1 and not stopped():
        if place.rank != 1:
            tell({"event": "step"})
        time.sleep(0.05)
    return place.size


def wait_for(path: str) -> None:
    """Keep a worker busy until there is such a file."""
    while not Path(path).exists():
        time.sleep(0.02)


def set_status(status: str, dask_worker: Worker) -> None:
    """Pause a worker, as too little memory does, or have it run again."""
    dask_worker.status = Status[status]


def _meet(place: Place, stopped: Any) -> list[socket.socket]:
    host, _, port = place.members[0].rpartition(":")
    if place.rank == 0:
        with socket.create_server((host, int(port))) as server:
            server.settimeout(0.1)
            peers: list[socket.socket] = []
            deadline = time.monotonic() + 20
            while len(peers) < place.size - 1:
                try:
                    peers.append(server.accept()[0])
                except TimeoutError as error:
                    if stopped() or time.monotonic() > deadline:
                        raise PeerLost("a peer did not come") from error
            return peers
    deadline = time.monotonic() + 20
    while True:
        try:
            return [socket.create_connection((host, int(port)), timeout=1)]
        except OSError as error:
            if stopped() or time.monotonic() > deadline:
                raise PeerLost("rank 0 is not there") from error
            time.sleep(0.05)


def _together(place: Place, peers: list[socket.socket], regroup: bool, stopped: Any) -> bool:
    """Wait for all; return what rank 0 has decided."""
    try:
        if place.rank == 0:
            for peer in peers:
                _hear(peer, stopped)
            for peer in peers:
                peer.sendall(b"1" if regroup else b"0")
            return regroup
        peers[0].sendall(b"0")
        return _hear(peers[0], stopped) == b"1"
    except OSError as error:
        raise PeerLost(f"a peer is gone: {error}") from error


def _hear(peer: socket.socket, stopped: Any) -> bytes:
    peer.settimeout(0.1)
    while not stopped():
        try:
            byte = peer.recv(1)
        except TimeoutError:
            continue
        if not byte:
            raise PeerLost("a peer has closed")
        return byte
    return b"0"
