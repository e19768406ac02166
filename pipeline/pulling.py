"""Count a sample at its source, and say what a worker needs to pull a slice of it."""

import time
from dataclasses import asdict
from typing import Any

from cluster.work import whoami
from pipeline.mill import Mill
from pipeline.sources.sample_sql import SampleSql
from pipeline.sources.skyserver import SkyServer
from pipeline.stages.pull import Partition, plan_partitions, row_limit
from pipeline.stores.staging import Staging
from schemas.digests import digest_of
from schemas.records import Receipt, Unit


def count_sample(mill: Mill, *, sample: str) -> Receipt:
    """Count a sample by groups, and cut it into partitions; they are in the receipt's facts."""
    started = time.monotonic()
    server = SkyServer.of(mill.run_file, mill.source_url, shared=False)
    chosen = mill.run_file.samples[sample]
    sql = SampleSql.of(mill.run_file, sample)
    found = [asdict(partition) for partition in plan_partitions(server, sql, chosen, name=sample)]
    rows = sum(partition["rows"] for partition in found)
    limit = row_limit(sql, chosen)
    return Receipt(
        rows=rows,
        bytes=0,
        seconds=time.monotonic() - started,
        digest=digest_of({"partitions": found}),
        facts={"partitions": found, "wanted": rows if limit is None else min(rows, limit)},
        worker=whoami(),
    )


def pull_arguments(mill: Mill, *, unit: Unit, staging: Staging) -> dict[str, Any]:
    """Return the keywords of `pipeline.stages.pull.pull_partition` for one partition."""
    partition = Partition(**unit.arguments["partition"])
    return {
        "partition": partition,
        "sample_sql": SampleSql.of(mill.run_file, partition.sample),
        "server": SkyServer.of(mill.run_file, mill.source_url, shared=True),
        "final": str(mill.folder / "catalogue" / f"{unit.key}.parquet"),
        "staging": staging,
        "label": mill.run_file.target.column,
    }
