"""Fix the row order of a sample, and create its cube."""

import time
from pathlib import Path

from cluster.work import whoami
from pipeline.mill import Mill
from pipeline.sources.sample_sql import SampleSql
from pipeline.stages.pull import row_limit
from pipeline.stores.cube import attributes, create_cube, planned_digest
from pipeline.stores.cube_spec import CubeSpec
from pipeline.stores.rows import RowsReport, RowsSpec, order_rows
from schemas.flags import Status
from schemas.records import ObjectFailure, Product, Receipt


def order_sample(mill: Mill, *, sample: str, parts: list[Path]) -> Receipt:
    """Put the parts of a sample in the order of its key, split it, and create its cube.

    Raises
    ------
    StoreError
        If the disk refuses, or a cube of another geometry, another source or other objects is there.
    """
    started = time.monotonic()
    run_file = mill.run_file
    limit = row_limit(SampleSql.of(run_file, sample), run_file.samples[sample])
    out = mill.folder / "rows" / f"{sample}.parquet"
    staged = out.with_name(f".{out.name}.staged")
    out.parent.mkdir(parents=True, exist_ok=True)
    found = order_rows(parts, staged, RowsSpec.of(run_file, sample, limit=limit))
    create_cube(run_file.cube_path(sample), staged, CubeSpec.of(run_file, sample))
    _say_oddities(mill, sample, found)
    return Receipt(
        rows=found.rows,
        bytes=found.bytes,
        seconds=time.monotonic() - started,
        digest=found.sha256[:32],
        products=(Product(str(staged), str(out), found.bytes, found.sha256),),
        failures=_duplicates(sample, found),
        facts={
            "labelled": found.labelled,
            "splits": found.splits,
            "features": list(found.features),
            "duplicates": found.duplicate_count,
            "objects": attributes(run_file.cube_path(sample))["objects"],
            "cube_sha256": planned_digest(run_file.cube_path(sample)),
        },
        worker=whoami(),
    )


def _say_oddities(mill: Mill, sample: str, found: RowsReport) -> None:
    if found.duplicate_count:
        mill.view.say(
            f"{sample}: {found.duplicate_count:,} keys came more than once; the first row of each is kept"
        )
    if found.bad_position_count:
        mill.view.say(
            f"{sample}: {found.bad_position_count:,} rows have no position on the sky; they stay, as failures"
        )


def _duplicates(sample: str, found: RowsReport) -> tuple[ObjectFailure, ...]:
    # What was left out has no row in the cube; a number in its place tells the entries apart.
    return tuple(
        ObjectFailure(sample, number, key, Status.DUPLICATE, f"came {copies} times, one row is kept")
        for number, (key, copies) in enumerate(found.duplicates.items())
    )
