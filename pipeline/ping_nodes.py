"""What the answers of a ping say of the nodes: memory, cores, GPUs and scratch, against what was promised."""

from collections.abc import Iterator, Mapping

from pipeline.ping_asked import DRIVER, Answer, Asked, Finding, where
from pipeline.stores.launcher import NETWORK_FILESYSTEMS

SHARED_KINDS = NETWORK_FILESYSTEMS | {"fuse.sshfs", "9p", "virtiofs", "wekafs", "orangefs"}
SLOW_MIB_S = 30.0
OPEN_FILES = 1024
ROUNDING = 0.97
"""A job may have so much less than was asked for: schedulers round, and a kernel keeps some."""


def scratch_findings(asked: Asked, name: str, answer: Answer) -> Iterator[Finding]:
    """Say what is odd about a worker's scratch folder."""
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


def memory_findings(asked: Asked, name: str, answer: Answer) -> Iterator[Finding]:
    """Say where a job has less memory than its pool promises."""
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


def core_findings(asked: Asked, name: str, answer: Answer) -> Iterator[Finding]:
    """Say where a job has fewer cores, GPUs or open files than its pool needs."""
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
