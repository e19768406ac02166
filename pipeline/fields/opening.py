"""The fields of a run: their mosaics, their windows, and the labels of one's own training pixels."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.votes import Source
from model.windows import Windows
from pipeline.fields.classes import classes_of
from pipeline.fields.files import field_files, files_digest
from pipeline.fields.mosaic import Mosaic, open_mosaic
from schemas.config import RunFile
from schemas.errors import PlanError, StoreError

UNKNOWN = -1
"""What a file of class numbers says of a pixel that nobody has classified."""


def open_field(run_file: RunFile, name: str, *, look: bool = False) -> Mosaic:
    """Open a field's mosaic.

    Parameters
    ----------
    run_file : RunFile
        The run.
    name : str
        Which of its fields.
    look : bool
        Whether its pixels are looked at, too: those of a finished scene are known to be finite.

    Raises
    ------
    StoreError
        Its files cannot be read, or do not belong together.
    PlanError
        A band has no file, or its pixels are of another scale than the images that are learnt from.
    """
    field, wanted = run_file.fields[name], run_file.images.arcsec_per_pixel
    told = wanted if field.scene else field.arcsec_per_pixel
    blank = field.blank if look else "skip"
    try:
        mosaic = open_mosaic(field_files(run_file, name), arcsec_per_pixel=told, blank=blank)
    except StoreError as error:
        raise StoreError(f"fields.{name}: {error.message}", error.remedy) from error
    if abs(mosaic.arcsec_per_pixel - wanted) > 1e-3 * wanted:
        raise PlanError(
            f"fields.{name}: its pixels are {mosaic.arcsec_per_pixel:.5g} arcsec wide, and the network learns from "
            f"pixels of {wanted:g} arcsec (images.arcsec_per_pixel)",
            "train on images of the field's own scale, or resample the field: a network knows sources by their size",
        )
    return mosaic


def windows_over(run_file: RunFile, shape: tuple[int, int]) -> Windows:
    """Return the windows over a field of `shape` (rows, columns), as ``[maps]`` says.

    Raises
    ------
    PlanError
        The field is smaller than a window, or stride or margin will not do.
    """
    maps = run_file.maps
    return Windows(shape, run_file.images.pixels, maps.margin, maps.stride, maps.batch)


@dataclass(frozen=True)
class NumberedLabels:
    """Class numbers of one FITS file as probabilities ``(y, x, class)``: 1 and 0, NaN where it is not known."""

    numbers: Mosaic
    classes: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, columns and classes."""
        return (*self.numbers.shape[:2], self.classes)

    def __getitem__(self, part: tuple[slice, slice]) -> NDArray[np.float32]:
        """Read a part ``(y, x, class)``.

        Raises
        ------
        StoreError
            A number is none of a class.
        """
        numbers = self.numbers[part][..., 0]
        wrong = ~np.isin(numbers, np.arange(UNKNOWN, self.classes))
        if wrong.any():
            y, x = (int(place) for place in np.argwhere(wrong)[0])
            raise StoreError(
                f"{self.numbers.planes[0].path}: expected numbers of classes from 0 to {self.classes - 1}, or "
                f"{UNKNOWN} where it is not known, found {numbers[y, x]:g} at y = {y + (part[0].start or 0)}, "
                f"x = {x + (part[1].start or 0)}",
                "number the classes in the order of the preset's head.classes",
            )
        known = np.eye(self.classes, dtype=np.float32)[np.maximum(numbers, 0).astype(np.int64)]
        return np.where((numbers == UNKNOWN)[..., None], np.float32(np.nan), known)


def open_labels(run_file: RunFile, name: str) -> Source:
    """Open the labels of a field's pixels ``(y, x, class)``, NaN where they are not known.

    Raises
    ------
    StoreError
        A file cannot be read.
    PlanError
        The labels have no file for a class, or one for another class.
    """
    labels, classes = run_file.fields[name].labels, classes_of(run_file)
    told: Any = run_file.images.arcsec_per_pixel
    try:
        if not isinstance(labels, dict):
            numbers = open_mosaic({"class": str(labels)}, arcsec_per_pixel=told, blank="skip")
            return NumberedLabels(numbers, len(classes))
        if set(labels) != set(classes):
            raise PlanError(
                f"fields.{name}.labels: expected one file for each class ({', '.join(classes)}), found "
                f"{', '.join(labels)}",
                "name a FITS file of probabilities for each of head.classes, and for no other",
            )
        return open_mosaic({one: labels[one] for one in classes}, arcsec_per_pixel=told, blank="skip")
    except StoreError as error:
        raise StoreError(f"fields.{name}.labels: {error.message}", error.remedy) from error


def open_both(run_file: RunFile, name: str) -> tuple[Mosaic, Source]:
    """Open a field's mosaic and its labels, once a process for the same files.

    Raises
    ------
    StoreError, PlanError
        See `open_field` and `open_labels`.
    """
    return _both(run_file.model_dump_json(by_alias=True), name, files_digest(run_file, name))


@functools.lru_cache(maxsize=16)
def _both(run_file: str, name: str, digest: str) -> tuple[Mosaic, Source]:
    known = RunFile.model_validate_json(run_file)
    return open_field(known, name), open_labels(known, name)
