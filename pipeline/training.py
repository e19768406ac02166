"""Search and train: which networks are trained, on what, and what is kept of their trainings.

Every training is a unit that a group of workers brings to its end. Its checkpoints lie in a folder named by
the digest of what decides its weights, so that a training goes on only from states of its own.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.work import find, whoami
from model.presets import Preset, load_preset
from model.search import trial_overrides
from pipeline import units
from pipeline.donors import donors_of, shared_overrides, trained_before
from pipeline.mill import Mill
from pipeline.progress import Progress, last_generation, read_progress
from pipeline.provenance import code_version, packages, resolved
from pipeline.stores.staging import Staging, clean
from schemas.arrays import FEATURE_PREFIX
from schemas.config import RunFile
from schemas.digests import digest_of
from schemas.errors import Diverged, ModelError, PlanError, SkymillError
from schemas.records import Receipt, Unit


def trials_of(run_file: RunFile) -> list[dict[str, Any]]:
    """Return the overrides of each trial of the run's search, drawn with its seed; none without a search.

    What was drawn twice is tried once.

    Raises
    ------
    ModelError
        If a field cannot be searched, or a trial does not fit the preset.
    """
    search, model = run_file.search, run_file.model
    if search is None:
        return []
    drawn = trial_overrides(
        search.fields,
        kind=search.kind,
        trials=search.trials,
        seed=run_file.seed,
        preset=model.preset,
        overrides=model.overrides,
    )
    return list({digest_of(trial): trial for trial in drawn}.values())


def chosen_preset(run_file: RunFile, overrides: Mapping[str, Any] | None = None) -> Preset:
    """Return the preset of a run, with the overrides of a trial put in last."""
    return load_preset(run_file.model.preset, {**run_file.model.overrides, **(overrides or {})})


def presets_of(run_file: RunFile) -> list[Preset]:
    """Return the presets that the run trains with: that of each trial, or its own where there is no search."""
    return [chosen_preset(run_file, overrides) for overrides in trials_of(run_file) or [{}]]


def weight_column(run_file: RunFile, rows: Receipt) -> str:
    """Return the column that weighs the rows, spelt as the server spells it; empty where all weigh the same.

    Raises
    ------
    PlanError
        If the sample has no such column of numbers.
    """
    wanted = run_file.training.weight_column
    if not wanted:
        return ""
    features: list[str] = [name.removeprefix(FEATURE_PREFIX) for name in rows.facts["features"]]
    for name in features:
        if name.lower() == wanted.lower():
            return name
    raise PlanError(
        f"training.weight_column: {wanted!r} is no column of numbers that the cube keeps; these are: "
        f"{', '.join(features) or 'none'}",
        "select it as numbers, under a name of its own (AS), or set training.weight_column",
    )


def best_trial(tried: Mapping[str, Receipt]) -> str:
    """Return the key of the trial with the lowest validation loss; the first of those that share it.

    Raises
    ------
    ModelError
        If no trial has come to its end with a number.
    """
    losses = {key: _loss(tried[key]) for key in sorted(tried)}
    best = min(losses, key=losses.__getitem__)
    if math.isinf(losses[best]):
        raise ModelError(
            f"search: none of {len(tried)} trials came to a validation loss; the first: "
            f"{tried[best].facts.get('error', 'it is not finite')}",
            "narrow the bounds in search.fields, that of optimizer.learning_rate first",
        )
    return best


def pretrain(mill: Mill, rows: Receipt, fetched: Mapping[str, Receipt]) -> dict[str, Receipt]:
    """Train the presets that the run's own begins with; return them, and those that other runs have trained."""
    run_file, overrides, there = mill.run_file, shared_overrides(mill.run_file), trained_before(mill.run_file)
    presets = {name: preset.as_dict() for name, preset in donors_of(run_file).items()}
    wanted = units.pretrain_units(run_file, rows, fetched, presets=presets)
    if not wanted:
        mill.ledger.drop_missing("pretrain", [])
        return there
    home = mill.folder / "pretraining"

    def arguments(unit: Unit, staging: Staging) -> dict[str, Any]:
        job = _job(mill, unit, home, rows, overrides={}, seed=run_file.seed)
        return {
            "job": job | {"preset": unit.key, "overrides": overrides, "export": False},
            "staging": staging,
            "final": str(mill.folder / "pretrained" / unit.inputs[:16]),
        }

    done = mill.drive_groups(wanted, units.WORK["train"], arguments, watch=_Watch(mill, home))
    clean(home)
    return there | done


