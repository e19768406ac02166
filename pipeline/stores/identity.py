"""Who runs the embedded server: Postgres refuses root."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

NOBODY = 65534


class Identity:
    """Who runs the server: Postgres refuses root, so root steps down in a user namespace or to nobody."""

    def __init__(self, directory: Path) -> None:
        self.prefix: list[str] = []
        self.user: int | None = None
        if os.geteuid() != 0:
            return
        prefix = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"]
        if shutil.which("unshare") and not subprocess.run([*prefix, "true"], capture_output=True).returncode:
            self.prefix = prefix
        else:
            self.user = NOBODY
        self._own(directory, self.user or 0)

    @staticmethod
    def _own(directory: Path, uid: int) -> None:
        if directory.stat().st_uid == uid:
            return
        for path in (directory, *directory.rglob("*")):
            os.chown(path, uid, uid, follow_symlinks=False)

    def run(self, command: Sequence[str | Path], *, said: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command of Postgres in a session of its own, so that Ctrl-C does not reach the server."""
        return subprocess.run(
            [*self.prefix, *(str(word) for word in command)],
            input=said,
            capture_output=True,
            text=True,
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C"},
            cwd="/",
            **({"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}),  # type: ignore[call-overload]
        )


def write_private(path: Path, text: str, owner: int | None) -> None:
    """Write a file that only its owner may read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    if owner is not None:
        os.chown(path, owner, owner)
