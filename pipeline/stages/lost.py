"""Lost blocks: the receipts that the driver writes for blocks whose workers died each time.

The driver reads and writes no pixels for them: a status says all there is to say.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from cluster.work import whoami
from pipeline.stores.cube import fetched_names
from pipeline.stores.shards import write_shard
from pipeline.stores.staging import Staging, disk_errors, seal
from schemas.arrays import ID, STATUS
from schemas.digests import file_sha256
from schemas.errors import StoreError
from schemas.flags import Status
from schemas.records import Block, ObjectFailure, Product, Receipt, Unit

FIRST_RETRYABLE = min(status for status in Status if status.retryable)


def lost_cutouts(unit: Unit, *, why: str, cube: str, staging: Staging, **others: Any) -> Receipt:
    """Say of a block's cutouts that they are lost, but for those it held already.

    Only a shard of the status is written. Where the block was fetched before, the pixels it has stay, and the
    receipt vouches for them too.

    Raises
    ------
    StoreError
        If the cube's ids cannot be read, or the shard cannot be written.
    """
    del others
    path, block = Path(cube), unit.arguments["block"]
    group = _opened(path)
    shards = [path / _shard(group[name], block) for name in fetched_names(group)]
    held = all(shard.is_file() and shard.stat().st_size for shard in shards)
    status = _read(group, STATUS.name, block) if held else np.zeros(block.rows, np.uint8)
    status[(status == Status.PENDING) | (status >= FIRST_RETRYABLE)] = Status.BLOCK_LOST
    with staging.opened() as folder:
        root = folder / path.name
        kept = [_as_it_is(shard, root / shard.relative_to(path)) for shard in shards[:-1] if held]
        product = _write(group[STATUS.name], status, root / shards[-1].relative_to(path), shards[-1])
    statuses, counts = np.unique(status[status != Status.OK], return_counts=True)
    pixels = "".join(product.sha256 for product in kept)
    return Receipt(
        rows=block.rows,
        bytes=0,
        seconds=0.0,
        digest=hashlib.sha256(f"lost {pixels}".encode() + status.tobytes()).hexdigest(),
        products=(*kept, product),
        failures=_failures(group, block, status, status != Status.OK, why),
        facts={
            "ok": int((status == Status.OK).sum()),
            "reasons": {Status(s).reason: int(n) for s, n in zip(statuses, counts, strict=True)},
            "lost": why,
        },
        worker=whoami(),
    )


def lost_predictions(unit: Unit, *, why: str, cube: str, **others: Any) -> Receipt:
    """Say of a block's good cutouts that they have no prediction: they are in no part, as those without cutout.

    Raises
    ------
    StoreError
        If the cube cannot be read.
    """
    del others
    block, group = unit.arguments["block"], _opened(Path(cube))
    good = _read(group, STATUS.name, block) == Status.OK
    status = np.full(block.rows, Status.NOT_PREDICTED, np.uint8)
    return Receipt(
        rows=0,
        bytes=0,
        seconds=0.0,
        digest=hashlib.sha256(f"lost {unit.inputs}".encode()).hexdigest(),
        failures=_failures(group, block, status, good, why),
        facts={"lost": why},
        worker=whoami(),
    )


def _opened(path: Path) -> zarr.Group:
    try:
        return zarr.open_group(path, mode="r")
    except (OSError, ValueError) as error:
        raise StoreError(f"there is no cube at {path}: {error}", "run `skymill verify --repair`") from error


def _read(group: zarr.Group, name: str, block: Block) -> np.ndarray:
    try:
        array: Any = group[name]
        return np.asarray(array[block.start : block.stop])
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"{name} of block {block.key} cannot be read: {error}", "run `skymill verify --repair`"
        ) from error


def _shard(array: Any, block: Block) -> str:
    index = (block.start // array.shards[0], *[0] * (array.ndim - 1))
    return f"{array.basename}/{array.metadata.encode_chunk_key(index)}"


def _as_it_is(final: Path, staged: Path) -> Product:
    """Return a file that is in its place already as a product: nothing is staged, so nothing is moved."""
    return Product(str(staged), str(final), final.stat().st_size, file_sha256(final))


def _write(array: Any, values: np.ndarray, staged: Path, final: Path) -> Product:
    with disk_errors(staged, values.nbytes):
        staged.parent.mkdir(parents=True)
        write_shard(
            staged,
            values.astype(array.dtype),
            rows=array.shards[0],
            chunk_rows=array.chunks[0],
            fill_value=array.fill_value,
        )
    return seal(staged, final)


def _failures(
    group: zarr.Group, block: Block, status: np.ndarray, chosen: np.ndarray, why: str
) -> tuple[ObjectFailure, ...]:
    ids = _read(group, ID.name, block)
    return tuple(
        ObjectFailure(
            block.sample,
            block.start + row,
            int(ids[row]),
            int(status[row]),
            why if status[row] >= Status.BLOCK_LOST else "",
        )
        for row in map(int, np.flatnonzero(chosen))
    )
