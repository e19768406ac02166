"""Count a sample at its source, and say what a worker needs to pull a slice of it."""

import time
from dataclasses import asdict
from typing import Any

from cluster.work import find, whoami
from pipeline.mill import Mill
from pipeline.sources.sample_sql import SampleSql
from pipeline.sources.skyserver import SkyServer
from pipeline.stages.pull import Catalogue, Partition, plan_partitions, row_limit
from pipeline.stores.staging import Staging
from schemas.digests import digest_of
from schemas.imaging import EMRI, MOSAIC
from schemas.records import Receipt, Unit


def server_of(mill: Mill, *, shared: bool) -> Catalogue:
    """Return what answers the samples' queries: a survey's server, or the windows of the run's own fields."""
    if mill.run_file.images.source == MOSAIC:
        own: Catalogue = find("pipeline.sources.field_server:open_field_server")(mill.run_file)
        return own
    return SkyServer.of(mill.run_file, mill.source_url, shared=shared)


def count_sample(mill: Mill, *, sample: str) -> Receipt:
    """Count a sample by groups, and cut it into partitions; they are in the receipt's facts."""
    started = time.monotonic()
    server = server_of(mill, shared=False)
    chosen = mill.run_file.samples[sample]
    sql = SampleSql.of(mill.run_file, sample)
    found = [asdict(partition) for partition in plan_partitions(server, sql, chosen, name=sample)]
    rows = sum(partition["rows"] for partition in found)
    limit = row_limit(sql, chosen)
    facts: dict[str, Any] = {"partitions": found, "wanted": rows if limit is None else min(rows, limit)}
    if mill.run_file.images.source == EMRI:
        facts["waveforms"] = waveform_shares(server, sql)
    return Receipt(
        rows=rows,
        bytes=0,
        seconds=time.monotonic() - started,
        digest=digest_of({"partitions": found}),
        facts=facts,
        worker=whoami(),
    )


def waveform_shares(server: Catalogue, sql: SampleSql) -> dict[str, float]:
    """Return the share of a sample's rows whose signal has each waveform; noise has none."""
    named = find("pipeline.sources.emri.source:named")
    counts = server.query(sql.count_sql("waveform"), ["waveform", "n"]).to_pylist()
    rows = sum(row["n"] for row in counts)
    return {
        named("waveform", row["waveform"]): row["n"] / rows for row in counts if row["waveform"] is not None
    }


def pull_arguments(mill: Mill, *, unit: Unit, staging: Staging) -> dict[str, Any]:
    """Return the keywords of `pipeline.stages.pull.pull_partition` for one partition."""
    partition = Partition(**unit.arguments["partition"])
    return {
        "partition": partition,
        "sample_sql": SampleSql.of(mill.run_file, partition.sample),
        "server": server_of(mill, shared=True),
        "final": str(mill.folder / "catalogue" / f"{unit.key}.parquet"),
        "staging": staging,
        "label": mill.run_file.target.column,
    }
