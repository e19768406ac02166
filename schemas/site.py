"""The site file: one TOML file that says what a computing centre fixes.

``--site NAME`` is a path, ``sites/NAME.toml`` here, ``~/.config/skymill/sites/NAME.toml``, or one of the
built-in names. A run file says what is to be done, a site file where; neither holds anything of the other.
"""

import os
import re
import shlex
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from schemas.section import Name, Section

Kind = Literal["local", "address", "slurm", "pbs", "sge", "lsf", "htcondor"]
KINDS: tuple[str, ...] = get_args(Kind)
PoolStage = Literal["pull", "fetch", "train", "infer"]
POOL_STAGES: tuple[str, ...] = get_args(PoolStage)
"""What workers do; plan, rows, publish and report are the driver's."""


def _walltime(text: str) -> str:
    if not re.fullmatch(r"(\d+-)?\d{1,3}:[0-5]\d:[0-5]\d", text) or not seconds_of(text):
        raise ValueError(f"expected a walltime such as 12:00:00 or 2-00:00:00, found {text!r}")
    return text


def seconds_of(walltime: str) -> int:
    """Return the length [s] of ``[D-]HH:MM:SS``.

    Examples
    --------
    >>> seconds_of("00:30:00"), seconds_of("1-02:00:00")
    (1800, 93600)
    """
    days, _, clock = walltime.rpartition("-")
    hours, minutes, seconds = map(int, clock.split(":"))
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def words_of(command: str) -> tuple[str, ...]:
    """Return the words of a command as a shell reads it, with ``$VARIABLES`` and ``~``.

    Raises
    ------
    ValueError
        If a quote is not closed, or a home folder is nobody's.

    Examples
    --------
    >>> words_of("apptainer exec 'my mill.sif' python3")
    ('apptainer', 'exec', 'my mill.sif', 'python3')
    """
    try:
        words = shlex.split(os.path.expandvars(command))
        return tuple(str(Path(word).expanduser()) if word.startswith("~") else word for word in words)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"expected a command, found {command!r}: {error}") from error


def _command(text: str) -> str:
    words_of(text)
    return text


Walltime = Annotated[str, AfterValidator(_walltime)]
Line = Annotated[str, Field(pattern=r"^[^\n\r]*$")]
Command = Annotated[Line, AfterValidator(_command)]
Word = Annotated[str, Field(pattern=r"^[^\s\"']*$")]


class Pool(Section):
    """Jobs of one shape, one Dask worker each: where they are asked for, and what they are for.

    ``nodes`` fixes the number of jobs; without it ``--nodes`` says it. ``cores`` and ``memory_gib`` are a job's;
    ``internet`` says whether its nodes reach the survey server. ``directives`` are lines for the scheduler as they
    follow ``#SBATCH``, ``#PBS``, ``#$``, ``#BSUB``, or ``key = value`` for HTCondor.
    """

    queue: Word = ""
    account: Word = ""
    cores: Annotated[int, Field(gt=0, le=1024)] = 1
    memory_gib: Annotated[float, Field(gt=0, le=1e6)] = 4.0
    walltime: Walltime = "01:00:00"
    gpus: Annotated[int, Field(ge=0)] = 0
    nodes: Annotated[int, Field(ge=0)] | None = None
    threads: Annotated[int, Field(gt=0, le=1024)] = 1
    stages: Annotated[tuple[PoolStage, ...], Field(min_length=1)] = ("pull", "fetch", "train", "infer")
    internet: bool = True
    directives: tuple[Line, ...] = ()

    @property
    def walltime_s(self) -> int:
        """Walltime [s]."""
        return seconds_of(self.walltime)


class Site(Section):
    """A whole, resolved site file.

    ``python`` is the interpreter of the jobs (by default the one that submits), ``prologue`` are shell lines before
    it, ``interface`` is the network the nodes share, ``scratch`` a node-local folder for what may be lost (its
    ``$VARIABLES`` are the node's), ``node_local`` the folders that other nodes do not see. ``warn_s`` is how long
    [s] before its walltime a job begins to leave.
    """

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,60}$")]
    kind: Kind
    address: str = ""
    python: Command = ""
    prologue: tuple[Line, ...] = ()
    interface: Word = ""
    scratch: Line = ""
    node_local: tuple[Line, ...] = ("/tmp", "/var/tmp", "/dev/shm", "/local", "/scratch/local")
    warn_s: Annotated[int, Field(gt=0)] = 120
    driver: Pool = Pool()
    pools: dict[Name, Pool] = Field(default={"workers": Pool()})

    @model_validator(mode="after")
    def _fits_together(self) -> "Site":
        faults = []
        if (self.kind == "address") != bool(self.address):
            faults.append('address: expected one if, and only if, kind is "address"')
        if not self.pools:
            faults.append("pools: expected at least one")
        if "driver" in self.pools:
            faults.append("pools.driver: expected another name, [driver] is the driver's own section")
        missing = [
            stage for stage in POOL_STAGES if not any(stage in pool.stages for pool in self.pools.values())
        ]
        faults += [f"pools: expected one with the stage {stage!r}, found none" for stage in missing]
        for where, pool in {
            "driver": self.driver,
            **{f"pools.{name}": p for name, p in self.pools.items()},
        }.items():
            if pool.walltime_s <= self.warn_s:
                faults.append(
                    f"{where}.walltime: expected more than warn_s, {self.warn_s} s, found {pool.walltime}"
                )
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def nodes_of(self, nodes: int) -> dict[str, int]:
        """Return how many jobs each pool has when ``--nodes`` is `nodes`; none where the workers are there already."""
        if self.kind == "address":
            return dict.fromkeys(self.pools, 0)
        return {name: nodes if pool.nodes is None else pool.nodes for name, pool in self.pools.items()}
