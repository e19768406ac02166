"""Which of the drivers of one submission may work: a lease on the shared file system.

A job whose node was cut off is started again elsewhere while the first copy still runs. The newest claim wins:
whoever wants the lease writes ``claim.json``; the holder renews ``lease.json`` and ends once it sees the claim of
another, or cannot write any more. Clocks of different machines are never compared.
"""

import contextlib
import json
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.submission import write_json

VARIABLE = "SKYMILL_LEASE"
"""Names, in the environment of what a holder starts, the nonce of its lease."""

EXPIRES_S = 60.0
_CLAIM = "claim.json"
_FREE = ("", "released")


@dataclass(frozen=True)
class LeaseStanding:
    """Who holds a lease; `age_s` [s] is the time since it was last renewed."""

    holder: str
    nonce: str
    live: bool
    age_s: float


@dataclass(frozen=True)
class _Entry:
    """What the file of a lease holds.

    ``count`` grows with each renewal; ``before`` is the nonce of the holder before, if that one gave it up in order.
    """

    holder: str = ""
    nonce: str = ""
    count: int = 0
    state: str = ""
    expires_s: float = EXPIRES_S
    before: str = ""


class Lease:
    """The right to work on a submission.

    The holder counts its time from before a renewal began, and has ended after `fence_s`; a claimant counts from
    when it saw the last one, and waits for `expires_s`.

    Parameters
    ----------
    path : Path
        Its file; the claim lies beside it.
    holder : str
        Says to people who holds it.
    renew_s : float
        How often [s] it is renewed.
    expires_s : float
        A claimant takes it when it was not renewed for so long [s].
    fence_s : float
        A holder that could not renew it for so long [s] has lost it; well below `expires_s`.

    Attributes
    ----------
    nonce : str
        Unlike that of any other holder.
    lost : threading.Event
        Set when another has claimed it, or it could not be renewed: end everything at once.
    why_lost : str
        Says so to people.
    """

    def __init__(
        self,
        path: Path,
        *,
        holder: str,
        renew_s: float = 5.0,
        expires_s: float = EXPIRES_S,
        fence_s: float = 30.0,
    ) -> None:
        self.nonce = secrets.token_hex(8)
        self.lost = threading.Event()
        self.why_lost = ""
        self._path = path
        self._claim = path.with_name(_CLAIM)
        self._holder = holder
        self._renew_s, self._expires_s, self._fence_s = renew_s, expires_s, fence_s
        self._count = 0
        self._before = ""
        self._renewed_s = 0.0
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def take(self, keep_waiting: Callable[[], bool]) -> bool:
        """Claim the lease, and wait until the one who holds it has given it up, or is seen to be gone.

        Parameters
        ----------
        keep_waiting : callable
            Asked several times a second at most; False gives up.

        Returns
        -------
        bool
            Whether it is ours; False also when a newer claim stands.
        """
        write_json(self._claim, {"holder": self._holder, "nonce": self.nonce, "at": time.time()})
        seen: _Entry | None = None
        since_s = time.monotonic()
        while keep_waiting():
            now = time.monotonic()
            with contextlib.suppress(OSError):
                if self._claimed_by_another():
                    return False
                if (found := _read(self._path)) != seen:
                    seen, since_s = found, now
            if now - since_s >= self._expires_s or (seen is not None and seen.state in _FREE):
                self._before = seen.nonce if seen is not None and seen.state == "released" else ""
                with contextlib.suppress(OSError):
                    return self._hold()
            time.sleep(min(1.0, self._renew_s / 4))
        return False

    @property
    def is_claimed(self) -> bool:
        """Whether a newer claim stands, as far as can be seen: then this job is not needed any more."""
        try:
            return self._claimed_by_another()
        except OSError:
            return False

    def _hold(self) -> bool:
        self._renew()
        if self._claimed_by_another():
            return False
        for work in (self._renewing, self._watching):
            self._threads.append(threading.Thread(target=work, name="lease", daemon=True))
            self._threads[-1].start()
        return True

    def release(self) -> None:
        """Give the lease up: everything that worked by it has ended."""
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=self._renew_s)
        with contextlib.suppress(OSError):
            if _read(self._path).nonce == self.nonce:
                self._write("released")

    def _renew(self) -> None:
        begun_s = time.monotonic()
        self._count += 1
        self._write("held")
        self._renewed_s = begun_s

    def _write(self, state: str) -> None:
        entry = _Entry(self._holder, self.nonce, self._count, state, self._expires_s, self._before)
        write_json(self._path, asdict(entry))

    def _renewing(self) -> None:
        """Renew it now and then; on a shared disk that hangs, so does this thread."""
        while not self._over.wait(self._renew_s):
            with contextlib.suppress(OSError):
                if self._claimed_by_another():
                    self._lose("a newer driver has claimed it")
                    return
                self._renew()

    def _watching(self) -> None:
        """Notice, without touching the disk, that it was not renewed."""
        while not self._over.wait(min(1.0, self._fence_s / 4)):
            silent_s = time.monotonic() - self._renewed_s
            if silent_s > self._fence_s:
                self._lose(f"it could not be renewed for {silent_s:.0f} s")
                return

    def _lose(self, why: str) -> None:
        self.why_lost = self.why_lost or why
        self.lost.set()

    def _claimed_by_another(self) -> bool:
        """Say whether the last claim is not ours; a file that is missing once may be a slow shared disk's."""
        for _ in range(3):
            with contextlib.suppress(FileNotFoundError, ValueError, LookupError):
                found: str = json.loads(self._claim.read_text(encoding="utf-8"))["nonce"]
                return found != self.nonce
            time.sleep(0.05)
        return True


def standing(path: Path) -> LeaseStanding:
    """Return who holds the lease at `path`, and whether that is still so, by the file system's own clock."""
    try:
        entry = _read(path)
        age_s = file_age_s(path)
    except FileNotFoundError:
        return LeaseStanding("", "", live=False, age_s=float("inf"))
    live = entry.state not in _FREE and age_s < entry.expires_s
    return LeaseStanding(entry.holder, entry.nonce, live=live, age_s=age_s)


def file_age_s(path: Path) -> float:
    """Return how long ago [s] a file was written, by its file system's own clock."""
    probe = path.with_name(f".clock.{os.uname().nodename}.{os.getpid()}.{threading.get_ident()}")
    try:
        probe.write_bytes(b"")
        now = probe.stat().st_mtime
    except PermissionError:
        now = time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return max(0.0, now - path.stat().st_mtime)


def _read(path: Path) -> _Entry:
    """Return what the file of a lease holds; nothing if it is not there.

    Raises
    ------
    OSError
        If it cannot be read just now.
    """
    problem: Exception = FileNotFoundError(path)
    for _ in range(3):  # a shared disk may hand out a name whose file has just been replaced
        try:
            return _Entry(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            problem = error
        time.sleep(0.05)
    if isinstance(problem, FileNotFoundError):
        return _Entry()
    raise OSError(f"{path} cannot be read as a lease: {problem}") from problem
