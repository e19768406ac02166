"""What a member of a group does on its worker: it takes a seat, works, and can be ended from outside."""

import asyncio
import contextlib
import importlib.metadata
import os
import random
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distributed import Worker, get_worker
from distributed.comm import get_address_host
from distributed.core import Status

from cluster import starts
from cluster.rooms import check_rooms
from cluster.tells import tell
from cluster.work import find
from schemas.errors import PeerLost, WorkerError
from schemas.records import Place

PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "numpy")
"""What has to be of one version in all members of a group."""
BEGUN = "begun_member"
"""The first event of a member, which is for its group alone."""
JOB_NAMES = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")
_POLL_S = 0.05
_PORTS = range(20_000, 30_000)
_TRIES = 100

_lock = threading.Lock()
_members: "set[_Member]" = set()
_ended: dict[tuple[str, str], tuple[str, int]] = {}
"""By worker and key: of which call of a driver, and up to which generation, no member may begin any more."""


@dataclass(frozen=True)
class Seat:
    """What a worker offers to a group.

    ``host`` names what shares its GPUs: the machine, within a batch job; ``devices`` are its GPUs as
    ``CUDA_VISIBLE_DEVICES`` names them; ``rooms`` is the version of skymill there.
    """

    host: str
    devices: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict, hash=False)
    rooms: str = ""


@dataclass(frozen=True)
class Membership:
    """Who a member is: the task's key, the call of the driver, the driver's client, and the place."""

    key: str
    nonce: str
    driver: str
    place: Place

    @property
    def name(self) -> str:
        """Unlike that of any other member."""
        return f"{self.key}-g{self.place.generation}-r{self.place.rank}-{self.nonce}"


@dataclass(eq=False)
class _Member:
    worker: str
    key: str
    stop: threading.Event = field(default_factory=threading.Event)


def look() -> Seat:
    """Return what this worker offers.

    Raises
    ------
    SkymillError
        If skymill is not what it should be here.
    """
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    job = next((os.environ[name] for name in JOB_NAMES if name in os.environ), "")
    without_gpus = "tensorflow-cpu" in versions and "tensorflow" not in versions
    return Seat(f"{os.uname().nodename}/{job}", () if without_gpus else devices(), versions, check_rooms())


def devices(setting: str | None = None, folder: Path = Path("/dev")) -> tuple[str, ...]:
    """Return the GPUs of this process, as ``CUDA_VISIBLE_DEVICES`` names them.

    Parameters
    ----------
    setting : str, optional
        That variable; by default as it is here.
    folder : Path
        Where the driver shows one file a GPU.

    Examples
    --------
    >>> devices("2,GPU-8932f937"), devices(""), devices("-1")
    (('2', 'GPU-8932f937'), (), ())
    """
    setting = os.environ.get("CUDA_VISIBLE_DEVICES") if setting is None else setting
    if setting is None:  # numbered among those this process sees, whatever their files are called
        return tuple(
            map(str, range(sum(bool(re.fullmatch(r"nvidia\d+", p.name)) for p in folder.glob("nvidia*"))))
        )
    names = [name.strip() for name in setting.split(",")]
    for at, name in enumerate(names):
        if name in ("", "-1", "NoDevFiles"):  # CUDA sees none from here on
            names = names[:at]
            break
    return tuple(names)


def ping() -> bool:
    """Answer."""
    return True


async def take_seat(key: str, within_s: float, dask_worker: Worker) -> str | None:
    """End what an earlier member of this key left here; return an address (``host:port``) for the new one.

    None is returned if no thread of this worker is free for it, or the worker begins no task: it is paused, or
    about to close.

    Raises
    ------
    WorkerError
        If there is no free port.
    """
    ended = await _end(dask_worker.address, key, within_s)
    deadline = time.monotonic() + 1.0  # a task that has just ended is still on the books
    while (
        busy := dask_worker.state.executing_count >= dask_worker.state.nthreads
    ) and time.monotonic() < deadline:
        await asyncio.sleep(_POLL_S)
    if busy or not ended or dask_worker.status is not Status.running:
        return None
    host = get_address_host(dask_worker.address)
    return f"[{host}]:{_free_port(host)}" if ":" in host else f"{host}:{_free_port(host)}"


async def end_members(key: str, nonce: str, generation: int, within_s: float, dask_worker: Worker) -> bool:
    """End the members of this key, up to this generation; return whether they are gone."""
    with _lock:
        _ended[dask_worker.address, key] = (nonce, generation)
    return await _end(dask_worker.address, key, within_s)


async def _end(worker: str, key: str, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while True:
        with _lock:
            left = [member for member in _members if (member.worker, member.key) == (worker, key)]
        for member in left:
            member.stop.set()
        if not left or time.monotonic() > deadline:
            return not left
        await asyncio.sleep(_POLL_S)


def _free_port(host: str) -> int:
    """Return one below those that Linux gives to whoever asks for any: hardly anyone takes it before the trainer."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in random.SystemRandom().sample(_PORTS, _TRIES):
        with socket.socket(family, socket.SOCK_STREAM) as one:
            try:
                one.bind((host, port))
            except OSError as error:
                reason = error
            else:
                return port
    raise WorkerError(
        f"there is no free port on {host} for a trainer: {reason}",
        f"see that the host has this address, and what holds its ports {_PORTS.start} to {_PORTS.stop - 1}",
    ) from reason


def be_member(work: str, arguments: dict[str, Any], membership: Membership) -> Any:
    """Do the work of one member, as a task of this worker.

    Raises
    ------
    PeerLost
        If it was cancelled, or its group has ended, before it began.
    """
    worker = get_worker()
    if not starts.wanted():  # the worker was stopped meanwhile, or kept the task waiting
        raise PeerLost("this member was cancelled before it began")
    if starts.begin(membership.driver, f"{membership.name}-once") > 1:  # no task's name: never forgotten
        raise PeerLost("this member was begun before, and its worker died")
    task = worker.get_current_task()

    def tell_driver(event: dict[str, Any]) -> None:
        tell(
            worker,
            membership.driver,
            {
                **event,
                "rank": membership.place.rank,
                "generation": membership.place.generation,
                "_member": [membership.nonce, membership.key],
            },
        )

    with _registered(worker.address, membership) as member:
        tell_driver({"event": BEGUN})
        return find(work)(
            **arguments,
            place=membership.place,
            tell=tell_driver,
            stopped=lambda: member.stop.is_set() or _cancelled(worker, task),
        )


@contextlib.contextmanager
def _registered(worker: str, membership: Membership) -> Iterator[_Member]:
    member = _Member(worker, membership.key)
    with _lock:
        nonce, generation = _ended.get((worker, membership.key), ("", 0))
        if nonce == membership.nonce and membership.place.generation <= generation:
            raise PeerLost("the group of this member has ended")
        _members.add(member)
    try:
        yield member
    finally:
        with _lock:
            _members.discard(member)


def _cancelled(worker: Worker, task: str) -> bool:
    """Say whether nobody waits for a task any more, as when its driver died."""
    state = worker.state.tasks.get(task)
    return state is not None and state.state == "cancelled"
