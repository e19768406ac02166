"""Bundles: a trained network as a folder that can be moved, checked and used years later.

``weights.skt`` (named arrays), ``preset.json``, ``geometry.json``, ``metrics.json``, ``history.json``,
``run.json`` (the provenance given) and ``manifest.json`` (SHA-256 of each file, the digest, and the digest of
the inputs it was made from). The digest names the content: weights, preset and geometry, never time or place.
A bundle may hold an export besides, the same network in the form of a faster runtime (`model.export`): its files
are in the manifest, and have no part in the digest.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from model.files import disk_errors, write_durably
from model.geometry import Geometry, geometry_from_dict
from model.presets import Preset, preset_from_dict
from model.tensors import pack, unpack
from schemas.disk import sync
from schemas.errors import ModelError

_WEIGHTS, _MANIFEST, _FORMAT = "weights.skt", "manifest.json", 1
_REMEDY = "train again, or restore the bundle from a copy"
EXPORTS = ("network.xml", "network.bin", "dropout.xml", "dropout.bin")
"""Names of an export's files: the network, and the network whose dropout is active in inference too."""


@dataclass(frozen=True)
class Bundle:
    """A bundle as read: ``weights`` in the network's own order, ``inputs`` the digest of what it was made from.

    ``export`` is the version of the runtime that its export was made with; empty if it has none.
    """

    path: str
    digest: str
    inputs: str
    preset: Preset
    geometry: Geometry
    target: str
    weights: tuple[NDArray[Any], ...]
    metrics: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    run: Mapping[str, Any]
    export: str = ""


def write_bundle(
    folder: Path,
    weights: Sequence[NDArray[Any]],
    preset: Preset,
    geometry: Geometry,
    facts: Mapping[str, Any],
) -> str:
    """Write a bundle to `folder` and return its digest.

    Parameters
    ----------
    folder : Path
        A staging folder; files of the same names are replaced.
    weights : sequence of ndarray
        In the network's own order.
    preset, geometry
        What rebuilds the network.
    facts : Mapping
        ``target``, ``metrics``, ``history`` and ``run``, the provenance, with the digest of all that was
        learnt from as its ``inputs``.

    Raises
    ------
    StoreError
        The folder cannot be written, or the disk is full.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    files = {
        _WEIGHTS: pack({f"{i:04d}": array for i, array in enumerate(weights)}),
        "preset.json": _json(preset.as_dict()),
        "geometry.json": _json(geometry.as_dict()),
        **{f"{name}.json": _json(facts[name]) for name in ("metrics", "history", "run")},
    }
    digest = _digest(files)
    for name, data in files.items():
        write_durably(folder / name, data)
    manifest = {
        "format": _FORMAT,
        "digest": digest,
        "inputs": facts["run"].get("inputs", ""),
        "target": facts["target"],
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
    }
    write_durably(folder / _MANIFEST, _json(manifest))
    with disk_errors(folder):
        for name in EXPORTS:
            (folder / name).unlink(missing_ok=True)  # of a bundle that was here before
        sync(folder.parent)
    return digest


def add_export(folder: Path, files: Mapping[str, bytes], version: str) -> None:
    """Add an export to the bundle in `folder`; whenever the process dies, the bundle is whole, with or without it.

    Parameters
    ----------
    folder : Path
        A bundle.
    files : Mapping
        Content of the export's files, whose names are among `EXPORTS`.
    version : str
        Version of the runtime that made it.

    Raises
    ------
    StoreError
        The folder cannot be written, or the disk is full.
    """
    manifest = json.loads((folder / _MANIFEST).read_text())
    for name, data in files.items():
        write_durably(folder / name, data)
        manifest["sha256"][name] = hashlib.sha256(data).hexdigest()
    write_durably(folder / _MANIFEST, _json(manifest | {"export": version}))


def load_bundle(path: str | Path) -> Bundle:
    """Read the bundle at `path`, every file checked.

    Raises
    ------
    ModelError
        There is no bundle, or a file of it is missing or changed.
    """
    folder = Path(path)
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        files = {name: (folder / name).read_bytes() for name in manifest["sha256"]}
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder} is not a whole bundle: {error}", _REMEDY) from error
    for name, data in files.items():
        if hashlib.sha256(data).hexdigest() != manifest["sha256"][name]:
            raise ModelError(f"{folder / name} is damaged: its SHA-256 is not that of the manifest", _REMEDY)
    if manifest["digest"] != _digest(files):
        raise ModelError(f"{folder / _MANIFEST} is damaged: its digest is not that of the files", _REMEDY)
    arrays, _ = unpack(files[_WEIGHTS], name=str(folder / _WEIGHTS))
    values = {name: json.loads(data) for name, data in files.items() if name.endswith(".json")}
    return Bundle(
        path=str(folder),
        digest=manifest["digest"],
        inputs=manifest["inputs"],
        preset=preset_from_dict(values["preset.json"]),
        geometry=geometry_from_dict(values["geometry.json"]),
        target=manifest["target"],
        weights=tuple(arrays[name] for name in sorted(arrays)),
        metrics=values["metrics.json"],
        history=values["history.json"],
        run=values["run.json"],
        export=manifest.get("export", ""),
    )


def preset_and_digest(path: str | Path) -> tuple[str, str]:
    """Return the name of a bundle's preset, and its digest, without reading its weights.

    Raises
    ------
    ModelError
        There is no bundle.
    """
    folder = Path(path)
    try:
        preset = json.loads((folder / "preset.json").read_text())
        return str(preset["name"]), str(json.loads((folder / _MANIFEST).read_text())["digest"])
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder} is not a whole bundle: {error}", _REMEDY) from error


def _digest(files: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256()
    for name in (_WEIGHTS, "preset.json", "geometry.json"):
        whole.update(hashlib.sha256(files[name]).digest())
    return whole.hexdigest()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
