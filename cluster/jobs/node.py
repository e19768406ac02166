"""What a node is: its packages, memory, cores, GPUs, networks and disks, as a job on it finds them.

Everything is plain data that goes into a JSON file; nothing here imports a heavy package.
"""

import errno
import hashlib
import importlib.metadata
import os
import platform
import resource
import socket
import time
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from cluster.rooms import HOME, ROOMS, check_rooms
from schemas.disk import filesystem_of
from schemas.errors import SkymillError

GIB, MIB = 2**30, 2**20
PACKAGES = (
    "skymill",
    "dask",
    "distributed",
    "numpy",
    "zarr",
    "tensorflow",
    "tensorflow-cpu",
    "keras",
)
CGROUPS = Path("/sys/fs/cgroup")
UNLIMITED = 2**60
"""A limit above this [bytes] is none: version 1 of cgroups writes the largest page-aligned number."""
TRIAL_MIB = 64
TRIAL_S = 10.0
"""A scratch folder is written and read with so much, or for so long."""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that driver and workers must agree on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name.removesuffix("-cpu")] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def rooms() -> dict[str, str]:
    """Return where the four rooms come from, the digest of their code, and what is wrong with them."""
    try:
        check_rooms()
    except SkymillError as error:
        return {"home": str(HOME), "digest": "", "fault": error.message, "remedy": error.remedy}
    digest = hashlib.sha256()
    for room in ROOMS:
        for path in sorted((HOME / room).rglob("*.py")):
            digest.update(str(path.relative_to(HOME)).encode() + b"\0" + path.read_bytes())
    return {"home": str(HOME), "digest": digest.hexdigest()[:16], "fault": "", "remedy": ""}


def memory() -> dict[str, float | None]:
    """Return the memory [GiB] of the machine and what limits this process; None where nothing does."""
    found = psutil.virtual_memory()
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    limit = cgroup_limit("memory", ("memory.max", "memory.limit_in_bytes"))
    return {
        "machine_gib": found.total / GIB,
        "free_gib": found.available / GIB,
        "cgroup_gib": None if limit is None else limit / GIB,
        "address_space_gib": None if soft == resource.RLIM_INFINITY else soft / GIB,
    }


def cores() -> dict[str, float | None]:
    """Return the cores of the machine, those this process may run on, and the share of time it has of them."""
    return {
        "machine": float(os.cpu_count() or 1),
        "allowed": float(len(os.sched_getaffinity(0))),
        "quota": cpu_quota(),
    }


def cgroup_folders(controller: str, *, own: str | None = None, root: Path = CGROUPS) -> list[Path]:
    """Return the folders of the control groups this process is in, innermost first, of either version.

    Parameters
    ----------
    controller : str
        ``memory`` or ``cpu``.
    own : str, optional
        The text of ``/proc/self/cgroup``.
    root : Path
        Where the control groups are mounted.
    """
    if own is None:
        own = _text(Path("/proc/self/cgroup"))
    folders = []
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        tops = [root / controllers, root / controller] if controllers else [root, root / "unified"]
        for top in tops:
            inside = top / path.lstrip("/")
            folders += [each for each in (inside, *inside.parents) if each == top or top in each.parents]
    return list(dict.fromkeys(folders))


def cgroup_limit(controller: str, names: tuple[str, ...], *, folders: list[Path] | None = None) -> int | None:
    """Return the smallest limit [bytes] that a control group of this process sets; None if none does."""
    found = []
    for folder in cgroup_folders(controller) if folders is None else folders:
        for name in names:
            text = _text(folder / name).strip()
            if text.isdigit() and int(text) < UNLIMITED:
                found.append(int(text))
    return min(found, default=None)


def cpu_quota(*, folders: list[Path] | None = None) -> float | None:
    """Return how many cores' worth of time the control groups leave; None if they set no quota."""
    found = []
    for folder in cgroup_folders("cpu") if folders is None else folders:
        words = _text(folder / "cpu.max").split()
        if not words:
            words = [_text(folder / f"cpu.cfs_{part}_us").strip() for part in ("quota", "period")]
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
            found.append(int(words[0]) / int(words[1]))
    return min(found, default=None)


def gpus() -> int:
    """Return how many GPUs this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        return len([name for name in names if name and not name.startswith(("-", "No"))])
    return len([path for path in Path("/dev").glob("nvidia[0-9]*") if path.name[6:].isdigit()])


def interfaces() -> dict[str, list[str]]:
    """Return the addresses of the networks this machine is on, by interface; IPv4 before IPv6."""
    kinds = (socket.AF_INET, socket.AF_INET6)
    return {
        name: [entry.address.split("%")[0] for kind in kinds for entry in entries if entry.family == kind]
        for name, entries in psutil.net_if_addrs().items()
        if any(entry.family in kinds for entry in entries)
    }


def address_of(interface: str) -> str:
    """Return the address of an interface, or, without one, that by which Dask makes itself known.

    Empty where there is no such interface.
    """
    if interface:
        return next(iter(interfaces().get(interface, [])), "")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("8.8.8.8", 80))  # nothing is sent: it asks for the route
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def file_system(path: Path) -> dict[str, Any]:
    """Return the kind of the file system a path, or its nearest parent there is, lies on, and its room [GiB]."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    room = os.statvfs(path)
    return {"kind": filesystem_of(path.resolve()) or "?", "free_gib": room.f_bavail * room.f_frsize / GIB}


def try_scratch(folder: Path) -> dict[str, Any]:
    """Write, sync and read back a file in a folder; return its speeds [MiB/s], or what went wrong."""
    found: dict[str, Any] = {"path": str(folder), "fault": ""}
    path = folder / f".skymill-ping-{os.uname().nodename}-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found |= file_system(folder)
        try:
            found |= _speeds(path)
        finally:
            path.unlink(missing_ok=True)
    except OSError as error:
        found["fault"] = os.strerror(error.errno or errno.EIO)
    return found


def _speeds(path: Path) -> dict[str, float]:
    piece, written = os.urandom(4 * MIB), 0
    started = time.monotonic()
    with path.open("wb", buffering=0) as file:
        while written < TRIAL_MIB * MIB and (not written or time.monotonic() - started < TRIAL_S):
            written += file.write(piece)
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    wrote = time.monotonic()
    with path.open("rb", buffering=0) as file:
        while file.read(len(piece)):
            pass
    read = time.monotonic()
    return {
        "write_mib_s": written / MIB / max(wrote - started, 1e-6),
        "read_mib_s": written / MIB / max(read - wrote, 1e-6),
    }


def clock_skew_s(folder: Path) -> float:
    """Return how far [s] this machine's clock is ahead of that of a folder's file system."""
    path = folder / f".clock-{os.uname().nodename}-{os.getpid()}"
    before = time.time()
    path.write_text("tick", encoding="utf-8")
    after = time.time()
    there = path.stat().st_mtime
    path.unlink()
    return before - there if there < before else after - there if there > after else 0.0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
