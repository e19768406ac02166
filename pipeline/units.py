"""The units of every stage, and the digest of what each is made from.

Pure functions: receipts of one stage in, units of the next one out. A unit is done when the ledger holds
a receipt with the same ``inputs``; so what changes upstream, and only that, is done again.
"""

from collections.abc import Mapping, Sequence

from pipeline.fields.files import learnt_from
from schemas.config import RunFile
from schemas.digests import digest_of
from schemas.imaging import JPEG, MOSAIC, SCENES
from schemas.records import Receipt, Unit, blocks_of

STAGES = ("pull", "rows", "fetch", "pretrain", "train", "calibrate", "infer", "scene", "classify", "sources")
"""Stages whose units have products, in their order."""
WORK = {
    "pull": "pipeline.stages.pull:pull_partition",
    "fetch": "pipeline.stages.fetch:fetch_block",
    "train": "pipeline.stages.train:train_member",
    "calibrate": "pipeline.stages.calibrate:calibrate_predictions",
    "infer": "pipeline.stages.infer:infer_block",
    "scene": "pipeline.stages.scenes:draw_scene",
    "classify": "pipeline.stages.classify:classify",
    "sources": "pipeline.stages.find_sources:find_sources",
}
"""What a worker does with a unit of each stage: a function, by name."""
NOT_LEARNT_FROM = ("ensemble", "checkpoint_s", "deadline_s", "tensorboard")
"""Keys of ``[training]`` that decide no weight; each member of an ensemble is a training of its own."""


def plan_unit(run_file: RunFile, sample: str) -> Unit:
    """Return the unit that counts a sample and cuts it into partitions."""
    chosen = run_file.samples[sample]
    selection = chosen.model_dump(exclude={"holdout"} if chosen.where else {"holdout", "where"})
    return Unit("plan", sample, digest_of({"sample": selection, "source": _source(run_file)}))


def pull_units(run_file: RunFile, sample: str, plan: Receipt) -> list[Unit]:
    """Return one unit a partition; its plain data is in ``arguments["partition"]``."""
    return [
        Unit(
            "pull",
            f"{sample}/{number:05d}",
            digest_of({"partition": partition, "source": _source(run_file), "plan": plan.digest}),
            {"partition": partition},
        )
        for number, partition in enumerate(plan.facts["partitions"])
    ]


def rows_unit(run_file: RunFile, sample: str, pulled: Mapping[str, Receipt]) -> Unit:
    """Return the unit that fixes the row order of a sample, splits it, and creates its cube."""
    chosen = run_file.samples[sample]
    made_from = {
        "parts": _digests(pulled),
        "sample": {"key": chosen.key, "limit": chosen.limit},
        "target": run_file.target.column,
        "split": _split(run_file) if sample == run_file.training.sample else None,
        "seed": run_file.seed,
        "images": _images(run_file),
        "cube": run_file.cube.model_dump(exclude={"path"}),
        "source": _source(run_file),
        **({"holdout": True} if chosen.holdout else {}),
    }
    return Unit("rows", sample, digest_of(made_from))


def fetch_units(run_file: RunFile, sample: str, rows: Receipt) -> list[Unit]:
    """Return one unit a block of the sample's cube."""
    made_from = {"objects": rows.facts["objects"], "source": _source(run_file), "images": _images(run_file)}
    return [
        Unit(
            "fetch", block.key, digest_of({**made_from, "block": [block.start, block.stop]}), {"block": block}
        )
        for block in blocks_of(sample, rows.rows, rows_per_block=run_file.cube.rows_per_block)
    ]


def search_units(
    run_file: RunFile,
    rows: Receipt,
    fetched: Mapping[str, Receipt],
    *,
    presets: Sequence[Mapping[str, object]],
    epochs: int,
    donors: Sequence[str] = (),
) -> list[Unit]:
    """Return one unit a trial: a training of `epochs` epochs with one of the `presets`."""
    made_from = [
        _weights(run_file, rows, fetched, preset=preset, seed=run_file.seed, epochs=epochs, donors=donors)
        for preset in presets
    ]
    return [
        Unit("search", f"trial/{number:03d}", weights, {"weights": weights})
        for number, weights in enumerate(made_from)
    ]


def pretrain_units(
    run_file: RunFile,
    rows: Receipt,
    fetched: Mapping[str, Receipt],
    *,
    presets: Mapping[str, Mapping[str, object]],
) -> list[Unit]:
    """Return one unit a preset whose layers another network begins with; `presets` by name."""
    made_from = {
        name: _weights(run_file, rows, fetched, preset=preset, seed=run_file.seed)
        for name, preset in presets.items()
    }
    return [Unit("pretrain", name, weights, {"weights": weights}) for name, weights in made_from.items()]


def train_units(
    run_file: RunFile,
    rows: Receipt,
    fetched: Mapping[str, Receipt],
    *,
    preset: Mapping[str, object],
    donors: Sequence[str] = (),
) -> list[Unit]:
    """Return one unit a member of the ensemble: ``model``, or ``model/00`` and so on where there are several.

    It depends on the rows, on every block of the training sample, and on the digests of its `donors`. Threads and
    workers are no inputs: their number may change the last digit of a weight (``docs/decisions/0007``), which is no
    reason to train again.
    ``arguments["weights"]`` is the digest of what decides the weights; the definition of the metrics, which are
    stored with them, does not.
    """
    members = run_file.training.ensemble
    units = []
    for member in range(members):
        seed = member_seed(run_file.seed, member)
        weights = _weights(run_file, rows, fetched, preset=preset, seed=seed, donors=donors)
        inputs = digest_of({"weights": weights, "definition": run_file.target.definition})
        key = f"model/{member:02d}" if members > 1 else "model"
        units.append(Unit("train", key, inputs, {"weights": weights, "seed": seed}))
    return units


