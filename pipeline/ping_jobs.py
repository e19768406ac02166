"""The jobs of a ping: handed in, waited for, and ended whatever happens."""

import contextlib
import shlex
import shutil
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.jobs import node
from cluster.jobs.asking import python_of
from cluster.jobs.ping import LEAVE, SEEN
from cluster.sites.batch import Batch, Job, Standing, State
from cluster.submission import read_json
from pipeline.ping_asked import Answer, where
from schemas.errors import SiteDown, SiteError
from schemas.site import Pool, Site

WALLTIME_S = 600
TELL_S = 15.0
ASK_S = 3.0
"""How often the scheduler is asked how the jobs are."""
POLL_S = 0.1
LATE_S = 15.0
"""How long an answer may take to be seen after its job has ended."""
LEAVE_S = 10.0


def short(pool: Pool) -> Pool:
    """Return a pool whose jobs are over in ten minutes."""
    return pool if pool.walltime_s <= WALLTIME_S else pool.model_copy(update={"walltime": "00:10:00"})


@dataclass
class Jobs:
    """The jobs of one ping: handed in, waited for, and ended whatever happens."""

    batch: Batch
    folder: Path
    ids: dict[str, str] = field(default_factory=dict)
    silent: dict[str, tuple[str, str]] = field(default_factory=dict)

    def __enter__(self) -> "Jobs":
        return self

    def __exit__(self, *error: object) -> None:
        """End the jobs: those that wait for others leave by themselves, the rest are cancelled."""
        with contextlib.suppress(OSError):
            (self.folder / LEAVE).touch()
        with contextlib.suppress(SiteError):
            until = time.monotonic() + (0.0 if any(error) else LEAVE_S)
            while (alive := self._alive()) and time.monotonic() < until:
                time.sleep(0.3)
            if alive:
                self.batch.cancel(alive)
        if any(error):  # interrupted: nobody will read what there is
            shutil.rmtree(self.folder, ignore_errors=True)

    def hand_in(self, site: Site, pools: Mapping[str, Pool]) -> None:
        """Submit a job for each pool."""
        python = shlex.join(python_of(site))
        for name, pool in pools.items():
            logs = self.folder / "logs" / name
            logs.mkdir(parents=True)
            command = f"{python} -m cluster.jobs.ping {shlex.quote(str(self.folder))} {name}"
            job = Job(f"ping-{site.name}-{name}", short(pool), command, Path.cwd(), logs)
            script = self.folder / f"{name}.sh"
            script.write_text(self.batch.script(job), encoding="utf-8")
            script.chmod(0o755)
            self.ids[name] = self.batch.submit(script, job)
            print(f"{name}: job {self.ids[name]} is handed in", flush=True)

    def wait(self, nonce: str, *, wait_s: float) -> dict[str, Answer]:
        """Wait until all jobs have answered, or no more answers will come; return them by pool."""
        answers: dict[str, Answer] = {}
        started = asked = told = time.monotonic()
        ended: dict[str, float] = {}
        standings: dict[str, Standing] = {}
        while (now := time.monotonic()) < started + wait_s:
            self._collect(answers, nonce)
            left = [name for name in self.ids if not answers.get(name, {}).get("complete")]
            lost = {name for name in left if now > ended.get(name, now) + LATE_S}
            if all(name in lost or _waits_only_for(answers.get(name), lost, self.ids) for name in left):
                break
            if now > asked + ASK_S:
                with contextlib.suppress(SiteDown):  # it is asked again
                    standings = self._standings()
                    for name in left:
                        if standings[name].state in (State.ENDED, State.HELD):
                            ended.setdefault(name, now)
                asked = time.monotonic()
            if now > told + TELL_S:
                told = now
                for name in left:
                    print(f"{name}: {_words(standings.get(name))} after {now - started:.0f} s", flush=True)
            time.sleep(POLL_S)
        self.silent = {
            name: self._reason(name, standings.get(name), started)
            for name in self.ids
            if not answers.get(name, {}).get("looked")
        }
        return answers

    def logs(self, name: str, *, lines: int = 12) -> list[str]:
        """Return the last lines a job has written."""
        files = sorted((self.folder / "logs" / name).rglob("*"), key=lambda path: path.stat().st_mtime)
        found = [path.read_text(encoding="utf-8", errors="replace") for path in files if path.is_file()]
        return "\n".join(found).splitlines()[-lines:]

    def _collect(self, answers: dict[str, Answer], nonce: str) -> None:
        for name in self.ids:
            if answers.get(name, {}).get("complete"):
                continue
            found = read_json(self.folder / f"{name}.json")
            if found and found.get("nonce") == nonce:
                if name not in answers:
                    (self.folder / f"{name}.{SEEN}").touch()
                answers[name] = found

    def _standings(self) -> dict[str, Standing]:
        found = self.batch.standings(self.ids.values())
        return {
            name: next(
                iter(found.get(number, ())), Standing(State.ENDED, words="the scheduler has forgotten it")
            )
            for name, number in self.ids.items()
        }

    def _alive(self) -> list[str]:
        return [self.ids[name] for name, each in self._standings().items() if each.state is not State.ENDED]

    def _reason(self, name: str, standing: Standing | None, started: float) -> tuple[str, str]:
        waited = f"{time.monotonic() - started:.0f} s"
        if standing is None or standing.state not in (State.RUNNING, State.ENDED):
            change = f"ask again with a longer --wait, or choose another {where(name)}.queue"
            return f"job {self.ids[name]} is {_words(standing)} after {waited}", change
        if standing.state is State.RUNNING:
            change = "see that its nodes see this folder: call skymill on the disk that all nodes share"
            return (
                f"job {self.ids[name]} runs on {standing.node or '?'}, no answer is seen in {self.folder}",
                change,
            )
        last = "".join(f"\n         | {line}" for line in self.logs(name))
        change = (
            "mend `python` or `prologue` of the site file, and call skymill on the disk that all nodes share"
        )
        return (
            f"job {self.ids[name]} ended without an answer{', its last words:' + last if last else ''}",
            change,
        )


def _waits_only_for(answer: Answer | None, lost: set[str], names: Iterable[str]) -> bool:
    """Whether a job has answered all but what only lost ones could tell it."""
    if not answer or not answer.get("looked"):
        return False
    return set(names) - {answer["name"]} - set(answer.get("peers") or {}) <= lost


def _words(standing: Standing | None) -> str:
    if standing is None:
        return State.WAITING.value
    place = f" on {standing.node}" if standing.node else ""
    return f"{standing.state.value}{place}" + (f" ({standing.words})" if standing.words else "")


class Listening(contextlib.AbstractContextManager["Listening"]):
    """A port of this machine on all of its networks, for the jobs to try."""

    def __init__(self) -> None:
        self._server = socket.create_server(("", 0), backlog=64)

    def as_order(self) -> dict[str, Any]:
        """Return the port, and the addresses by which this machine may be known."""
        found = [address for each in node.interfaces().values() for address in each if ":" not in address]
        outside = [address for address in found if not address.startswith("127.")]
        return {"addresses": (outside or found)[:8], "port": self._server.getsockname()[1]}

    def __exit__(self, *error: object) -> None:
        self._server.close()
