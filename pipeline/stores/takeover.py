"""Whose an embedded server's folder is when several hosts see it, and when another host may take it over.

The file ``host`` says where the server was started and, in the job of a submitted run, by which lease. Two servers
on the same data destroy it, so a ``postmaster.pid`` that another host left behind is removed only when the lease named
there is over, and unless its holder had ended everything, nothing is started for a while: Postgres looks at that file
and shuts down at once when it is gone, so that even a server that nobody could end ends itself. It looks when it wakes
up and has not looked for 60 s, and an idle one sleeps for up to 60 s (``ServerLoop`` and ``DetermineSleepTime`` of its
``postmaster.c``): up to 120 s in all. 70 s were measured.
"""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster.lease import VARIABLE, file_age_s, standing
from cluster.submission import VARIABLE as SUBMISSION
from cluster.submission import Submission, read_json
from schemas.errors import DatabaseDown, DatabaseError

TAKEOVER_S = 130.0
"""How long [s] nothing is started after the ``postmaster.pid`` of another host was removed."""
MARK = "taken-over"


@dataclass(frozen=True)
class Note:
    """What the file ``host`` says: the host, and the lease by which the server was started, if by any."""

    host: str
    lease: str = ""
    nonce: str = ""

    @property
    def run(self) -> str:
        """Name of the submitted run the lease is of."""
        return Path(self.lease).parent.parent.name


def read_note(directory: Path) -> Note:
    """Return whose the server of `directory` is; without a note it is this host's."""
    try:
        lines = (directory / "host").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        lines = []
    return Note(*[line.strip() for line in lines][:3]) if lines else Note(socket.gethostname())


def write_note(directory: Path) -> None:
    """Say that the server of `directory` is started here, and by which lease."""
    lines = [socket.gethostname()]
    if (nonce := os.environ.get(VARIABLE)) and (home := os.environ.get(SUBMISSION)):
        lines += [str(Submission(Path(home)).lease_file), nonce]
    (directory / "host").write_text("\n".join(lines), encoding="utf-8")


def is_ours(directory: Path) -> bool:
    """Say whether the server of `directory` was started by the lease of this very job."""
    nonce = os.environ.get(VARIABLE)
    return bool(nonce) and read_note(directory).nonce == nonce


def is_elsewhere(directory: Path) -> bool:
    """Say whether the server of `directory` was started on another host, and not stopped there."""
    return _lock(directory).exists() and read_note(directory).host != socket.gethostname()


def other_host_fault(directory: Path) -> DatabaseError | None:
    """Return what keeps this host from starting a server in `directory`: that of another host, still in its right."""
    if not is_elsewhere(directory):
        return None
    note = read_note(directory)
    if not note.lease:
        refusal = DatabaseDown if os.environ.get(VARIABLE) else DatabaseError  # a job can wait for that
        return refusal(
            f"the database in {directory} was started on {note.host} and not stopped there",
            f"run on {note.host}, or stop it there (`skymill db stop`); if {note.host} is gone for good, "
            f"delete {_lock(directory)}",
        )
    try:
        held = standing(Path(note.lease))
    except OSError as error:
        return DatabaseDown(
            f"whether the database in {directory} is in use on {note.host} is not known: {error}",
            "run the same command again; if the file stays as it is, remove it",
        )
    if held.live and held.nonce != os.environ.get(VARIABLE):
        return DatabaseError(
            f"the database in {directory} is used by the submitted run {note.run}, done by {held.holder}",
            "wait for that run or cancel it; runs at the same time need a database.directory of their own each, "
            "or a server of yours in database.dsn",
        )
    return None


def take_over(directory: Path, *, say: Callable[[str], None]) -> None:
    """See to it that no server of another host is at work in `directory`.

    Parameters
    ----------
    directory : Path
        The server's folder.
    say : callable
        Takes the words that announce a wait.

    Raises
    ------
    DatabaseError
        If another host's server is, or may be, in its right.
    """
    if fault := other_host_fault(directory):
        raise fault
    note, mark = read_note(directory), directory / MARK
    if is_elsewhere(directory):
        if not _was_released(note):
            mark.touch()  # should this process die in its wait, the next one waits too
        _lock(directory).unlink(missing_ok=True)
        if mark.exists():
            mark.touch()
    if mark.exists():
        _wait(mark, say, note.host)
        mark.unlink(missing_ok=True)


def _was_released(note: Note) -> bool:
    """Say whether the holder of the lease that a note names had ended all it started."""
    found = read_json(Path(note.lease)) or {}
    if found.get("nonce") == note.nonce:
        return found.get("state") == "released"
    return bool(note.nonce) and found.get("before") == note.nonce


def _wait(mark: Path, say: Callable[[str], None], host: str) -> None:
    left = TAKEOVER_S - file_age_s(mark)
    if left > 0:
        say(
            f"the database was in use on {host}, which has not given it up: waiting {left:.0f} s, "
            "in which a server that still runs there ends itself"
        )
        time.sleep(left)


def _lock(directory: Path) -> Path:
    return directory / "data" / "postmaster.pid"
