"""What the answers of a ping mean: pure functions from what jobs found to what is to be changed."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.stores.launcher import NETWORK_FILESYSTEMS
from schemas.site import Pool, Site

Answer = Mapping[str, Any]
DRIVER = "driver"
LEARNING = {"tensorflow", "keras"}
SHARED_KINDS = NETWORK_FILESYSTEMS | {"fuse.sshfs", "9p", "virtiofs", "wekafs", "orangefs"}
SLOW_MIB_S = 30.0
LATE_S = 10.0
SKEW_S = 2.0
OPEN_FILES = 1024
LOOPBACK = ("127.", "::1")
ROUNDING = 0.97
"""A job may have so much less than was asked for: schedulers round, and a kernel keeps some."""


@dataclass(frozen=True)
class Finding:
    """One thing to know: ``where`` is a key of the site or run file, ``change`` what to do about it."""

    where: str
    words: str
    change: str = ""
    is_fault: bool = True

    def line(self) -> str:
        """Return it as text for a person."""
        kind = "fault" if self.is_fault else "note"
        return f"{kind:<6} {self.where}: {self.words}" + (f"\n       -> {self.change}" if self.change else "")


@dataclass(frozen=True)
class Asked:
    """What was asked for, and what is here: the other half of every comparison.

    ``silent`` holds the pools without an answer, with the reason and what to do about it.
    """

    site: Site
    pools: Mapping[str, Pool]
    versions: Mapping[str, str]
    rooms: Mapping[str, str]
    python: str
    silent: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    source_is_reached_here: bool = False


def findings(asked: Asked, answers: Mapping[str, Answer]) -> list[Finding]:
    """Return all there is to say of the answers, faults first; ``answers`` by pool."""
    found = [Finding(where(name), words, change) for name, (words, change) in asked.silent.items()]
    for name, answer in answers.items():
        for look in LOOKS:
            found += look(asked, name, answer)
    found = list(dict.fromkeys([*found, *_same_node(asked, answers)]))
    return sorted(found, key=lambda finding: not finding.is_fault)


def _same_node(asked: Asked, answers: Mapping[str, Answer]) -> Iterator[Finding]:
    nodes = {answer["node"] for answer in answers.values()}
    if asked.site.kind != "local" and len(answers) > 1 and len(nodes) == 1:
        words = f"all jobs ran on {nodes.pop()}: the way from one node to another was not tried"
        change = "ask again when that node is busy, or keep one pool off it by its directives"
        yield Finding("interface", words, change, is_fault=False)


def where(name: str) -> str:
    """Return the key of a pool in the site file."""
    return DRIVER if name == DRIVER else f"pools.{name}"


def _versions(asked: Asked, name: str, answer: Answer) -> Iterator[Finding]:
    rooms, there = answer.get("rooms") or {}, answer.get("versions") or {}
    same = f"set `python` in the site file to the interpreter that submits, {asked.python}, or install the same there"
    if rooms.get("fault"):
        yield Finding(where(name), f"on {answer['node']}, {rooms['fault']}", str(rooms.get("remedy") or same))
    elif rooms.get("digest") != asked.rooms.get("digest"):
        home = asked.rooms.get("home")
        words = f"its skymill, in {rooms.get('home')}, has other code than the one here, in {home}"
        if rooms.get("home") == home:
            words = f"{home} holds other code there than here: it is no shared disk, or was changed just now"
        yield Finding(where(name), words, same)
    learns = bool({"train", "infer"} & set(asked.pools[name].stages)) and name != DRIVER
    for package, here in asked.versions.items():
        found = there.get(package)
        if found == here or (found is None and package in LEARNING and not learns):
            continue
        micro = package == "python" and str(found).rpartition(".")[0] == here.rpartition(".")[0]
        yield Finding(
            where(name), f"{package} is {found or 'missing'} there, {here} here", same, is_fault=not micro
        )
    if learns and "tensorflow" not in there and "tensorflow" not in asked.versions:
        words = "tensorflow is missing there, and is what trains and predicts"
        yield Finding(where(name), words, "install it there, unless model.backend of the run file is another")


def _network(asked: Asked, name: str, answer: Answer) -> Iterator[Finding]:
    listed = ", ".join(
        f"{each} ({addresses[0]})"
        for each, addresses in (answer.get("interfaces") or {}).items()
        if addresses and not addresses[0].startswith(LOOPBACK)
    )
    interface = asked.site.interface
    if interface and interface not in (answer.get("interfaces") or {}):
        words = f"{answer['node']} has no interface {interface!r}; it has {listed or 'none'}"
        yield Finding("interface", words, "set `interface` in the site file to the one that all nodes share")
    elif answer.get("door"):
        words = f"no port can be opened on {answer['node']} at {answer.get('address')}: {answer['door']}"
        yield Finding("interface", words, f"set `interface` in the site file to one of {listed}")
    elif str(answer.get("address")).startswith(LOOPBACK) and asked.site.kind != "local":
        words = (
            f"{answer['node']} would make itself known as {answer['address']}, which no other node reaches"
        )
        yield Finding("interface", words, f"set `interface` in the site file to one of {listed}")


def _peers(asked: Asked, name: str, answer: Answer) -> Iterator[Finding]:
    for other, met in (answer.get("peers") or {}).items():
        both_train = all("train" in asked.pools[each].stages for each in (name, other))
        if met["reached"] or not (DRIVER in (name, other) or both_train) or not met.get("tried", True):
            continue
        yield Finding(
            where(name),
            f"{answer['node']} cannot connect to the job of {where(other)}: {met['words']}",
            "set `interface` to a network that both are on, or ask for TCP between these nodes to be let through",
        )


def _scratch(asked: Asked, name: str, answer: Answer) -> Iterator[Finding]:
    found = answer.get("scratch") or {}
    if name == DRIVER or not found:
        return
    path, pool = found.get("path"), asked.pools[name]
    if found.get("fault"):
        words = f"{path} on {answer['node']}: {found['fault']}"
        yield Finding(
            "scratch", words, "set `scratch` in the site file to a folder jobs may write to on every node"
        )
        return
    kind, free = found["kind"], found["free_gib"]
    other = "set `scratch` in the site file to a disk of the node's own"
    if asked.site.kind != "local" and (kind in SHARED_KINDS or not asked.site.scratch):
        words = f"{path} is on the shared disk ({kind}): what does not fit into memory goes over the network"
        yield Finding("scratch", words, other, is_fault=False)
    if free < pool.memory_gib:
        memory = f"{free:.3g} GiB free, a worker may spill {pool.memory_gib:g} GiB"
        beside = " and what lies in it is memory of the job" if kind == "tmpfs" else ""
        yield Finding(
            "scratch", f"{path} on {answer['node']} ({kind}): {memory}{beside}", other, is_fault=False
        )
    if (slower := min(found["write_mib_s"], found["read_mib_s"])) < SLOW_MIB_S:
        words = f"{path} on {answer['node']} ({kind}) is slow: {slower:.3g} MiB/s"
        yield Finding("scratch", words, other, is_fault=False)


def _shared(asked: Asked, name: str, answer: Answer) -> Iterator[Finding]:
    trip = answer.get("round_trip_s", 0.0)
    if trip is None:
        words = f"a file written here is not seen on {answer['node']} within a minute"
        yield Finding(where(name), words, "call skymill in a folder on the disk that all nodes share")
    elif trip > LATE_S:
        words = f"the shared disk takes {trip:.0f} s to show a file there and one here: jobs find each other as late"
        change = "ask for a shorter attribute cache (actimeo) of that mount"
        yield Finding(where(name), words, change, is_fault=False)
    if abs(skew := answer.get("skew_s") or 0.0) > SKEW_S:
        side = "ahead of" if skew > 0 else "behind"
        words = f"the clock of {answer['node']} is {abs(skew):.0f} s {side} that of the shared disk"
        change = "have it set (NTP): times in logs and reports do not fit together"
        yield Finding(where(name), words, change, is_fault=False)
    for key, folder in (answer.get("folders") or {}).items():
        if not folder["seen"]:
            words = f"{folder['path']} is not seen on {answer['node']} as it is here ({folder['kind']} there)"
            yield Finding(
                key, words, f"set {key} in the run file to a folder on the disk that all nodes share"
            )
        elif not folder["writable"]:
            words = f"{folder['path']} cannot be written to on {answer['node']}"
            yield Finding(key, words, f"set {key} in the run file to a folder jobs may write to")


def _memory(asked: Asked, name: str, answer: Answer) -> Iterator[Finding]:
    memory, promised = answer.get("memory"), asked.pools[name].memory_gib
    if not memory:
        return
    at, key = f"on {answer['node']}", f"{where(name)}.memory_gib"
    what, least = least_memory(memory)
    space = memory["address_space_gib"]
    if least < ROUNDING * promised:
        words = f"{promised:g} GiB are promised, {what} leaves {least:.3g} GiB {at}"
        yield Finding(key, words, f"lower {key}, or ask for more by {where(name)}.directives")
    elif memory["free_gib"] < ROUNDING * promised and memory["cgroup_gib"] is None:
        words = f"{promised:g} GiB are promised, {memory['free_gib']:.3g} GiB are free {at}, and nothing limits a job"
        yield Finding(key, words, f"lower {key}, or see that others leave it alone", is_fault=False)
    if space is not None and space < 2 * promised and "train" in asked.pools[name].stages and name != DRIVER:
        words = f"ulimit -v is {space:.3g} GiB {at}; TensorFlow reserves more addresses than it uses memory"
        yield Finding(
            key, words, 'add "ulimit -v unlimited" to `prologue`, if that is allowed', is_fault=False
        )


def _cores(asked: Asked, name: str, answer: Answer) -> Iterator[Finding]:
    pool, at, key = asked.pools[name], f"on {answer['node']}", where(name)
    if cores := answer.get("cores"):
        have = usable_cores(cores)
        if have < ROUNDING * pool.cores:
            words = f"{pool.cores} are promised, the job may use {have:g} {at}"
            yield Finding(f"{key}.cores", words, f"lower {key}.cores, or ask for more by {key}.directives")
        elif have < pool.threads and name != DRIVER:
            words = f"{pool.threads} threads share {have:g} cores {at}"
            yield Finding(
                f"{key}.threads", words, f"raise {key}.cores, or lower {key}.threads", is_fault=False
            )
    if (gpus := answer.get("gpus", pool.gpus)) < pool.gpus:
        words = f"{pool.gpus} are promised, {gpus} are visible {at}"
        yield Finding(f"{key}.gpus", words, f"choose a queue with GPUs, or ask for them by {key}.directives")
    if (files := answer.get("open_files")) and files["soft"] < OPEN_FILES:
        words = f"only {files['soft']} files may be open at a time {at}"
        yield Finding(
            "prologue", words, 'add "ulimit -n 4096" to `prologue` in the site file', is_fault=False
        )


def _servers(asked: Asked, name: str, answer: Answer) -> Iterator[Finding]:
    pool, key, source = asked.pools[name], where(name), answer.get("source")
    downloads = {"pull", "fetch"} & set(pool.stages)
    if source and not source["reached"] and name == DRIVER:
        words = f"the driver is to count the samples, and {answer['node']} does not reach {source['words']}"
        change = "choose a driver.queue whose nodes reach it"
        if asked.source_is_reached_here:
            change += ", or count here first, where it is reached: `skymill plan RUN.toml`"
        yield Finding(key, words, change)
    elif source and not source["reached"] and downloads:
        words = f"its jobs {' and '.join(sorted(downloads))}, and {answer['node']} does not reach {source['words']}"
        change = f"give {' and '.join(sorted(downloads))} to a pool whose nodes reach it ({key}.stages, {key}.queue)"
        yield Finding(f"{key}.stages", words, change)
    elif source and not source["reached"] and pool.internet:
        words = f"{answer['node']} does not reach {source['words']}"
        yield Finding(f"{key}.internet", words, f"set {key}.internet = false", is_fault=False)
    database = answer.get("database")
    if database and not database["reached"]:
        words = f"the driver's job on {answer['node']} does not reach {database['words']}"
        change = "name a host in database.dsn that compute nodes reach (localhost is theirs), or choose a driver.queue"
        yield Finding("database.dsn", words, change)


def _login(asked: Asked, name: str, answer: Answer) -> Iterator[Finding]:
    login = answer.get("login")
    if login and not login["reached"]:
        words = f"{answer['node']} does not reach this machine ({login['words']})"
        change = "`skymill submit` does not need it; `skymill run --site` does"
        yield Finding(where(name), words, change, is_fault=False)
    for what, words in (answer.get("faults") or {}).items():
        yield Finding(
            where(name), f"{what} could not be found out on {answer['node']}: {words}", is_fault=False
        )


LOOKS: tuple[Callable[[Asked, str, Answer], Iterator[Finding]], ...] = (
    _versions,
    _network,
    _peers,
    _scratch,
    _shared,
    _memory,
    _cores,
    _servers,
    _login,
)


def least_memory(memory: Mapping[str, float | None]) -> tuple[str, float]:
    """Return what limits a job's memory most, and how much that leaves it [GiB]."""
    limits = {
        "the machine": memory["machine_gib"],
        "a control group": memory["cgroup_gib"],
        "ulimit -v": memory["address_space_gib"],
    }
    known = [(who, gib) for who, gib in limits.items() if gib is not None]
    return min(known, key=lambda each: each[1])


def usable_cores(cores: Mapping[str, float | None]) -> float:
    """Return how many cores a job may use: those it may run on, or its share of their time if that is less."""
    allowed, quota = cores["allowed"], cores["quota"]
    return min(allowed or 1.0, quota or allowed or 1.0)
