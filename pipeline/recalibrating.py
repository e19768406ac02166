"""Recalibrating: what a run may ask of its calibration part, and the stage that learns from it."""

from collections.abc import Mapping
from typing import Any

from model.presets import load_preset
from model.recalibration import KINDS
from pipeline import units
from pipeline.mill import Mill
from pipeline.stores.staging import Staging
from pipeline.training import bundles_of, presets_of
from schemas.config import RunFile
from schemas.errors import ModelError, PlanError
from schemas.records import Receipt, Unit

FILE = "calibration.json"


def check_recalibration(run_file: RunFile) -> None:
    """Refuse a recalibration that does not suit the head, or has nothing to be learnt from.

    Raises
    ------
    ModelError
        The head has neither PDF nor error, or another kind of them.
    PlanError
        There is no calibration part, or the sample's limit makes it too small.
    """
    wanted = run_file.recalibration
    if wanted.kind == "none":
        return
    try:
        heads = [preset["head"] for preset in presets_of(run_file)]
    except ModelError:  # the preset, or the search, has a fault of its own, which is told
        return
    for head in heads:
        kind_for(run_file, head)
    share, name = run_file.split.calibration, run_file.training.sample
    if not share:
        raise PlanError(
            f"recalibration.kind is {wanted.kind!r}, and there is no calibration part to learn it from: "
            "split.calibration is 0",
            'set split.calibration to 0.1 or so, or recalibration.kind = "none"',
        )
    limit = run_file.samples[name].limit
    if limit is not None:
        _check_rows(run_file, round(limit * share), words=f"of at most {limit:,} objects")


def check_calibration_rows(run_file: RunFile, splits: Mapping[str, int]) -> None:
    """Refuse a calibration part that is too small, once it is known; `splits` counts rows by part.

    Raises
    ------
    PlanError
        Naming how many rows are needed.
    """
    if run_file.recalibration.kind != "none":
        found = sum(splits.get(part, 0) for part in ("train", "validation", "calibration", "test"))
        _check_rows(run_file, splits.get("calibration", 0), words=f"of {found:,} labelled ones")


def kind_for(run_file: RunFile, head: Mapping[str, Any]) -> str:
    """Return what the answers of a head are recalibrated by: ``alpha`` or ``pit``.

    Raises
    ------
    ModelError
        The head cannot be recalibrated, or not by what the run file says.
    """
    asked, suits = run_file.recalibration.kind, KINDS.get(head["kind"])
    if suits is None:
        raise ModelError(
            f"recalibration.kind is {asked!r}, and head {head['kind']!r} says neither a PDF nor an error",
            f'set recalibration.kind = "none", or take a preset whose head is one of: {", ".join(sorted(KINDS))}',
        )
    if asked not in ("auto", suits):
        raise ModelError(
            f"recalibration.kind is {asked!r}, which does not suit head {head['kind']!r}",
            f'set recalibration.kind to "auto" or "{suits}"',
        )
    return suits


def calibrate(
    mill: Mill, rows: Receipt, fetched: Mapping[str, Receipt], trained: Mapping[str, Receipt]
) -> dict[str, Receipt]:
    """Learn from the calibration part what mends the predictions; empty where the run file asks for nothing.

    `rows` is the receipt of the training sample's rows.
    """
    run_file = mill.run_file
    if run_file.recalibration.kind == "none":
        mill.ledger.drop_missing("calibrate", [])
        (mill.folder / FILE).unlink(missing_ok=True)
        return {}
    overrides = trained[min(trained)].facts["overrides"]
    kind = kind_for(run_file, load_preset(run_file.model.preset, overrides)["head"])
    unit = units.calibrate_unit(run_file, rows, fetched, trained=trained, kind=kind)
    engine = run_file.model.model_dump(include={"passes", "engine"})
    made_from = {
        "sample": run_file.training.sample,
        "rows": rows.digest,
        "models": {key: trained[key].digest for key in sorted(trained)},
        **engine,
    }

    def arguments(unit: Unit, staging: Staging) -> dict[str, Any]:
        return {
            "cube": str(run_file.cube_path(run_file.training.sample)),
            "bundles": bundles_of(trained),
            "settings": {"kind": kind, "least": run_file.recalibration.rows, **engine},
            "made_from": made_from,
            "staging": staging,
            "final": str(mill.folder / FILE),
        }

    return mill.drive([unit], units.WORK["calibrate"], arguments)


def learnt(calibrated: Mapping[str, Receipt]) -> dict[str, Any] | None:
    """Return the numbers of the recalibration that is applied, None where there is none."""
    for receipt in calibrated.values():
        if receipt.facts["applied"]:
            return dict(receipt.facts["fitted"])
    return None


def _check_rows(run_file: RunFile, rows: int, *, words: str) -> None:
    least = run_file.recalibration.rows
    if rows < least:
        raise PlanError(
            f"samples.{run_file.training.sample}: a recalibration is learnt from at least {least} rows, and the "
            f"calibration part {words} is {rows}",
            'enlarge split.calibration or the sample, or set recalibration.kind = "none"',
        )