def member_seed(seed: int, member: int) -> int:
    """Return the seed of a member of an ensemble: the run's own for member 0, a 32-bit hash of both for others.

    Examples
    --------
    >>> member_seed(137, 0), member_seed(137, 1) == member_seed(137, 2)
    (137, False)
    """
    return int(digest_of({"seed": seed, "member": member})[:8], 16) if member else seed


def ensemble_digest(trained: Mapping[str, Receipt]) -> str:
    """Return what names all networks that predict together: the one's own digest, or that of their list."""
    digests = [trained[key].digest for key in sorted(trained)]
    return digests[0] if len(digests) == 1 else digest_of({"models": digests})


def calibrate_unit(
    run_file: RunFile,
    rows: Receipt,
    fetched: Mapping[str, Receipt],
    *,
    trained: Mapping[str, Receipt],
    kind: str,
) -> Unit:
    """Return the unit that learns a recalibration of some kind, from the calibration part of the training sample."""
    sample = run_file.training.sample
    made_from = {
        **predicted_by(run_file, trained),
        "rows": rows.digest,
        "blocks": _digests({k: receipt for k, receipt in fetched.items() if k.startswith(f"{sample}/")}),
        "kind": kind,
        "least": run_file.recalibration.rows,
    }
    return Unit("calibrate", "calibration", digest_of(made_from))


def infer_units(
    run_file: RunFile,
    fetch: list[Unit],
    rows: Mapping[str, Receipt],
    fetched: Mapping[str, Receipt],
    *,
    trained: Mapping[str, Receipt],
    calibrated: Mapping[str, Receipt] | None = None,
) -> list[Unit]:
    """Return one unit a fetched block; `rows` by sample, since a prediction holds ids, labels and split too.

    It depends on every member of the ensemble, and on the recalibration where there is one.
    """
    model: dict[str, object] = predicted_by(run_file, trained)
    if calibrated:
        model["calibration"] = _digests(calibrated)
    return [
        Unit(
            "infer",
            unit.key,
            digest_of(
                {
                    **model,
                    "rows": rows[unit.arguments["block"].sample].digest,
                    "block": fetched[unit.key].digest,
                }
            ),
            unit.arguments,
        )
        for unit in fetch
    ]


def publish_unit(run_file: RunFile, predicted: Mapping[str, Receipt], *, provenance: str) -> Unit:
    """Return the unit that publishes a catalogue version."""
    made_from = {"parts": _digests(predicted), "name": run_file.catalogue.name, "provenance": provenance}
    return Unit("publish", run_file.catalogue.name, digest_of(made_from))


def report_unit(
    published: Receipt,
    *,
    trained: Mapping[str, Receipt],
    tried: Mapping[str, Receipt] | None = None,
    calibrated: Mapping[str, Receipt] | None = None,
    against: Sequence[str] = (),
) -> Unit:
    """Return the unit that writes the report, which shows trials and calibration, and plots `against` columns."""
    made_from: dict[str, object] = {"published": published.digest, "model": ensemble_digest(trained)}
    if tried:
        made_from["trials"] = _digests(tried)
    if calibrated:
        made_from["calibration"] = _digests(calibrated)
    if against:
        made_from["against"] = list(against)
    return Unit("report", "report.html", digest_of(made_from))


def _weights(
    run_file: RunFile,
    rows: Receipt,
    fetched: Mapping[str, Receipt],
    *,
    preset: Mapping[str, object],
    seed: int,
    epochs: int | None = None,
    donors: Sequence[str] = (),
) -> str:
    sample = run_file.training.sample
    training = run_file.training.model_dump(exclude=set(NOT_LEARNT_FROM))
    return digest_of(
        {
            "rows": rows.digest,
            "blocks": _digests({k: receipt for k, receipt in fetched.items() if k.startswith(f"{sample}/")}),
            "rows_per_block": run_file.cube.rows_per_block,
            "preset": dict(preset),
            "training": training | ({"epochs": epochs} if epochs else {}),
            "backend": run_file.model.backend,
            "target": run_file.target.column,
            "seed": seed,
            **({"donors": list(donors)} if donors else {}),
        }
    )


def predicted_by(run_file: RunFile, trained: Mapping[str, Receipt]) -> dict[str, object]:
    """Return what decides the predictions of trained networks."""
    return {"model": ensemble_digest(trained), **run_file.model.model_dump(include={"passes", "engine"})}


def _split(run_file: RunFile) -> dict[str, object]:
    # Runs from before there was a calibration part must find their units again.
    return run_file.split.model_dump(exclude=set() if run_file.split.calibration else {"calibration"})


def _source(run_file: RunFile) -> dict[str, object]:
    source: dict[str, object] = {"url": run_file.source.url, "release": run_file.source.release}
    if run_file.images.source in (SCENES, MOSAIC):
        source["windows"] = learnt_from(run_file)
    if run_file.source.url == "sandbox":
        source["sky"] = run_file.sandbox.sky
        # Only where it is said, and of the mock survey: other runs' units do not hang on it.
        source |= run_file.sandbox.model_dump(include={"csst_galaxies", "stamps"}, exclude_defaults=True)
    return source


def _images(run_file: RunFile) -> dict[str, object]:
    # Runs from before there were other sources must find their units again.
    images = run_file.images
    newer = {"source", "url"} if images.source == JPEG else set()
    newer |= {key for key in ("asked_pixels", "scale_column") if not getattr(images, key)}
    return images.model_dump(exclude={"max_bytes"} | newer)


def _digests(receipts: Mapping[str, Receipt]) -> list[list[str]]:
    return [[key, receipts[key].digest] for key in sorted(receipts)]
