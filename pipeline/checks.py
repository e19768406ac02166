"""What may stop a run before it has cost anything: each check names the remedy."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cluster.work import find
from model.definitions import check_name, check_suits
from model.geometry import Geometry
from model.intake import check_contract, intake_of
from model.kinds import check_kinds
from model.presets import Preset, load_preset
from model.vectors import find_columns
from pipeline.donors import donors_of
from pipeline.label_checks import check_labels
from pipeline.ledger import Ledger
from pipeline.mill import Mill
from pipeline.recalibrating import check_calibration_rows, check_recalibration
from pipeline.sources.sample_sql import SampleSql
from pipeline.stores.catalogue_names import names_of
from pipeline.training import chosen_preset, presets_of, trials_of, weight_column
from pipeline.units import STAGES
from schemas.arrays import FEATURE_PREFIX
from schemas.config import RunFile
from schemas.errors import ModelError, PlanError, SkymillError, SourceError, StoreError
from schemas.imaging import MOSAIC, NEEDED_COLUMNS, NEEDED_FROM, SCENES
from schemas.records import Receipt
from schemas.sitefile import load_site


def check(run_file: RunFile) -> None:
    """Find all that is wrong with a run before anything is asked of a server.

    Raises
    ------
    PlanError, ModelError
        If a sample's SQL, the target, the preset or the definition of the metrics will not do.
    """
    faults: list[SkymillError] = []
    looks = [partial(_check_sample, run_file, name) for name in run_file.samples]
    looks += [
        partial(part, run_file)
        for part in (
            _check_sandbox,
            _check_cluster,
            _check_model,
            _check_packages,
            _check_search,
            _check_definition,
        )
    ]
    looks.append(partial(check_recalibration, run_file))
    looks.append(partial(_check_fields, run_file))
    for look in looks:
        try:
            look()
        except SkymillError as error:
            faults.append(error)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        listed = "\n".join(f"  {fault.message}; {fault.remedy}" for fault in faults)
        raise PlanError(f"the run has {len(faults)} faults:\n{listed}", "mend what is named above")


def _check_sample(run_file: RunFile, name: str) -> None:
    try:
        columns = SampleSql.of(run_file, name).columns
    except PlanError as error:
        raise PlanError(f"samples.{name}: {error.message}", error.remedy) from None
    source = run_file.images.source
    needed = NEEDED_COLUMNS.get(source, ())
    if missing := [column for column in needed if column not in {found.lower() for found in columns}]:
        raise PlanError(
            f"samples.{name}: images.source = {source!r} needs the columns {', '.join(needed)}; the SELECT lacks "
            f"{', '.join(missing)}",
            f"select them ({NEEDED_FROM[source]}), or take another source of images",
        )
    if run_file.target.column.lower() in needed:
        raise PlanError(
            f"target.column: {run_file.target.column!r} is what images.source = {source!r} needs of a row, and a "
            "column cannot be both",
            "select it a second time under another name (AS), and name that one",
        )
    _check_scale_column(run_file, name, columns)
    if name != run_file.training.sample:
        return
    there = {column.lower() for column in columns}
    label, weight = run_file.target.column, run_file.training.weight_column
    if missing := [column for column in run_file.target.against if column.lower() not in there]:
        raise PlanError(
            f"samples.{name}: target.against names {', '.join(missing)}, and the SELECT has {', '.join(columns)}",
            "select them, name them with AS, or take them out of target.against",
        )
    if label.lower() not in there:
        raise PlanError(
            f"samples.{name}: expected the label column {label!r} in the SELECT, found {', '.join(columns)}",
            "select it, name it with AS, or set target.column",
        )
    if weight and weight.lower() not in there:
        raise PlanError(
            f"samples.{name}: expected the weight column {weight!r} in the SELECT, found {', '.join(columns)}",
            "select it, name it with AS, or set training.weight_column",
        )


def _check_scale_column(run_file: RunFile, name: str, columns: Sequence[str]) -> None:
    """Refuse a sample without the column that its images' scale follows, or whose key or label it is."""
    wanted = run_file.images.scale_column
    if wanted and wanted.lower() not in {column.lower() for column in columns}:
        raise PlanError(
            f"samples.{name}: images.scale_column is {wanted!r}, and the SELECT has {', '.join(columns)}",
            "select it [arcsec], name it with AS, or set images.scale_column",
        )
    taken = (run_file.samples[name].key, run_file.target.column, "ra", "dec")
    if wanted and wanted.lower() in {column.lower() for column in taken}:
        raise PlanError(
            f"images.scale_column: {wanted!r} is the key, the label or a position, and kept as such alone",
            "select it once more under a name of its own (AS), and name that",
        )


