"""Fetch: download, check and decode the cutouts of one block, and write them as whole shards."""

import asyncio
import logging
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from cluster.desk import Manners
from cluster.politeness import Visit, reach
from cluster.work import whoami
from pipeline.sources.images import ImageSource
from pipeline.stages.compute_rows import compute_rows
from pipeline.stages.fetch_rows import Fetcher, Tally, together
from pipeline.stages.settle import place_of
from pipeline.stores.cube import BlockRows, content_digest, read_block, write_block
from pipeline.stores.staging import Staging
from schemas.errors import StoreError
from schemas.flags import Status
from schemas.records import Block, ObjectFailure, Receipt

logger = logging.getLogger(__name__)

MOST_CONNECTIONS = 64


def fetch_block(
    *, cube: str, block: Block, source: ImageSource, manners: Manners, staging: Staging
) -> Receipt:
    """Fetch one block's images into staged shards.

    What the block holds already is kept: only rows that are pending, or that failed and may be asked again, are
    asked for. If what it holds cannot be read, the block is fetched whole. A galaxy whose cutout can not be had
    becomes a row with a status and an `ObjectFailure`, never an exception, and never a silent black image.

    Parameters
    ----------
    cube : str
        Path of the cube; only read.
    block : Block
        The rows to fetch.
    source : ImageSource
        The server and how it is asked.
    manners : Manners
        The politeness all workers share.
    staging : Staging
        Where to put the shards.

    Returns
    -------
    Receipt
        ``digest`` is that of status, digests and pixels; ``facts`` has requests, retries, bytes, reasons,
        seconds by kind of work, the peak memory of this process [byte] and the staging folder.

    Raises
    ------
    SourceDown
        If the source does not answer, or answers nothing but errors.
    StoreError
        If the block's ids and positions cannot be read, or it cannot be staged.
    """
    begun, path = time.monotonic(), Path(cube)
    rows = _read(path, block, source.columns)
    asked, refused = _rows_to_ask(rows, source)
    fresh = not bool(np.any(rows.status == Status.OK))
    tally = asyncio.run(_fetch(rows, asked, source, manners, strict=fresh))
    tally.details |= refused
    fetched = time.monotonic()
    with staging.opened() as folder, ThreadPoolExecutor(1) as pool:
        # Hashing needs neither the disk nor the interpreter's lock, so it costs no time beside the writing.
        digest = pool.submit(content_digest, rows.status, rows.digest, rows.image, rows.target)
        products = write_block(path, block, vars(rows), folder)
    done = time.monotonic()
    seconds = {"fetch_s": fetched - begun, "decode_s": tally.decode_s, "write_s": done - fetched}
    return Receipt(
        rows=block.rows,
        bytes=tally.bytes,
        seconds=done - begun,
        digest=digest.result(),
        products=products,
        failures=_failures(block, rows, tally),
        facts=_facts(rows, tally) | seconds | {"staging": str(folder)},
        worker=whoami(),
    )


def _read(path: Path, block: Block, columns: tuple[str, ...]) -> BlockRows:
    try:
        return read_block(path, block, columns=columns)
    except StoreError as error:
        logger.warning("%s; it is fetched whole", error.message)
        return read_block(path, block, fetched=False, columns=columns)


def _rows_to_ask(rows: BlockRows, source: ImageSource) -> tuple[list[int], dict[int, str]]:
    """Return the rows to be asked for, and in words why the source refuses others."""
    wanted = (rows.status >= min(s for s in Status if s.retryable)) | (rows.status == Status.PENDING)
    placed = (
        np.isfinite(rows.ra) & np.isfinite(rows.dec) & (np.abs(rows.dec) <= 90) & (np.abs(rows.ra) <= 360)
    )
    here = map(int, np.flatnonzero(wanted & placed))
    refused = {row: why for row in here if (why := source.refusal(place_of(rows, row)))}
    for name in () if source.is_local else source.columns:
        placed &= np.isfinite(rows.columns[name])
    rows.status[wanted & ~placed] = Status.BAD_POSITION
    rows.status[list(refused)] = Status.BAD_SCALE
    return [int(row) for row in np.flatnonzero(wanted & placed) if row not in refused], refused


async def _fetch(
    rows: BlockRows, asked: list[int], source: ImageSource, manners: Manners, *, strict: bool
) -> Tally:
    if not asked:
        return Tally()
    if source.is_local:
        return compute_rows(rows, asked, source)
    jobs = together(rows, asked, source)
    async with Visit(reach(manners), wanted=min(MOST_CONNECTIONS, len(jobs))) as visit:
        return await Fetcher(rows, source, visit, strict=strict).run(jobs)


def _failures(block: Block, rows: BlockRows, tally: Tally) -> tuple[ObjectFailure, ...]:
    return tuple(
        ObjectFailure(
            block.sample,
            block.start + row,
            int(rows.id[row]),
            int(rows.status[row]),
            tally.details.get(row, ""),
        )
        for row in map(int, np.flatnonzero(rows.status != Status.OK))
    )


def _facts(rows: BlockRows, tally: Tally) -> dict[str, Any]:
    statuses, counts = np.unique(rows.status, return_counts=True)
    return {
        "requests": tally.requests,
        "retries": tally.retries,
        "downloaded_bytes": tally.bytes,
        "ok": int((rows.status == Status.OK).sum()),
        "reasons": {
            Status(s).reason: int(n) for s, n in zip(statuses, counts, strict=True) if s != Status.OK
        },
        "faults": dict(tally.faults),
        "network_s": tally.network_s,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