def search(
    mill: Mill, rows: Receipt, fetched: Mapping[str, Receipt], donors: Mapping[str, Receipt]
) -> dict[str, Receipt]:
    """Train briefly with each trial's overrides; empty where the run file asks for no search."""
    run_file = mill.run_file
    if run_file.search is None:
        mill.ledger.drop_missing("search", [])
        return {}
    overrides, epochs = trials_of(run_file), run_file.search.epochs
    presets = [chosen_preset(run_file, each).as_dict() for each in overrides]
    wanted = units.search_units(
        run_file, rows, fetched, presets=presets, epochs=epochs, donors=_digests(donors)
    )
    given = {unit.key: each for unit, each in zip(wanted, overrides, strict=True)}
    home = mill.folder / "search"

    def arguments(unit: Unit, staging: Staging) -> dict[str, Any]:
        job = _job(mill, unit, home, rows, overrides=given[unit.key], seed=run_file.seed)
        return {
            "job": job | {"epochs": epochs, "export": False, "donors": bundles_of(donors)},
            "staging": staging,
            "final": "",
            "trial": given[unit.key],
        }

    done = mill.drive_groups(wanted, units.WORK["train"], arguments, watch=_Watch(mill, home, given=given))
    clean(home)  # the numbers are in the ledger
    return done


def train(
    mill: Mill,
    rows: Receipt,
    fetched: Mapping[str, Receipt],
    tried: Mapping[str, Receipt],
    donors: Mapping[str, Receipt],
) -> dict[str, Receipt]:
    """Train the network, or each member of the ensemble, with the overrides of the best trial if there are any.

    It begins with layers of the `donors`, where its preset does.
    """
    overrides = _best_overrides(mill, tried)
    preset = chosen_preset(mill.run_file, overrides)
    wanted = units.train_units(mill.run_file, rows, fetched, preset=preset.as_dict(), donors=_digests(donors))
    home = mill.folder / "training"
    if mill.ledger.todo(wanted):
        _look_at_others(mill, home, wanted)

    def arguments(unit: Unit, staging: Staging) -> dict[str, Any]:
        job = _job(mill, unit, home, rows, overrides=overrides, seed=unit.arguments["seed"])
        return {
            "job": job | {"donors": bundles_of(donors)},
            "staging": staging,
            "final": str(mill.folder / "model" / unit.inputs[:16]),
        }

    done = mill.drive_groups(wanted, units.WORK["train"], arguments, watch=_Watch(mill, home))
    for folder in _others(home, wanted):
        clean(folder)
    return done


def bundles_of(trained: Mapping[str, Receipt]) -> tuple[str, ...]:
    """Return the folders of networks, in the order of their names."""
    return tuple(str(Path(trained[name].products[0].final).parent) for name in sorted(trained))


def _digests(donors: Mapping[str, Receipt]) -> list[str]:
    return [donors[name].digest for name in sorted(donors)]


def _best_overrides(mill: Mill, tried: Mapping[str, Receipt]) -> dict[str, Any]:
    if not tried:
        return {}
    try:
        found: dict[str, Any] = tried[best_trial(tried)].facts["trial"]
    except ModelError:
        mill.ledger.reset("search", tried)  # the next run tries them again
        raise
    return found


