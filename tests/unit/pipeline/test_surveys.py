import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from model.presets import load_preset
from pipeline.checks import check
from schemas.config import Model, RunFile, Sample, Search, Training
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
    assert run_file.model == Model(preset="menko")
    assert run_file.training == Training(sample=run_file.training.sample)
    assert load_preset("menko")["training"]["epochs"] == 50


def test_every_key_of_a_run_file_is_shown_in_the_default_one():
    text = (SURVEYS / "default.toml").read_text(encoding="utf-8")
    shown = set(re.findall(r"(?m)^(?:# )?\"?(\w+)\"? = ", text))
    sections = [field.annotation for field in RunFile.model_fields.values()]
    sections += [Search, Sample]
    keys = {
        key
        for section in sections
        if isinstance(section, type) and issubclass(section, BaseModel)
        for key in section.model_fields
    }
    assert keys - shown - {"overrides", "fields"} == set()
