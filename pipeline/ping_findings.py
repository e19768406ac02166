"""What the answers of a ping mean: pure functions from what jobs found to what is to be changed."""

from collections.abc import Callable, Iterator, Mapping

from pipeline.ping_asked import DRIVER, Answer, Asked, Finding, where
from pipeline.ping_nodes import core_findings, memory_findings, scratch_findings

LEARNING = {"tensorflow", "keras"}
LATE_S = 10.0
SKEW_S = 2.0
LOOPBACK = ("127.", "::1")


def findings(asked: Asked, answers: Mapping[str, Answer]) -> list[Finding]:
    """Return all there is to say of the answers, faults first; ``answers`` by pool.

    Of a job that has not looked yet nothing is said but why it is silent.
    """
    answers = {name: answer for name, answer in answers.items() if answer.get("looked")}
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
    scratch_findings,
    _shared,
    memory_findings,
    core_findings,
    _servers,
    _login,
)
