"""A real Slurm cluster on one Linux machine, for root on Debian.

``head`` and ``node1`` … ``nodeN`` are namespaces with a network, a hostname and an ``/etc/hosts`` of their own, joined
by a bridge and without a way out. Their addresses are of TEST-NET-1 (RFC 5737). They share this machine's disk,
kernel and cores, whatever Slurm believes of them.

As a command: ``python tests/slurm/lab.py install``, or ``… shell [NODES]`` for a shell on the head of a new lab.
It needs the standard library only.
"""

import contextlib
import fcntl
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge", "iproute2")
NETWORK = "192.0.2"
HEAD, SWITCH = "head", "sw"
PREFIX = "skymill"
RUNS = Path("/run/munge")
"""Where every client of Slurm looks for munge; each host has the lab's own folder there."""

SLURM_CONF = """\
ClusterName=lab
SlurmctldHost=head({network}.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# how long a requeued job waits before it may start again; 120 s by default
AuthInfo=cred_expire={requeue_s}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=5
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=2
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
SlurmctldTimeout=10
KillWait=5
MinJobAge=60
JobRequeue=1
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobcomp.log
NodeName=node[1-{nodes}] NodeAddr={network}.[11-{last}] CPUs={cpus} RealMemory={memory_mb} State=UNKNOWN
"""
PARTITION = "PartitionName={name} Nodes=node[{first}-{last}] Default={is_first} LLN=YES MaxTime=60 DefMemPerCPU=1000\n"

ENTER = """hostname "$0" && mount --bind "$LAB/munge" /run/munge || exit
for name in hosts passwd group; do mount --bind "$LAB/$name" "/etc/$name" || exit; done
{binds}
exec "$@"
"""
USER, USER_ID = "astro", 1500
"""A user without rights, whom the hosts of a lab know and this machine does not."""


