"""The workers of a scaling run: some of those that are there take part, the others rest."""

import os
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import dask

from cluster.attendance import Present, threads
from cluster.bundles import Supply
from cluster.session import DaskSession
from cluster.work import Outcome, Task
from pipeline.scale.measuring import Nodes
from schemas.errors import WorkerError

LOOK_S = 1.0
SAY_EVERY_S = 30.0
GIVE_UP_AFTER_S = 600.0


@dataclass(frozen=True)
class Machine:
    """Where a worker is.

    Hosts of one name may be many machines, and hosts of many names may be one (containers, namespaces): ``boot`` tells
    machines apart, as each kernel has drawn it at random when it started. ``cores`` are those that the worker may use,
    ``physical`` is the number of cores of silicon.
    """

    host: str
    boot: str
    cores: tuple[int, ...]
    physical: int
    model: str = ""


class LimitedSession(DaskSession):
    """Workers, of which as many take part as `limit` said last; all of them at first."""

    _chosen: tuple[str, ...] = ()
    nodes: Nodes | None = None
    """Those that take part; None for all."""
    present = 0
    """How many were there, for any stage, when it was said last who takes part."""

    def await_workers(
        self,
        count: int,
        stages: Iterable[str],
        *,
        say: Callable[[str], None],
        patience_s: float = GIVE_UP_AFTER_S,
    ) -> None:
        """Wait until each stage has `count` workers.

        Raises
        ------
        WorkerError
            If they do not come, and are no jobs that wait in a queue.
        """
        self._chosen = ()
        begun = said = time.monotonic()
        for stage in stages:
            while (there := len(self._present(stage))) < count:
                now = time.monotonic()
                if not self._queued and now - begun > patience_s:
                    raise WorkerError(
                        f"{count} workers are to take part, and {there} are there after {now - begun:.0f} s",
                        "start more workers for that scheduler, or name smaller numbers of --nodes",
                    )
                if now - said > SAY_EVERY_S:
                    said = now
                    say(f"waiting for {count} workers: {there} are there")
                time.sleep(LOOK_S)

    def forget_stages(self) -> None:
        """Let every worker do every task, whatever stages it is for: what is no stage of a pool has no worker else."""
        self._pooled = False

    def limit(self, count: int, stage: str = "") -> Nodes:
        """Let `count` workers of a stage take part, spread over the hosts; return who they are.

        Raises
        ------
        WorkerError
            If there are fewer.
        """
        self._chosen = ()
        there = self._present(stage)
        if len(there) < count:
            raise WorkerError(
                f"{count} workers are to take part, and {len(there)} are there",
                "see the workers' logs for why others left, then run the same command again",
            )
        self.present = len(self.client.nthreads())
        self._chosen = spread_over_hosts(there)[:count]
        machines = self.machines()
        cores: dict[str, set[int]] = defaultdict(set)
        for machine in machines:
            cores[machine.boot].update(machine.cores)
        slots = threads(there[address] for address in self._chosen)
        self.nodes = Nodes(self._chosen, slots, {boot: len(own) for boot, own in cores.items()})
        return self.nodes

    def machines(self) -> list[Machine]:
        """Return where each worker that takes part is."""
        chosen = list(self._chosen or self.workers())
        with self.scheduler_answers():
            found = self.client.run(this_machine, workers=chosen)
        return [found[address] for address in chosen]

    def _look(self, stage: str) -> Mapping[str, Present]:
        there = super()._look(stage)
        if not self._chosen:
            return there
        if gone := [address for address in self._chosen if address not in there]:
            raise WorkerError(
                f"worker {gone[0]} left while it took part in a measurement",
                "see the workers' logs, then run the same command again: what was measured before is kept in the CSV",
            )
        return {address: there[address] for address in self._chosen}

    def run_together(self, tasks: Iterable[Task] | Supply) -> Generator[list[Outcome]]:
        """Run tasks on those that take part; see `DaskSession.run_together`."""
        if not self._chosen:
            yield from super().run_together(tasks)
            return
        with dask.annotate(workers=list(self._chosen)):
            yield from super().run_together(tasks)


def spread_over_hosts(addresses: Iterable[str]) -> tuple[str, ...]:
    """Return addresses so that any first few of them are on as many hosts as they can be.

    Examples
    --------
    >>> spread_over_hosts(["tcp://a:1", "tcp://a:2", "tcp://b:7"])
    ('tcp://a:1', 'tcp://b:7', 'tcp://a:2')
    """
    hosts: dict[str, list[str]] = defaultdict(list)
    for address in sorted(addresses):
        hosts[address.rpartition(":")[0]].append(address)
    rounds = max(map(len, hosts.values()), default=0)
    return tuple(
        chain.from_iterable(
            [own[turn] for own in hosts.values() if turn < len(own)] for turn in range(rounds)
        )
    )


def this_machine() -> Machine:
    """Return where this process is; called in each worker."""
    cores = tuple(sorted(os.sched_getaffinity(0)))
    physical, model = _physical_cores(_read("/proc/cpuinfo"))
    host = socket.gethostname()
    boot = _read("/proc/sys/kernel/random/boot_id").strip() or host
    return Machine(host, boot, cores, physical or len(cores), model)


def _physical_cores(cpuinfo: str) -> tuple[int, str]:
    """Return the number of cores that are told apart in ``/proc/cpuinfo``, hyperthreads left out, and the model."""
    found, model = set(), ""
    for processor in cpuinfo.split("\n\n"):
        values = {
            key.strip(): value.strip()
            for key, _, value in (line.partition(":") for line in processor.splitlines())
        }
        model = values.get("model name", model)
        if "core id" in values:
            found.add((values.get("physical id", "0"), values["core id"]))
    return len(found), model


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
