"""Where a catalogue comes from: code, packages, and the resolved run file."""

import importlib.metadata
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.units import ensemble_digest
from schemas.config import RunFile
from schemas.records import Receipt

PACKAGES = (
    "tensorflow-cpu",
    "tensorflow",
    "jax",
    "torch",
    "openvino",
    "keras",
    "numpy",
    "zarr",
    "dask",
    "astroquery",
    "aiohttp",
    "pyarrow",
)

PLACES: Mapping[str, bool | set[str]] = {
    **dict.fromkeys(("name", "output", "cluster", "database", "politeness"), True),
    "sandbox": {"host"},
    "cube": {"path"},
    "model": {"begin_with"},  # the digests of what is there are inputs of the training
    "target": {"against"},
    "training": {"checkpoint_s", "deadline_s", "tensorboard"},
}
"""Parts of the run file that say where, how politely and what is shown; rows do not depend on them."""

NEWER = (
    *("fields", "maps", "recalibration", "samples.*.holdout", "samples.*.where", "split.calibration"),
    *(f"images.{key}" for key in ("source", "url", "asked_pixels", "scale_column")),
    *(f"sandbox.{key}" for key in ("csst_galaxies", "stamps")),
)
"""Keys that earlier versions did not know: where nothing is said, a finished run of theirs is not published again."""


@cache
def code_version() -> str:
    """Return the version of skymill, with the commit where it runs from a checkout.

    A checkout with changes that are not committed is marked ``+changed``.
    """
    version = importlib.metadata.version("skymill")
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return version
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return version
    return f"{version}+g{commit}{'+changed' if changed else ''}"


def packages() -> dict[str, str]:
    """Return the versions of Python and of the packages that can change a result."""
    found = {"python": ".".join(str(part) for part in sys.version_info[:3])}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def resolved(run_file: RunFile) -> dict[str, Any]:
    """Return the run file as plain data, defaults and overrides included."""
    return run_file.model_dump(mode="json", by_alias=True)


def of_rows(
    run_file: RunFile, trained: Mapping[str, Receipt], calibrated: Mapping[str, Receipt] | None = None
) -> dict[str, object]:
    """Return what every row of the catalogue goes back to; `trained` by the members of the ensemble.

    Code and packages are those that made the (first) network: looking at a finished run with a newer skymill
    publishes nothing.
    """
    first = trained[min(trained)]
    return {
        "run_file": _what_is_made(run_file),
        "code": first.facts["code"],
        "packages": first.facts["packages"],
        "model": ensemble_digest(trained),
        "models": {key: trained[key].digest for key in sorted(trained)},
        "seed": run_file.seed,
        **({"calibration": _calibration(calibrated)} if calibrated else {}),
    }


def _calibration(calibrated: Mapping[str, Receipt]) -> dict[str, object]:
    """Return what was learnt from the calibration part, in short."""
    (receipt,) = calibrated.values()
    told = {key: receipt.facts[key] for key in ("kind", "applied", "why", "fitted", "rows", "ks", "p")}
    return {"digest": receipt.digest, **told}


def _what_is_made(run_file: RunFile) -> dict[str, Any]:
    """Return the run file less what decides no row: `PLACES`, and those of `NEWER` that have their default."""
    whole = run_file.model_dump(mode="json", by_alias=True, exclude=PLACES)
    said = run_file.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    for path in NEWER:
        _drop_unsaid(whole, said, path.split("."))
    return whole


def _drop_unsaid(whole: dict[str, Any], said: Mapping[str, Any], path: list[str]) -> None:
    """Take what `path` names out of `whole` where it is not in `said`; ``*`` is every name."""
    first, *rest = path
    for name in list(whole) if first == "*" else [first]:
        if rest and name in whole:
            _drop_unsaid(whole[name], said.get(name, {}), rest)
        elif name not in said:
            whole.pop(name, None)


def _git(root: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True
    ).stdout.strip()
