"""Small values that travel between driver and workers."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Block:
    """A run of consecutive cube rows, whole shards: rows ``start`` to ``stop`` (exclusive)."""

    sample: str
    index: int
    start: int
    stop: int

    @property
    def key(self) -> str:
        """Name of the block as a unit of the ledger: ``spectro/00012``."""
        return f"{self.sample}/{self.index:05d}"

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.stop - self.start


def blocks_of(sample: str, rows: int, *, rows_per_block: int) -> list[Block]:
    """Cut `rows` cube rows into blocks; the last may be shorter.

    Examples
    --------
    >>> [block.rows for block in blocks_of("spectro", 1000, rows_per_block=512)]
    [512, 488]
    """
    return [
        Block(sample, index, start, min(start + rows_per_block, rows))
        for index, start in enumerate(range(0, rows, rows_per_block))
    ]


@dataclass(frozen=True)
class Unit:
    """One piece of a stage's work.

    ``inputs`` is the digest of everything the result depends on: a unit is done when the ledger holds a
    receipt with the same one. ``arguments`` go to the stage's work function as keywords.
    """

    stage: str
    key: str
    inputs: str
    arguments: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Product:
    """A file or folder a worker has written to `staged` and that belongs at `final` once it is accepted.

    ``sha256`` is that of the bytes as read back from disk.
    """

    staged: str
    final: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ObjectFailure:
    """A galaxy that could not be had, and why: ``status`` is a `schemas.flags.Status`."""

    sample: str
    row: int
    id: int
    status: int
    detail: str = ""


@dataclass(frozen=True)
class Receipt:
    """What a worker returns once its product is durable in the staging area.

    ``digest`` names the content (the same content has the same digest, whatever run or attempt made it);
    ``products`` are placed in their order, and the last one vouches for the others; ``facts`` holds a stage's own
    small numbers; ``worker`` is the ``host:pid`` that did the work.
    """

    rows: int
    bytes: int
    seconds: float
    digest: str
    products: tuple[Product, ...] = ()
    failures: tuple[ObjectFailure, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    worker: str = ""


@dataclass(frozen=True)
class Place:
    """Where one trainer of a group stands.

    ``members`` are the addresses (``host:port``) of all, by rank; empty means alone, which is the same as a group
    of one. ``device`` is the value of ``CUDA_VISIBLE_DEVICES`` for the trainer, None to leave it as it is.

    Examples
    --------
    >>> Place().size, Place(1, ("a:4000", "b:4000")).size
    (1, 2)
    """

    rank: int = 0
    members: tuple[str, ...] = ()
    generation: int = 0
    device: str | None = None

    @property
    def size(self) -> int:
        """Number of members."""
        return max(1, len(self.members))
