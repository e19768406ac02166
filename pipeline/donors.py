"""Donors: networks whose layers the run's own begins with; trained by the run itself, or by another one before."""

from pathlib import Path
from typing import Any

from model.bundles import preset_and_digest
from model.presets import Preset, flat, load_preset
from schemas.config import RunFile
from schemas.errors import PlanError
from schemas.records import Product, Receipt

_SHARED = (
    "input.",
    "vector.",
    "head.",
    "loss.",
    "optimizer.",
    "training.",
    "network.faithful",
    "network.bayesian",
    "network.divergence",
)
"""What of a run's overrides holds for the presets that its own begins with, too."""


def donors_of(run_file: RunFile) -> dict[str, Preset]:
    """Return the presets that the run trains before its own, which begins with them, by name.

    What the run changes of inputs, of answers and of how is learnt is changed of them too; their networks are their
    own. One that another run has trained (`trained_before`) is not among them.

    Raises
    ------
    PlanError, ModelError
        See `trained_before`.
    """
    overrides, there = shared_overrides(run_file), trained_before(run_file)
    wanted = load_preset(run_file.model.preset, run_file.model.overrides)["transfer"]["from"]
    return {name: load_preset(name, overrides) for name in wanted if name not in there}


def shared_overrides(run_file: RunFile) -> dict[str, Any]:
    """Return what of the run's overrides holds for its donors."""
    changed = flat(run_file.model.overrides).items()
    return {key: value for key, value in changed if key.startswith(_SHARED)}


def trained_before(run_file: RunFile) -> dict[str, Receipt]:
    """Return what stands for the training of each network in ``model.begin_with``, by the name of its preset.

    Of a run's folder it is the newest network.

    Raises
    ------
    PlanError
        A folder holds no network, or two are of one preset.
    ModelError
        A bundle is not whole.
    """
    found: dict[str, Receipt] = {}
    for path in run_file.model.begin_with:
        folder = Path(path).resolve()
        manifests = (*folder.glob("manifest.json"), *folder.glob("model/*/manifest.json"))
        if not manifests:
            raise PlanError(
                f"model.begin_with: {folder} holds no trained network",
                "name the folder of a finished run, or that of a bundle in it (RUN/model/...)",
            )
        newest = max(manifests, key=lambda file: file.stat().st_mtime)
        name, digest = preset_and_digest(newest.parent)
        if name in found:
            raise PlanError(
                f"model.begin_with: two networks are of preset {name!r}, whose layers have the same names",
                "leave one of them out",
            )
        product = Product("", str(newest), 0, "")
        found[name] = Receipt(rows=0, bytes=0, seconds=0.0, digest=digest, products=(product,))
    return found
