"""Which files the fields of a run are, and whether they are still the same."""

import hashlib
from pathlib import Path

from pipeline.fields.classes import classes_of
from schemas.config import RunFile
from schemas.errors import PlanError, StoreError
from schemas.imaging import MOSAIC

MATCHED, PICTURE = "matched.parquet", "picture.png"
"""What was found of what there is in a scene; a field's classes as colours."""
TRUTH = "truth.parquet"
"""What there is in a drawn scene."""


def field_folder(run_file: RunFile, name: str) -> Path:
    """Return where the products of a field lie."""
    return run_file.folder / "fields" / name


def field_files(run_file: RunFile, name: str) -> dict[str, Path]:
    """Return the FITS file of each band of a field, in the order of the images' bands.

    Raises
    ------
    PlanError
        A band has no file.
    """
    field, bands = run_file.fields[name], run_file.images.bands
    if field.scene:
        return {band: field_folder(run_file, name) / "scene" / f"{band}.fits" for band in bands}
    if missing := [band for band in bands if band not in field.bands]:
        raise PlanError(
            f"fields.{name}: expected a FITS file for each of the bands {', '.join(bands)}, found none for "
            f"{', '.join(missing)}",
            f"name it in fields.{name}.bands, or leave the band out of images.bands and train without it",
        )
    return {band: Path(field.bands[band]) for band in bands}


def files_digest(run_file: RunFile, name: str) -> str:
    """Return what names the content of a field's files, labels included: their names, sizes and times of change.

    A file of the same size and time is taken for the same: to read mosaics in full takes minutes each time.

    Raises
    ------
    StoreError
        A file is not there.
    """
    labels = run_file.fields[name].labels
    paths = list(field_files(run_file, name).values())
    paths += [
        Path(one) for one in (labels.values() if isinstance(labels, dict) else [labels] if labels else [])
    ]
    told = hashlib.sha256()
    for path in paths:
        try:
            found = path.stat()
        except OSError as error:
            raise StoreError(f"fields.{name}: {path}: {error.strerror}", "restore the file") from error
        told.update(f"{path.name} {found.st_size} {found.st_mtime_ns}\n".encode())
    return told.hexdigest()


def learnt_from(run_file: RunFile) -> dict[str, object]:
    """Return what decides the windows that are learnt from, beside the images' own settings."""
    made_from: dict[str, object] = {"classes": list(classes_of(run_file))}
    if run_file.images.source == MOSAIC:
        names = [name for name, field in run_file.fields.items() if field.labels is not None]
        made_from["fields"] = {name: files_digest(run_file, name) for name in names}
        made_from["order"] = list(run_file.fields)
    return made_from
