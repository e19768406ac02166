"""What a run file may ask of each source of images, and what the cube then holds."""

import pytest

from schemas.config import RunFile
from schemas.errors import RunFileError
from schemas.runfile import check_run_file

ELG = ["g", "r", "i", "z", "g-r", "r-i", "i-z", "W1", "W2", "W1-W2"]
SAMPLES = {"spectro": {"sql": "SELECT specobjid, ra, dec, z FROM SpecObj"}}


def checked(images: dict, **sections) -> RunFile:
    return check_run_file({"schema": 1, "name": "a", "samples": SAMPLES, "images": images, **sections})


def faults_of(images: dict, **sections) -> str:
    with pytest.raises(RunFileError) as caught:
        checked({"source": "legacy-fits", **images}, **sections)
    return caught.value.message


def test_ten_channels_of_six_filters_are_welcome_in_the_order_given():
    images = checked({"source": "legacy-fits", "bands": ELG, "arcsec_per_pixel": 0.262}).images
    assert images.bands == tuple(ELG)
    assert (images.dtype, images.unit) == ("float32", "nanomaggy")


@pytest.mark.parametrize(
    ("bands", "words"),
    [
        ([], "one band or more"),
        (["g", "r", "g"], "each once"),
        (["u"], "g, r, i, z, W1, W2) or differences of two of them, as g-r, found u"),
        (["g", "g-x"], "found g-x"),
        (["g-r-i"], "found g-r-i"),
        (["g-"], "found g-"),
        (["g-g"], "two different filters, as g-r, found g-g"),
        (["w1"], "found w1"),
    ],
)
def test_bands_that_the_source_does_not_have_are_refused(bands, words):
    message = faults_of({"bands": bands})
    assert "images.bands: " in message and words in message


def test_sdss_frames_have_five_filters_of_their_own_and_one_scale():
    frames = {"source": "sdss-frames", "bands": ["u", "g", "r", "i", "z"]}
    assert checked(frames).images.arcsec_per_pixel == 0.396
    assert "images.bands: " in faults_of({**frames, "bands": ["W1"]})
    assert "images.arcsec_per_pixel: expected 0.396" in faults_of({**frames, "arcsec_per_pixel": 0.2})


def test_more_pixels_than_the_service_gives_are_refused():
    assert "images.pixels: expected at most 512 with images.source = 'legacy-fits', found 513" in faults_of(
        {"pixels": 513}
    )


def test_the_cube_must_hold_what_the_images_are():
    words = "cube.dtype: expected 'float32' with images.source = 'legacy-fits', found 'uint8'"
    assert words in faults_of({}, cube={"dtype": "uint8"})
    with pytest.raises(RunFileError, match=r"cube\.dtype: expected 'uint8' with images"):
        checked({}, cube={"dtype": "float32"})
    assert checked({"source": "legacy-fits"}, cube={"rows_per_block": 64}).cube.dtype == "float32"
    assert checked({}).cube.dtype == "uint8"


def test_a_recorded_sky_has_no_fits_images():
    assert "has JPEGs only" in faults_of({}, sandbox={"sky": "/a/folder"})
    elsewhere = {"source": "legacy-fits", "url": "http://sky"}
    assert checked(elsewhere, sandbox={"sky": "/a/folder"}).image_server == "http://sky"


@pytest.mark.parametrize(
    ("images", "source", "server"),
    [
        ({}, "sandbox", "sandbox"),
        ({}, "https://skyserver.sdss.org", "https://www.legacysurvey.org"),
        ({"source": "sdss-frames"}, "https://skyserver.sdss.org", "https://data.sdss.org"),
        ({"url": "http://mirror"}, "sandbox", "http://mirror"),
    ],
)
def test_images_come_from_the_sandbox_or_the_survey_or_where_the_run_file_says(images, source, server):
    run_file = checked({"source": "legacy-fits", **images}, source={"url": source})
    assert run_file.image_server == server


def test_a_server_of_images_must_be_a_url_without_a_password_and_jpegs_have_none():
    assert "images.url: expected a URL" in faults_of({"url": "legacysurvey.org"})
    message = faults_of({"url": "https://me:hunter2@sky.org"})
    assert "no user or password" in message and "hunter2" not in message
    assert "source.url serves the cutouts" in faults_of({"source": "sdss-jpeg", "url": "http://sky"})


CSST = {"source": "csst-fits", "pixels": 32, "arcsec_per_pixel": 0.075, "bands": ["NUV", "g"]}


def test_the_csst_mock_is_the_sandboxs_alone_and_has_one_geometry():
    images = checked(CSST).images
    assert (images.unit, images.dtype, images.scale_arcsec) == ("count", "float32", 0.075)
    assert "images.source: 'csst-fits' expected pixels = 32" in faults_of({**CSST, "pixels": 64})
    assert "set images.url" in faults_of(CSST, source={"url": "https://skyserver.sdss.org"})
    own = checked({**CSST, "pixels": 64, "url": "http://mock"}, source={"url": "https://skyserver.sdss.org"})
    assert own.image_server == "http://mock"
    assert "found W1" in faults_of({**CSST, "bands": ["W1"]})


def test_a_scale_that_follows_the_objects_has_no_arcsec_and_needs_jpegs_that_are_drawn():
    spin = {"source": "sdss-jpeg", "scale_column": "r50", "asked_pixels": 424, "pixels": 80}
    images = checked({**spin, "arcsec_per_pixel": 0.02}).images
    assert images.scale_arcsec == 0 and images.stored_step == pytest.approx(0.106)
    assert checked({"asked_pixels": 128, "pixels": 64}).images.scale_arcsec == pytest.approx(0.792)
    assert checked({}).images.scale_arcsec == 0.396
    recorded = faults_of(spin, sandbox={"sky": "/a/folder"})
    assert (
        "images.scale_column: expected none with the recorded sky /a/folder, whose images have one scale"
        in recorded
    )
    assert "images.scale_column: expected none" in faults_of({"bands": ["g"], "scale_column": "r50"})


@pytest.mark.parametrize(("source", "asked"), [("sdss-jpeg", 40), ("sdss-jpeg", 2049), ("legacy-fits", 424)])
def test_only_jpegs_are_reduced_and_never_enlarged(source, asked):
    bands = ["i", "r", "g"]
    message = faults_of({"source": source, "bands": bands, "pixels": 80, "asked_pixels": asked})
    assert "images.asked_pixels: expected " in message and f"found {asked}" in message


def test_without_images_nothing_is_heard_of_their_looks_and_what_would_ask_for_some_is_refused():
    none = checked({"source": "none"})
    looks = {"pixels": 32, "arcsec_per_pixel": 0.075, "bands": ["NUV", "u"]}
    assert checked({"source": "none", **looks}, cube={"dtype": "uint8"}) == none
    assert check_run_file(none.model_dump(by_alias=True)) == none
    assert checked({"source": "none"}, sandbox={"sky": "/a/folder"}).images == none.images
    assert (*none.images.shape, len(none.images.bands))[-1] == 0
    assert "no server is asked" in faults_of({"source": "none", "url": "http://sky"})
    message = faults_of({"source": "none", "scale_column": "r50", "asked_pixels": 424})
    assert "images.scale_column: expected none" in message and "images.asked_pixels: expected none" in message
