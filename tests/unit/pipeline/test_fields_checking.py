from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from pipeline.fields.checking import check_fields
from pipeline.fields.files import files_digest, learnt_from
from pipeline.sandbox.scenes import CANDELS, HSC
from schemas.config import RunFile
from schemas.errors import SkymillError
from schemas.imaging import SCENE_ARCSEC, SCENE_CLASSES

SCENES = {"source": "scenes", "bands": ["H", "V"], "pixels": 16, "arcsec_per_pixel": 0.06}
OWN = {**SCENES, "source": "mosaic"}


def a_run(**changed) -> RunFile:
    data = {
        "schema": 1,
        "name": "a",
        "samples": {"windows": {"sql": "SELECT windowid, ra, dec, number, kind FROM SceneWindows"}},
        "training": {"sample": "windows"},
        "images": SCENES,
        "model": {"preset": "morpheus"},
        "fields": {"sky": {"scene": "field", "shape": [64, 64]}},
        "maps": {"margin": 2, "stride": 4},
    }
    return RunFile.model_validate({**data, **changed})


def a_field(folder: Path, *, shape=(32, 40), labels=None, scale=0.06, **more) -> dict:
    """FITS files of one's own in two bands, and a file of the numbers of classes."""
    for number, band in enumerate(("H", "V")):
        own = more.get("shapes", {}).get(band, shape)
        card = {
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
            "CRVAL1": 10.0,
            "CRVAL2": 5.0,
            "CRPIX1": 1,
            "CRPIX2": 1,
        }
        step = more.get("scales", {}).get(band, scale) / 3600
        header = fits.Header({**card, "CDELT1": -step, "CDELT2": step})
        fits.PrimaryHDU(np.full(own, number, "f4"), header).writeto(folder / f"{band}.fits")
    values = np.arange(shape[0] * shape[1]).reshape(shape) % 5 if labels is None else labels
    fits.PrimaryHDU(values.astype("f4")).writeto(folder / "classes.fits")
    bands = {band: str(folder / f"{band}.fits") for band in ("H", "V")}
    return {"bands": bands, "labels": str(folder / "classes.fits")}


def refused(run: RunFile, *words: str) -> None:
    with pytest.raises(SkymillError) as caught:
        check_fields(run)
    assert all(word in caught.value.message for word in words), caught.value.message
    assert caught.value.remedy


def test_what_the_plan_knows_of_scenes_is_what_they_are():
    surveys = {survey.bands: survey.arcsec_per_pixel for survey in (CANDELS, HSC)}
    assert surveys == SCENE_ARCSEC


def test_good_fields_are_good(tmp_path):
    check_fields(a_run())
    check_fields(a_run(images=OWN, fields={"mine": a_field(tmp_path)}))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"model": {"preset": "light"}, "images": {}}, "tells no classes of pixels"),
        ({"fields": {}}, "names no field to classify"),
        ({"images": {}, "fields": {"sky": {"scene": "field"}}}, "has none"),
        ({"fields": {}, "model": {"preset": "light"}}, "does not learn"),
        ({"images": {**SCENES, "arcsec_per_pixel": 0.168}}, "H, J, V, Z at 0.06 arcsec"),
        ({"maps": {"flux": "r"}}, "one of the bands H, V"),
        ({"maps": {"stride": 13, "margin": 2}}, "stride from 1 to 12"),
        ({"fields": {"sky": {"scene": "field", "shape": [64, 10]}}}, "a window has 16x16 pixels"),
        (
            {
                "model": {
                    "preset": "morpheus",
                    "overrides": {"head.classes": ["disk", "irregular", "point_source", "background"]},
                }
            },
            "labels outside the classes",
        ),
        (
            {"model": {"preset": "morpheus", "overrides": {"head.classes": [*SCENE_CLASSES, "ring"]}}},
            "'ring' has no example",
        ),
    ],
)
def test_what_does_not_belong_together_is_told(changed, words):
    refused(a_run(**changed), words)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"shapes": {"V": (32, 41)}}, "same pixels: found H 32x40, V 32x41"),
        ({"scales": {"V": 0.07}}, "same pixel scale"),
        ({"scale": 0.39}, "0.39 arcsec wide"),
        ({"labels": np.full((32, 40), 4)}, "'spheroid' has no example"),
        ({"labels": np.full((32, 40), 7)}, "found 7 at y = 0, x = 0"),
        ({"labels": np.full((32, 40), 0.5)}, "found 0.5"),
        ({"labels": np.full((32, 39), 4)}, "its labels (32, 39)"),
    ],
)
def test_a_mosaic_or_labels_that_will_not_do_are_told_with_the_field_s_name(tmp_path, more, words):
    refused(a_run(images=OWN, fields={"mine": a_field(tmp_path, **more)}), "mine", words)


