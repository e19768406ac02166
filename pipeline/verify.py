"""Re-read and re-hash what a run has made; forget what is damaged, so that it is made again."""

from collections.abc import Mapping
from pathlib import Path

from pipeline.mill import Mill
from pipeline.stores.cube import planned_digest
from pipeline.stores.staging import remove, verify
from pipeline.units import STAGES
from schemas.records import Receipt, Unit


def damaged_units(mill: Mill) -> dict[Unit, list[Path]]:
    """Return the units that have products which are missing or differ from their receipts."""
    damaged: dict[Unit, list[Path]] = {}
    for stage in STAGES:
        receipts = mill.ledger.receipts(stage)
        mill.view.stage(f"verify {stage}", total=len(receipts), done=0)
        for number, (key, (inputs, receipt)) in enumerate(sorted(receipts.items()), 1):
            paths = [Path(product.final) for product in verify(receipt.products)]
            if stage == "rows" and not _is_whole(mill, key, receipt):
                paths.append(mill.run_file.cube_path(key))
            if paths:
                damaged[Unit(stage, key, inputs)] = paths
            mill.view.advance(f"verify {stage}", done=number)
    return damaged


def forget(mill: Mill, damaged: Mapping[Unit, list[Path]]) -> None:
    """Drop the receipts of damaged units, and all of their files.

    A block is one file of several arrays: what is left of it without the damaged one must not look whole. The
    last product vouches for the others (see `stores.staging.place`), so it goes first.
    """
    for unit, paths in damaged.items():
        for product in reversed(mill.ledger.receipts(unit.stage)[unit.key][1].products):
            remove(Path(product.final))
        for cube in (path for path in paths if path.suffix == ".zarr"):
            remove(cube / "zarr.json")  # so that what is left is completed, not compared
        mill.ledger.reset(unit.stage, [unit.key])


def _is_whole(mill: Mill, sample: str, receipt: Receipt) -> bool:
    return bool(receipt.facts.get("cube_sha256") == planned_digest(mill.run_file.cube_path(sample)))