def _check_sandbox(run_file: RunFile) -> None:
    """Refuse a folder of HST stamps that is not there; what is in it, the sandbox itself looks at."""
    stamps = run_file.sandbox.stamps
    if run_file.source.url == "sandbox" and stamps and not Path(stamps).is_dir():
        raise PlanError(
            f"sandbox.stamps: expected a folder of HST stamps, found none at {stamps}",
            "give the folder of GalSim's COSMOS 23.5 example, or leave it out: galaxies are then drawn from profiles",
        )


def _check_fields(run_file: RunFile) -> None:
    """Refuse fields and labels of pixels that cannot be; what looks at them is loaded only for those that have any."""
    if (head := _head(run_file)) is None:
        return
    if run_file.fields or run_file.images.source in (MOSAIC, SCENES) or head["kind"] == "pixel":
        find("pipeline.fields.checking:check_fields")(run_file)


def _check_cluster(run_file: RunFile) -> None:
    """Refuse two answers to where the workers are, and a site that is not known."""
    cluster = run_file.cluster
    if cluster.site is None:
        return
    if cluster.address is not None:
        raise PlanError(
            f"cluster.address ({cluster.address}) and cluster.site ({cluster.site}) exclude each other",
            "take one of them out: either the scheduler is there already, or its workers are jobs of a site",
        )
    load_site(cluster.site)


def _has_own_workers(run_file: RunFile) -> bool:
    return run_file.cluster.address is None and run_file.cluster.site is None


def _check_model(run_file: RunFile) -> None:
    preset = load_preset(run_file.model.preset, run_file.model.overrides)
    check_kinds(preset)
    for each in (preset, *donors_of(run_file).values()):
        check_contract(each, _geometry(run_file))
    if vector := intake_of(preset).vector:
        for name in run_file.samples:
            find_columns(vector, SampleSql.of(run_file, name).columns, where=f"samples.{name}")
    if run_file.search is None:
        _check_passes(run_file, preset)


def _geometry(run_file: RunFile) -> Geometry:
    """Return what the images of the run's cubes will be."""
    images = run_file.images
    return Geometry(images.shape, images.bands, images.scale_arcsec, images.dtype, images.unit)


def _check_passes(run_file: RunFile, preset: Preset) -> None:
    if run_file.model.passes and not preset.drops:
        raise ModelError(
            f"model.passes: {run_file.model.passes} Monte-Carlo passes are asked for, and preset {preset.name!r} "
            "as it is overridden has no dropout: all of them would be the same",
            "set model.passes to 0, or network.dropout above 0 (model.overrides, search.fields)",
        )
    if run_file.model.passes < 2 and preset.is_bayesian:
        raise ModelError(
            f"model.passes is {run_file.model.passes}, and preset {preset.name!r} draws its weights anew in each pass: "
            "the answer of one pass is no answer of a Bayesian network",
            "set model.passes to 200, as published, or to 20 for a first look",
        )


def _check_packages(run_file: RunFile) -> None:
    """Look for what the workers need where they are of this machine; a driver need not have it."""
    backend, engine = run_file.model.backend, run_file.model.engine
    if engine == "openvino" and backend != "tensorflow":
        raise ModelError(
            f"model.engine: openvino reads what tensorflow exports, and model.backend is {backend!r}",
            'set model.engine = "auto", or model.backend = "tensorflow"',
        )
    if not _has_own_workers(run_file):
        return
    if find_spec(backend) is None:
        raise ModelError(
            f"model.backend: {backend} is not installed here",
            f'install it (`pip install {backend}`) here and for every worker, or set model.backend = "tensorflow"',
        )
    if engine == "openvino" and find_spec(engine) is None:
        raise ModelError(
            "model.engine: openvino is not installed here",
            'install it (`pip install openvino`) here and for every worker, or set model.engine = "auto"',
        )


def _check_search(run_file: RunFile) -> None:
    tried = trials_of(run_file)
    for trial in tried:
        _check_passes(run_file, chosen_preset(run_file, trial))
    fields = {field for trial in tried for field in trial}
    if "training.epochs" in fields:
        raise ModelError(
            "search.fields: training.epochs cannot be searched for: every trial has search.epochs",
            "take it out, and set search.epochs",
        )
    fixed = {f"training.{key}": key for key in ("batch", "patience")}
    fixed |= {"optimizer.learning_rate": "learning_rate"}
    for field in sorted(fields & set(fixed)):
        if getattr(run_file.training, fixed[field]) is not None:
            raise ModelError(
                f"search.fields: {field} is searched for, but training.{fixed[field]} fixes it",
                f"take training.{fixed[field]} out of the run file, or {field} out of search.fields",
            )