def test_a_header_that_disagrees_with_the_size_and_a_file_that_is_missing_are_told(tmp_path):
    field = a_field(tmp_path)
    path = tmp_path / "H.fits"
    path.write_bytes(
        path.read_bytes().replace(b"NAXIS2  =                   32", b"NAXIS2  =                  900")
    )
    refused(a_run(images=OWN, fields={"mine": field}), "fields.mine", "H.fits", "ask for")
    path.unlink()
    refused(a_run(images=OWN, fields={"mine": field}), "fields.mine", "H.fits")
    refused(a_run(images=OWN, fields={"mine": {**field, "bands": {"H": str(path)}}}), "none for V")


def test_pixels_that_are_not_finite_are_refused_unless_they_are_to_be_skipped(tmp_path):
    field = a_field(tmp_path)
    with fits.open(tmp_path / "V.fits", mode="update") as hdus:
        hdus[0].data[3, 4] = np.nan
    refused(a_run(images=OWN, fields={"mine": field}), "not finite at y = 3, x = 4")
    check_fields(a_run(images=OWN, fields={"mine": {**field, "blank": "skip"}}))


def test_labels_by_probability_must_have_a_file_for_each_class_and_sum_up_to_one(tmp_path):
    field = a_field(tmp_path)
    shares = {}
    for number, name in enumerate(SCENE_CLASSES):
        shares[name] = str(tmp_path / f"{name}.fits")
        plane = np.full((32, 40), 0.1, "f4")
        plane[number] = 0.6
        fits.PrimaryHDU(plane).writeto(shares[name])
    missing = {name: path for name, path in shares.items() if name != "disk"}
    refused(a_run(images=OWN, fields={"mine": {**field, "labels": missing}}), "one file for each class")
    refused(
        a_run(images=OWN, fields={"mine": {**field, "labels": shares}}), "fields.mine.labels", "sum up to 1"
    )
    refused(a_run(images=OWN, fields={"mine": {"bands": field["bands"]}}), "no field has labels")


def test_a_file_that_changes_is_another_and_classes_decide_the_windows(tmp_path):
    run = a_run(images=OWN, fields={"mine": a_field(tmp_path)})
    before = files_digest(run, "mine")
    assert files_digest(run, "mine") == before and learnt_from(run)["classes"] == list(SCENE_CLASSES)
    path = tmp_path / "classes.fits"
    path.write_bytes(path.read_bytes() + bytes(2880))
    assert files_digest(run, "mine") != before


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({}, "found neither"),
        ({"scene": "field", "bands": {"H": "h.fits"}}, "found both"),
        ({"scene": "noise", "labels": "x.fits"}, "no labels of a scene"),
    ],
)
def test_a_field_is_either_files_or_a_scene(field, words):
    with pytest.raises(ValueError, match=words):
        a_run(fields={"x": field})


def test_thresholds_and_votes_that_contradict_themselves_are_told():
    with pytest.raises(ValueError, match="sure_source below"):
        a_run(maps={"sure_source": 0.9, "sure_background": 0.5})
    with pytest.raises(ValueError, match="each vote once"):
        a_run(maps={"votes": ["rank", "rank"]})
