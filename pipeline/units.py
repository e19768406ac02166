"""The units of every stage, and the digest of what each is made from.

Pure functions: receipts of one stage in, units of the next one out. A unit is done when the ledger holds
a receipt with the same ``inputs``; so what changes upstream, and only that, is done again.
"""

from collections.abc import Mapping, Sequence

from schemas.config import RunFile
from schemas.digests import digest_of
from schemas.records import Receipt, Unit, blocks_of

WORK = {
    "pull": "pipeline.stages.pull:pull_partition",
    "fetch": "pipeline.stages.fetch:fetch_block",
    "train": "pipeline.stages.train:train_member",
    "infer": "pipeline.stages.infer:infer_block",
}
"""What a worker does with a unit of each stage: a function, by name."""
NOT_LEARNT_FROM = ("ensemble", "checkpoint_s", "deadline_s", "tensorboard")
"""Keys of ``[training]`` that decide no weight; each member of an ensemble is a training of its own."""


def plan_unit(run_file: RunFile, sample: str) -> Unit:
    """Return the unit that counts a sample and cuts it into partitions."""
    selection = run_file.samples[sample].model_dump()
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
        "split": run_file.split.model_dump() if sample == run_file.training.sample else None,
        "seed": run_file.seed,
        "images": _images(run_file),
        "cube": run_file.cube.model_dump(exclude={"path"}),
        "source": _source(run_file),
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
) -> list[Unit]:
    """Return one unit a trial: a training of `epochs` epochs with one of the `presets`."""
    made_from = [
        _weights(run_file, rows, fetched, preset=preset, seed=run_file.seed, epochs=epochs)
        for preset in presets
    ]
    return [
        Unit("search", f"trial/{number:03d}", weights, {"weights": weights})
        for number, weights in enumerate(made_from)
    ]


def train_units(
    run_file: RunFile, rows: Receipt, fetched: Mapping[str, Receipt], *, preset: Mapping[str, object]
) -> list[Unit]:
    """Return one unit a member of the ensemble: ``model``, or ``model/00`` and so on where there are several.

    It depends on the rows and on every block of the training sample. Threads and workers are no inputs: their
    number may change the last digit of a weight (``docs/decisions/0007``), which is no reason to train again.
    ``arguments["weights"]`` is the digest of what decides the weights; the definition of the metrics, which are
    stored with them, does not.
    """
    members = run_file.training.ensemble
    units = []
    for member in range(members):
        seed = member_seed(run_file.seed, member)
        weights = _weights(run_file, rows, fetched, preset=preset, seed=seed)
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


def infer_units(
    run_file: RunFile,
    fetch: list[Unit],
    rows: Mapping[str, Receipt],
    fetched: Mapping[str, Receipt],
    *,
    trained: Mapping[str, Receipt],
) -> list[Unit]:
    """Return one unit a fetched block; `rows` by sample, since a prediction holds ids, labels and split too.

    It depends on every member of the ensemble.
    """
    model = {"model": ensemble_digest(trained), **run_file.model.model_dump(include={"passes", "engine"})}
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
    published: Receipt, *, trained: Mapping[str, Receipt], tried: Mapping[str, Receipt] | None = None
) -> Unit:
    """Return the unit that writes the report, which shows the trials too."""
    made_from: dict[str, object] = {"published": published.digest, "model": ensemble_digest(trained)}
    if tried:
        made_from["trials"] = _digests(tried)
    return Unit("report", "report.html", digest_of(made_from))


def _weights(
    run_file: RunFile,
    rows: Receipt,
    fetched: Mapping[str, Receipt],
    *,
    preset: Mapping[str, object],
    seed: int,
    epochs: int | None = None,
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
        }
    )


def _source(run_file: RunFile) -> dict[str, object]:
    source: dict[str, object] = {"url": run_file.source.url, "release": run_file.source.release}
    if run_file.source.url == "sandbox":
        source["sky"] = run_file.sandbox.sky
    return source


def _images(run_file: RunFile) -> dict[str, object]:
    return run_file.images.model_dump(exclude={"max_bytes"})


def _digests(receipts: Mapping[str, Receipt]) -> list[list[str]]:
    return [[key, receipts[key].digest] for key in sorted(receipts)]
