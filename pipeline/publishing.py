"""Publish: the driver COPYs the parts into a new catalogue version, then swaps the view."""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from psycopg2.extensions import cursor as Cursor

from cluster.work import whoami
from pipeline.mill import Mill
from pipeline.stores import catalogue
from pipeline.stores.catalogue_rows import CataloguePart, read_pdf_spec
from pipeline.stores.catalogue_versions import Version, loaded_parts
from schemas.digests import digest_of
from schemas.errors import PlanError
from schemas.records import Receipt, Unit


def publish(
    mill: Mill, *, unit: Unit, predicted: Mapping[str, Receipt], provenance: dict[str, object]
) -> Receipt:
    """Publish what was predicted as a version of the catalogue, and make it the current one.

    Each part is copied in one transaction with its row of the ledger. A version that was published before,
    of the very same parts, is made the current one again.

    Raises
    ------
    PlanError
        If nothing was predicted.
    DatabaseError
        If Postgres refuses, or the rows do not add up.
    """
    started = time.monotonic()
    # A field may have no source; that none of a sample's objects was predicted is no result.
    empty = "classes" in provenance
    filled = {key: receipt for key, receipt in sorted(predicted.items()) if receipt.rows or empty}
    if not filled:
        raise PlanError(
            "no galaxy was predicted, so there is nothing to publish",
            "look at the failures: `skymill status`; `skymill retry` asks again for those that may succeed",
        )
    name = mill.run_file.catalogue.name
    version = catalogue.begin_version(
        mill.ledger.connection,
        name,
        digest=unit.inputs,
        run=mill.run_file.name,
        provenance=provenance,
        pdf=read_pdf_spec(_part(next(iter(filled)), filled).path),
    )
    if version.state == "building":
        _load(mill, version, filled, key=digest_of(provenance)[:16])
        parts = {part: receipt.digest for part, receipt in filled.items()}
        version = catalogue.finish_version(mill.ledger.connection, version, parts=parts)
    elif version.state == "retired":
        version = catalogue.rollback(mill.ledger.connection, name, version.version)
    return Receipt(
        rows=version.rows or 0,
        bytes=0,
        seconds=time.monotonic() - started,
        digest=unit.inputs,
        facts={"version": version.version, "provenance": digest_of(provenance)[:16]},
        worker=whoami(),
    )


def _load(mill: Mill, version: Version, filled: Mapping[str, Receipt], *, key: str) -> None:
    wanted = [Unit("load", part, digest_of({"version": version.digest, "part": part})) for part in filled]
    there = loaded_parts(mill.ledger.connection, version)
    mill.ledger.reset("load", [unit.key for unit in wanted if unit.key not in there])
    todo = mill.ledger.todo(wanted)
    mill.view.stage("publish", total=len(wanted), done=len(wanted) - len(todo))
    for number, unit in enumerate(todo, len(wanted) - len(todo) + 1):
        attempt, made = mill.ledger.begin(unit), filled[unit.key]
        # No time is kept of a part: its COPY runs in the transaction that writes this receipt.
        receipt = Receipt(made.rows, made.bytes, 0.0, made.digest)
        copy = partial(_copy, version=version, part=_part(unit.key, filled), provenance=key)
        mill.keep(unit, attempt, receipt, also=copy)
        mill.view.advance("publish", done=number)


def _copy(cursor: Cursor, *, version: Version, part: CataloguePart, provenance: str) -> None:
    catalogue.load_part(cursor, version, part, provenance=provenance)


def _part(key: str, receipts: Mapping[str, Receipt]) -> CataloguePart:
    return CataloguePart(key, Path(receipts[key].products[0].final), key.split("/")[0], receipts[key].digest)