def _job(
    mill: Mill, unit: Unit, home: Path, rows: Receipt, *, overrides: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    run_file = mill.run_file
    return {
        "cube": str(run_file.cube_path(run_file.training.sample)),
        "checkpoint": str(home / unit.arguments["weights"]),
        "preset": run_file.model.preset,
        "overrides": {**run_file.model.overrides, **overrides},
        "backend": run_file.model.backend,
        "seed": seed,
        **run_file.training.model_dump(exclude={"sample", "ensemble"}),
        "weight_column": weight_column(run_file, rows),
        "target": run_file.target.column,
        "definition": run_file.target.definition,
        "threads": run_file.cluster.threads,
        "provenance": {
            "unit": f"{unit.stage} {unit.key}",
            "inputs": unit.inputs,
            "run_file": resolved(run_file),
            "code": code_version(),
            "packages": packages(),
            "threads": run_file.cluster.threads,
        },
    }


def _others(home: Path, wanted: list[Unit]) -> list[Path]:
    """Return the folders of trainings that are not among those wanted, the newest first."""
    own = {unit.arguments["weights"] for unit in wanted}
    found = [path for path in home.glob("*") if path.name not in own]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def _look_at_others(mill: Mill, home: Path, wanted: list[Unit]) -> None:
    """Say that a training which was under way begins anew; keep what is newest, so that the disk does not fill."""
    others = _others(home, wanted)
    for folder in others[len(wanted) :]:
        clean(folder)
    begun = any((home / unit.arguments["weights"]).exists() for unit in wanted)
    left = [folder for folder in others[: len(wanted)] if not getattr(read_progress(folder), "ended", True)]
    if left and not begun:
        mill.view.say(
            "train: the preset, the seed or the rows have changed since the training that was under way: it "
            f"begins anew; the checkpoints of that one stay in {left[0]} until this one has ended"
        )


class _Watch:
    """Hears what the groups of a stage say, shows it, and asks them to grow."""

    def __init__(self, mill: Mill, home: Path, given: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._mill = mill
        self._home = home
        self._given = given
        self._progress: dict[str, Progress] = {}

    @property
    def growable(self) -> bool:
        """Trials are short, and other backends train on one worker: they gain nothing by more."""
        return self._given is None and self._mill.run_file.model.backend == "tensorflow"

    def first_generation(self, unit: Unit) -> int:
        """Return the number after that of the newest generation that left something in the unit's folder."""
        return last_generation(self._home / unit.arguments["weights"]) + 1

    def regroup(self, unit: Unit, generation: int) -> None:
        """Ask a unit's group to end at its next epoch."""
        find("model.launch:ask_to_regroup")(self._home / unit.arguments["weights"], generation)

    def hear(self, unit: Unit, event: Mapping[str, Any]) -> None:
        """Show what rank 0 of a unit's group says, and why a generation ended."""
        if event.get("event") == "generation" and event.get("why"):
            members = event["members"]
            trainers = f"{members} trainer{'s' if members > 1 else ''}"
            self._mill.view.say(f"{unit.stage} {unit.key}: {event['why']}; going on with {trainers}")
        if event.get("rank", 0):
            return
        seen = self._progress.pop(unit.key, Progress(name=f"{unit.stage} {unit.key}")).follow(event)
        if not seen.ended:
            self._progress[unit.key] = seen
        words = [self._progress[key].words() for key in sorted(self._progress)]
        self._mill.note(unit.stage, "; ".join(words))

    def excuse(self, unit: Unit, error: SkymillError) -> Receipt | None:
        """Let a trial fail by its own values: it has no validation loss, which is an answer too."""
        self._progress.pop(unit.key, None)
        if self._given is None or not isinstance(error, Diverged):
            return None
        facts = {"trial": dict(self._given[unit.key]), "val_loss": None, "error": error.message}
        return Receipt(rows=0, bytes=0, seconds=0.0, digest=unit.inputs, facts=facts, worker=whoami())


def _loss(receipt: Receipt) -> float:
    found = receipt.facts.get("val_loss")
    return float(found) if found is not None and math.isfinite(found) else math.inf