def _check_definition(run_file: RunFile) -> None:
    """Refuse a definition that does not exist, or does not measure what the preset's head answers."""
    target = run_file.target
    try:
        check_name(target.definition)
        names_of(target.column, target.definition)
        said = "definition" in target.model_fields_set
        if (head := _head(run_file)) is not None:
            check_suits(target.definition, head, target.column, said=said)
    except ModelError as error:
        raise PlanError(error.message, error.remedy) from None


def _head(run_file: RunFile) -> Mapping[str, Any] | None:
    """Return what the preset's head is; None for a preset that cannot be read, which `_check_model` tells."""
    try:
        return load_preset(run_file.model.preset, run_file.model.overrides)["head"]
    except ModelError:
        return None


def check_products(mill: Mill) -> None:
    """Refuse to go on from products that are not where the run file says.

    Raises
    ------
    StoreError
        If the folder of the run, or a file in it, was moved or removed.
    """
    homes = [mill.folder, *(mill.run_file.cube_path(sample) for sample in mill.run_file.samples)]
    finals = [
        Path(product.final)
        for stage in STAGES
        for _, receipt in mill.ledger.receipts(stage).values()
        for product in receipt.products
    ]
    if strays := [path for path in finals if not any(path.is_relative_to(home) for home in homes)]:
        raise StoreError(
            f"the run {mill.run_file.name} has its products elsewhere: {strays[0]}",
            "set `output` and `cube.path` as they were, or give this run another `name`",
        )
    if lost := [path for path in finals if not path.exists()]:
        raise StoreError(
            f"{len(lost)} products of the run {mill.run_file.name} are gone, the first: {lost[0]}",
            "bring the folder back; or make them again with `skymill verify RUN.toml --repair`",
        )


def check_fetched(ledger: Ledger, fetched: Mapping[str, Receipt]) -> None:
    """Refuse to go on with no cutout at all.

    Raises
    ------
    SourceError
        Naming the reasons, and the words of one of the first failures.
    """
    reasons: Counter[str] = Counter()
    for receipt in fetched.values():
        reasons.update(receipt.facts["reasons"])
    rows = sum(receipt.rows for receipt in fetched.values())
    if reasons.total() == rows:
        named = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
        first = [failure.detail for failure in ledger.failures(100) if failure.stage == "fetch"]
        words = next(filter(None, first), "")
        raise SourceError(
            f"none of {rows:,} cutouts could be had: {named}" + (f" ({words})" if words else ""),
            "see whether [images] and [source] suit this server; `skymill retry` asks again where that may help",
        )


def check_labelled(run_file: RunFile, fixed: Mapping[str, Receipt]) -> None:
    """Refuse to fetch for a training sample that can not be learnt from; `fixed` by sample.

    Raises
    ------
    PlanError
        If it has no labelled row to train on, or none to validate with; if it has fewer than a batch or than
        there are workers; or if the weight column is no column of numbers.
    """
    _check_scales(run_file, fixed)
    sample = run_file.training.sample
    splits = fixed[sample].facts["splits"]
    rows = splits["train"]
    if not rows or not splits["validation"]:
        raise PlanError(
            f"samples.{sample}: expected labelled rows to train on and to validate with, found "
            f"{rows} and {splits['validation']} (of {fixed[sample].facts['labelled']} labelled)",
            "select more objects: raise the limit, or loosen the WHERE of the sample's SQL",
        )
    if (batch := _largest_batch(run_file)) > rows:
        raise PlanError(
            f"samples.{sample}: a batch is {batch:,} rows, and there are {rows:,} labelled rows to train on",
            f"set training.batch to {max(1, rows // 4)} or so, or select more objects",
        )
    if _has_own_workers(run_file) and run_file.cluster.workers > rows:
        raise PlanError(
            f"samples.{sample}: {run_file.cluster.workers} workers would share {rows} labelled rows to train on",
            f"set cluster.workers to at most {rows}, or select more objects",
        )
    check_calibration_rows(run_file, splits)
    weight_column(run_file, fixed[sample])
    check_labels(run_file, fixed[sample])


def _check_scales(run_file: RunFile, fixed: Mapping[str, Receipt]) -> None:
    """Refuse a scale column without numbers, which the rows do not keep."""
    wanted = f"{FEATURE_PREFIX}{run_file.images.scale_column}".lower()
    for sample, receipt in fixed.items():
        kept = [name.lower() for name in receipt.facts["features"]]
        if run_file.images.scale_column and wanted not in kept:
            raise PlanError(
                f"samples.{sample}: images.scale_column {run_file.images.scale_column!r} holds no numbers",
                "select a column of numbers [arcsec], or set images.scale_column",
            )


def _largest_batch(run_file: RunFile) -> int:
    if run_file.training.batch:
        return run_file.training.batch
    return max(int(preset["training"]["batch"]) for preset in presets_of(run_file))