def install() -> None:
    """Install Slurm's packages where they are missing.

    Raises
    ------
    RuntimeError
        If that is not possible; the message says why.
    """
    if not _missing():
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise RuntimeError(f"{', '.join(_missing())} missing, and only root on Debian can install Slurm")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with Path(tempfile.gettempdir(), f"{PREFIX}-lab-install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES]):
            if not _missing():
                return
            done = subprocess.run(["apt-get", *words], capture_output=True, text=True, env=environment)
            if done.returncode:
                last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
                raise RuntimeError(f"apt-get {words[0]} failed: {' '.join(last)}")
    if missing := _missing():
        raise RuntimeError(f"{', '.join(missing)} still missing after apt-get install")


def _missing() -> list[str]:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    wanted = ("slurmctld", "slurmd", "sbatch", "munged", "ip")
    return [name for name in wanted if not shutil.which(name, path=path)]


def reason_not_possible() -> str:
    """Install what is missing, and return why there can be no lab here; empty when there can."""
    if os.geteuid() != 0:
        return "a Slurm lab needs root (network namespaces)"
    if not Path("/etc/debian_version").exists():
        return "a Slurm lab needs Debian (its packages of Slurm)"
    try:
        install()
    except (RuntimeError, OSError) as error:
        return f"a Slurm lab needs Slurm: {error}"
    probe = f"{PREFIX}-{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    try:
        tried = subprocess.run(
            ["ip", "netns", "exec", probe, "unshare", "--uts", "--", "mount", "--bind", "/etc", "/etc"],
            capture_output=True,
            text=True,
        )
    finally:
        subprocess.run(["ip", "netns", "del", probe], capture_output=True)
    said = made.stderr.strip() if made.returncode else tried.stderr.strip() if tried.returncode else ""
    return f"a Slurm lab needs namespaces: {said}" if said else ""


class Lab:
    """A running cluster; leaving the ``with`` block ends it, and leaves nothing.

    Parameters
    ----------
    folder : Path
        For configuration, state and logs; made, and readable by all, as are the folders above it
        that this makes.
    nodes : int, or mapping of str to int
        How many nodes there are; or by partition, of which the first is Slurm's default.
    cpus, memory_mb : int
        What Slurm believes of each node.
    requeue_s : int
        How long [s] a requeued job waits before it may start again.
    binds : mapping of str to Path, optional
        Folders of this machine that the hosts have in the lab's folder, by these names, whoever may read what lies
        above them here.
    """

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int | Mapping[str, int] = 4,
        cpus: int = 2,
        memory_mb: int = 4000,
        requeue_s: int = 15,
        binds: Mapping[str, Path] | None = None,
    ) -> None:
        self.folder = folder
        self._partitions = {"debug": nodes} if isinstance(nodes, int) else dict(nodes)
        self.nodes = tuple(f"node{number + 1}" for number in range(sum(self._partitions.values())))
        self._shape = {"cpus": cpus, "memory_mb": memory_mb, "requeue_s": requeue_s}
        self._binds = dict(binds or {})
        self._path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
        self._prefix = f"{PREFIX}-{os.getpid()}-{id(self) & 0xFFFF:04x}"

    def __enter__(self) -> Self:
        sweep()
        try:
            self._up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def run(
        self,
        host: str,
        argv: Sequence[str | Path],
        *,
        user: str = "",
        check: bool = True,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host to its end, and return what it said.

        Parameters
        ----------
        host : str
            ``head``, or a node.
        argv : sequence of str or Path
            The command.
        user : str, optional
            Run it as `USER`, from the home that is the lab's ``home``.
        check : bool
            Fail, with what it said, when its exit code is not 0.
        **options
            ``env`` is added to the environment; the rest is that of `subprocess.run`.
        """
        command, options = self._inside(host, argv, user, options)
        done = subprocess.run(command, **{"capture_output": True, "text": True, "timeout": 300} | options)
        assert not check or done.returncode == 0, (
            f"{argv} on {host}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done

    def popen(
        self, host: str, argv: Sequence[str | Path], *, user: str = "", **options: Any
    ) -> "subprocess.Popen[str]":
        """Start a command on a host; what it may be given is what `run` takes."""
        command, options = self._inside(host, argv, user, options)
        return subprocess.Popen(command, **{"text": True} | options)

    @staticmethod
    def give_to_user(folder: Path) -> None:
        """Make a folder, and what is in it, the user's."""
        for path in (folder, *folder.rglob("*")):
            os.chown(path, USER_ID, USER_ID, follow_symlinks=False)

    def install_commands(self, folder: Path) -> None:
        """Put Slurm's commands into a folder such that they run on the head, wherever they are called."""
        folder.mkdir()
        for name in ("sbatch", "squeue", "scancel", "scontrol", "sinfo"):
            command, options = self._inside(HEAD, [f"/usr/bin/{name}"], "", {})
            settings = [f"{key}={options['env'][key]}" for key in ("LAB", "SLURM_CONF")]
            path = folder / name
            path.write_text(f'#!/bin/sh\nexec env {shlex.join([*settings, *command])} "$@"\n')
            path.chmod(0o755)

    def kill_node(self, host: str) -> None:
        """End all processes of a host at once, as a loss of power does."""
        _end(self._name(host), signal.SIGKILL)

    def start_node(self, host: str) -> None:
        """Let a node that was killed come back."""
        (self.folder / f"spool-{host}").mkdir(exist_ok=True)
        self.run(host, ["slurmd", "-N", host])

    def cut(self, host: str) -> None:
        """Take a host off the network; what runs there goes on."""
        _ip("-n", self._name(SWITCH), "link", "set", f"v-{host}", "down")

    def mend(self, host: str) -> None:
        """Put a host that was cut off back on the network."""
        _ip("-n", self._name(SWITCH), "link", "set", f"v-{host}", "up")

    def pids(self, host: str) -> list[int]:
        """Return the processes of a host."""
        return _pids(self._name(host))

    def down(self) -> None:
        """End everything; may be called again, and at any time."""
        _remove(name for name in _namespaces() if name.startswith(self._prefix))

    def _up(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        (self.folder / "state").mkdir(exist_ok=True)
        hosts = {HEAD: f"{NETWORK}.1"} | {node: f"{NETWORK}.{10 + int(node[4:])}" for node in self.nodes}
        lines = ["127.0.0.1 localhost", *(f"{address} {host}" for host, address in hosts.items())]
        (self.folder / "hosts").write_text("\n".join(lines) + "\n")
        self._add_user()
        self._write_settings()
        for name in self._binds:
            (self.folder / name).mkdir(exist_ok=True)
        (self.folder / "cgroup.conf").write_text("CgroupAutomount=no\nCgroupPlugin=cgroup/v1\n")
        _ip("netns", "add", self._name(SWITCH))
        _ip("-n", self._name(SWITCH), "link", "add", "br0", "type", "bridge")
        _ip("-n", self._name(SWITCH), "link", "set", "br0", "up")
        for host, address in hosts.items():
            self._plug_in(host, address)
        self._start_munge()
        self.run(HEAD, ["slurmctld"])
        for node in self.nodes:
            self.start_node(node)
        idle = ["sinfo", "-h", "-N", "-t", "idle", "-o", "%N"]
        _await(
            lambda: len(self.run(HEAD, idle, check=False).stdout.split()) == len(self.nodes),
            f"nodes: see {self.folder}",
        )

    def _write_settings(self) -> None:
        count = len(self.nodes)
        lines = [
            SLURM_CONF.format(
                network=NETWORK, folder=self.folder, nodes=count, last=10 + count, **self._shape
            )
        ]
        first = 1
        for name, nodes in self._partitions.items():
            last, is_first = first + nodes - 1, "YES" if first == 1 else "NO"
            lines.append(PARTITION.format(name=name, first=first, last=last, is_first=is_first))
            first = last + 1
        (self.folder / "slurm.conf").write_text("".join(lines))

    def _add_user(self) -> None:
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        self.give_to_user(home)
        users, groups = f"{USER}:x:{USER_ID}:{USER_ID}::{home}:/bin/sh\n", f"{USER}:x:{USER_ID}:\n"
        (self.folder / "passwd").write_text(Path("/etc/passwd").read_text() + users)
        (self.folder / "group").write_text(Path("/etc/group").read_text() + groups)

    def _plug_in(self, host: str, address: str) -> None:
        name, switch = self._name(host), self._name(SWITCH)
        _ip("netns", "add", name)
        ends = ("type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("-n", switch, "link", "add", f"v-{host}", *ends)
        _ip("-n", switch, "link", "set", f"v-{host}", "master", "br0", "up")
        _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", name, "link", "set", "lo", "up")

    def _start_munge(self) -> None:
        """Start the lab's own munge: it serves all hosts, as Unix sockets pass between network namespaces."""
        folder = self.folder / "munge"
        folder.mkdir(exist_ok=True, mode=0o755)
        RUNS.mkdir(exist_ok=True)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        seed = self.folder / "munge.seed"
        words = [f"--key-file={key}", f"--seed-file={seed}", f"--log-file={self.folder / 'munged.log'}"]
        self.run(SWITCH, ["munged", "--force", *words])

    def _name(self, host: str) -> str:
        return f"{self._prefix}-{host}"

    def _inside(
        self, host: str, argv: Sequence[str | Path], user: str, options: Mapping[str, Any]
    ) -> tuple[list[str], dict[str, Any]]:
        given = {"PATH": self._path, "SLURM_CONF": str(self.folder / "slurm.conf"), "LAB": str(self.folder)}
        who = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"] if user else []
        if user:
            given |= {"HOME": str(self.folder / "home"), "USER": user}
        environment = os.environ | given | (options.get("env") or {})
        binds = [
            f'mount --bind {shlex.quote(str(path))} "$LAB/{name}" || exit'
            for name, path in self._binds.items()
        ]
        enter = ENTER.format(binds="\n".join(binds))
        inside = ["ip", "netns", "exec", self._name(host), "unshare", "--uts", "--", "sh", "-c", enter, host]
        return [*inside, *who, *map(str, argv)], {**options, "env": environment}


def sweep() -> None:
    """Remove what labs have left whose process was killed."""
    for name in _namespaces():
        found = re.match(rf"{PREFIX}-(\d+)-", name)
        if found and not Path("/proc", found[1]).exists():
            _remove([name])


def _remove(names: "Iterator[str] | Sequence[str]") -> None:
    names = list(names)
    for name in names:
        _end(name, signal.SIGTERM, patience_s=0)
    _wait(lambda: not any(map(_pids, names)), 3)
    for name in names:
        _end(name, signal.SIGKILL)
        subprocess.run(["ip", "netns", "del", name], capture_output=True)


def _end(name: str, number: int, patience_s: float = 20) -> None:
    """Signal all processes of a namespace until there are none: some may be starting others."""

    def gone() -> bool:
        pids = _pids(name)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return not pids

    _wait(gone, patience_s)


def _pids(name: str) -> list[int]:
    said = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout
    return [int(pid) for pid in said.split()]


def _namespaces() -> list[str]:
    said = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    return [line.split()[0] for line in said.splitlines() if line]


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


def _await(ready: Callable[[], bool], what: str) -> None:
    assert _wait(ready, 60), f"{what} did not come"


def _wait(ready: Callable[[], bool], patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while not (done := ready()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return done


def main(words: Sequence[str]) -> int:
    """Install Slurm, or open a shell on the head of a new lab."""
    if words[:1] == ["install"]:
        install()
        return 0
    if words[:1] != ["shell"]:
        print(__doc__, file=sys.stderr)
        return 2
    if reason := reason_not_possible():
        print(reason, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="skymill-lab-") as folder:
        Path(folder).chmod(0o755)
        with Lab(Path(folder), nodes=int(words[1]) if words[1:] else 4) as lab:
            shell = os.environ.get("SHELL", "/bin/sh")
            return lab.popen(HEAD, [shell]).wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
