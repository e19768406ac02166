from pathlib import Path

import pytest

from model.presets import load_preset
from pipeline.checks import check
from schemas.runfile import load_run_file

SURVEYS = Path(__file__).parents[3] / "surveys"


@pytest.mark.parametrize("path", sorted(SURVEYS.glob("*.toml")), ids=lambda path: path.name)
def test_every_survey_in_the_folder_can_be_planned(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SKY", "somewhere")
    check(load_run_file(path, environ={}))


def test_menko_s_run_has_the_images_split_and_network_of_the_project():
    run_file = load_run_file(SURVEYS / "menko.toml", environ={})
    assert (run_file.images.pixels, run_file.images.arcsec_per_pixel) == (128, 0.3)
    assert (run_file.split.train, run_file.split.validation) == (0.5, 0.3)
    training = run_file.training.model_dump(exclude={"sample"})
    assert run_file.model.preset == "menko" and not run_file.model.overrides and not any(training.values())
    assert load_preset("menko")["training"]["epochs"] == 50
