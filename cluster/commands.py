"""Run a batch scheduler's commands, again when they fail for a while."""

import logging
import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from schemas.errors import SiteDown, SiteError

PAUSE_S = 1.0
"""Pause [s] after the first failure; it doubles with every further one."""

PATIENCE_S = 60.0
"""How long [s] one command may take before it is ended and tried again."""

_PASSING = re.compile(
    r"timed out|time-?out|try again|temporarily|unable to contact|can(?:no|')t connect|cannot communicate"
    r"|failed to (?:connect|fetch ads|contact)|connection (?:refused|reset|closed)|not responding|unreachable"
    r"|cannot be reached|no route to host|broken pipe|zero bytes were transmitted|transport endpoint"
    r"|communication (?:error|failure)|commlib error|unable to send message|unexpected message received"
    r"|(?:lim|mbatchd|daemon|server|controller) is (?:down|busy)|can(?:no|')t find address of local schedd"
    r"|end of file|protocol (?:error|failure)",
    re.IGNORECASE,
)
_LOG = logging.getLogger(__name__)


def run_command(
    argv: Sequence[str],
    *,
    tries: int = 5,
    pardon: str = "",
    stdin: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> str:
    """Run a command and return what it wrote to standard output.

    Parameters
    ----------
    argv : sequence of str
        The command.
    tries : int
        How often it is run at most, with pauses that double.
    pardon : str
        Pattern of the words with which it may fail nevertheless, such as "unknown job": every line it says must
        have them, as it says one a job.
    stdin : Path, optional
        File that it reads.
    environ : mapping, optional
        Its environment; this process's own by default.

    Raises
    ------
    SiteError
        If it is not on the path, or refuses; the message holds its words.
    SiteDown
        If it failed at every try in a way that may pass, or did not end.
    """
    words = ""
    for attempt in range(tries):
        if attempt:
            pause_s = PAUSE_S * 2 ** (attempt - 1)
            _LOG.warning("%s failed, tried again in %.0f s: %s", argv[0], pause_s, words)
            time.sleep(pause_s)
        try:
            done = _run(argv, stdin, environ)
        except subprocess.TimeoutExpired:
            words = f"no answer within {PATIENCE_S:.0f} s"
            continue
        said = done.stderr.strip() or done.stdout.strip()
        words = " ".join(said.split())
        if done.returncode == 0 or (pardon and _all_have(pardon, said)):
            return done.stdout
        if done.returncode > 0 and not _PASSING.search(words):
            raise SiteError(
                f"{argv[0]} refused ({' '.join(argv)}): {words or f'exit code {done.returncode}'}",
                "mend what it names: the site file says what the jobs ask for",
            )
    raise SiteDown(
        f"{argv[0]} failed {tries} times: {words or 'it was ended by a signal'}",
        "the batch scheduler does not answer: run the same command again later",
    )


def _all_have(pattern: str, text: str) -> bool:
    """Say whether there are lines, and every one has the words."""
    lines = [line for line in text.splitlines() if line.strip()]
    return bool(lines) and all(re.search(pattern, line, re.IGNORECASE) for line in lines)


def _run(
    argv: Sequence[str], stdin: Path | None, environ: Mapping[str, str] | None
) -> "subprocess.CompletedProcess[str]":
    with Path(stdin or os.devnull).open("rb") as source:
        try:
            return subprocess.run(
                argv,
                stdin=source,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=PATIENCE_S,
                env=environ,
                check=False,
            )
        except OSError as error:
            raise SiteError(
                f"cannot run {argv[0]}: {error.strerror} (PATH is {os.environ.get('PATH', '')})",
                "log in where the batch scheduler's commands are, load their module, or choose another --site",
            ) from error
