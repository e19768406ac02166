"""What may be wrong with the fields of a run, found before anything is learnt or classified."""

from collections.abc import Sequence

import numpy as np

from model.pixel_labels import check_labels
from model.votes import Source
from pipeline.fields.classes import classes_of
from pipeline.fields.labelled_windows import strips
from pipeline.fields.mosaic import Mosaic
from pipeline.fields.opening import open_field, open_labels, windows_over
from schemas.config import RunFile
from schemas.errors import ModelError, PlanError, StoreError
from schemas.imaging import LOCAL, MOSAIC, SCENE_ARCSEC, SCENE_CLASSES, SCENES


def check_fields(run_file: RunFile) -> None:
    """Refuse fields that cannot be classified, or labels that cannot be learnt from.

    Mosaics whose blank pixels are refused, and all labels, are read once.

    Raises
    ------
    PlanError
        Fields without a network of pixel classes or the other way round; bands, scales, sizes, labels or windows that
        do not fit each other.
    StoreError
        A file cannot be read, or contradicts itself.
    """
    classes, source = classes_of(run_file), run_file.images.source
    _check_belongs_together(run_file, classes)
    if not classes:
        return
    if source == SCENES:
        _check_scenes(run_file, classes)
    _check_flux(run_file)
    mosaics = {}
    for name, field in run_file.fields.items():
        if field.scene:
            _check_drawn(run_file, f"fields.{name}.scene")
            windows_over(run_file, field.shape)
        else:
            mosaics[name] = open_field(run_file, name, look=True)
            height, width, _ = mosaics[name].shape
            windows_over(run_file, (height, width))
    if source == MOSAIC:
        _check_labelled(run_file, mosaics, classes)


def _check_belongs_together(run_file: RunFile, classes: Sequence[str]) -> None:
    preset, source = run_file.model.preset, run_file.images.source
    if run_file.fields and not classes:
        raise PlanError(
            f"fields: preset {preset!r} tells no classes of pixels, so it cannot classify a field",
            'set model.preset = "morpheus", or take [fields] out',
        )
    if classes and not any(field.classify for field in run_file.fields.values()):
        raise PlanError(
            f"preset {preset!r} tells classes of pixels, and the run file names no field to classify",
            'name one: [fields.sky] with bands = { H = "h.fits", … }, or with scene = "field"',
        )
    if classes and source not in (SCENES, MOSAIC):
        raise PlanError(
            f"preset {preset!r} learns from the labels of pixels, and images.source = {source!r} has none",
            'set images.source = "scenes" (drawn), or "mosaic" (fields of your own, with labels)',
        )
    if not classes and source in set(LOCAL) & {SCENES, MOSAIC}:
        raise PlanError(
            f"images.source = {source!r} gives labels of pixels, from which preset {preset!r} does not learn",
            'set model.preset = "morpheus", or take another source of images',
        )


def _check_scenes(run_file: RunFile, classes: Sequence[str]) -> None:
    _check_drawn(run_file, "images.source")
    if missing := sorted(set(SCENE_CLASSES) - set(classes)):
        raise PlanError(
            f"scenes have pixels of {', '.join(missing)}, which head.classes does not have: labels outside the classes",
            f"set model.overrides.head.classes to {list(SCENE_CLASSES)}",
        )
    if strange := sorted(set(classes) - set(SCENE_CLASSES)):
        raise PlanError(
            f"the class {strange[0]!r} has no example: scenes have {', '.join(SCENE_CLASSES)}",
            'leave it out of head.classes, or learn from fields that show it (images.source = "mosaic")',
        )


def _check_drawn(run_file: RunFile, key: str) -> None:
    bands, scale = run_file.images.bands, run_file.images.arcsec_per_pixel
    surveys = [known for known in SCENE_ARCSEC if set(bands) <= set(known)]
    if not surveys or SCENE_ARCSEC[surveys[0]] != scale:
        known = "; ".join(f"{', '.join(names)} at {arcsec} arcsec" for names, arcsec in SCENE_ARCSEC.items())
        raise PlanError(
            f"{key}: scenes are drawn in {known}; found images.bands {', '.join(bands)} at {scale:g} arcsec a pixel",
            "set images.bands and images.arcsec_per_pixel to those of one survey",
        )


def _check_flux(run_file: RunFile) -> None:
    flux, bands = run_file.maps.flux, run_file.images.bands
    if flux and flux not in bands:
        raise PlanError(
            f"maps.flux: expected one of the bands {', '.join(bands)}, found {flux!r}",
            "name a band, or leave it empty",
        )


def _check_labelled(run_file: RunFile, mosaics: dict[str, Mosaic], classes: Sequence[str]) -> None:
    labelled = [name for name, field in run_file.fields.items() if field.labels is not None]
    if not labelled:
        raise PlanError(
            'images.source = "mosaic" learns from labelled fields, and no field has labels',
            "give a field labels: a FITS file of class numbers, or one of probabilities for each class",
        )
    found = np.zeros(len(classes), bool)
    for name in labelled:
        labels = open_labels(run_file, name)
        if tuple(labels.shape[:2]) != tuple(mosaics[name].shape[:2]):
            raise PlanError(
                f"fields.{name}: the mosaic has {tuple(mosaics[name].shape[:2])} pixels (rows, columns), its labels "
                f"{tuple(labels.shape[:2])}",
                "give labels of this mosaic",
            )
        found |= _classes_found(labels, classes, name)
    if not found.all():
        missing = [one for one, there in zip(classes, found, strict=True) if not there]
        raise PlanError(
            f"the class {missing[0]!r} has no example: in the labels of {', '.join(labelled)} no pixel belongs to "
            f"{', '.join(missing)}",
            "add a field that shows it, or leave the class out (model.overrides.head.classes)",
        )


def _classes_found(labels: Source, classes: Sequence[str], name: str) -> np.ndarray:
    """Return which classes are the most probable one of a pixel somewhere."""
    found = np.zeros(len(classes), bool)
    for region in strips(labels.shape):
        try:
            values = np.asarray(labels[region.slices])
        except StoreError as error:
            raise StoreError(f"fields.{name}.labels: {error.message}", error.remedy) from error
        known = values[np.isfinite(values).all(axis=-1)]
        try:
            check_labels(known, classes)
        except ModelError as error:
            raise PlanError(f"fields.{name}.labels: {error.message}", error.remedy) from error
        if len(known):
            found[np.unique(known.argmax(axis=-1))] = True
    return found
