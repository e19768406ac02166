from pathlib import Path

import pytest

from schemas.errors import RunFileError
from schemas.runfile import check_run_file, load_run_file

SURVEYS = Path(__file__).parents[3] / "surveys"
MINIMAL = {
    "schema": 1,
    "name": "a",
    "samples": {"spectro": {"sql": "SELECT specobjid, ra, dec, z FROM SpecObj"}},
}


def faults_of(data: dict) -> str:
    with pytest.raises(RunFileError) as caught:
        check_run_file(data)
    assert caught.value.remedy
    return caught.value.message


def test_all_faults_are_named_at_once():
    message = faults_of(
        {
            **MINIMAL,
            "bogus": 1,
            "images": {"pixels": "many", "pixls": 3},
            "split": {"train": 0.9, "validation": 0.3},
        }
    )
    for fault in (
        "4 faults",
        "bogus: unknown key",
        "images.pixels: ",
        "found 'many'",
        "did you mean pixels?",
        "0.3",
    ):
        assert fault in message


def test_a_newer_schema_is_refused():
    assert "schema: expected 1, found 2" in faults_of({**MINIMAL, "schema": 2})


def test_a_run_file_without_samples_is_refused():
    assert "samples" in faults_of({**MINIMAL, "samples": {}})


def test_training_on_a_sample_that_is_not_there_is_refused():
    assert "expected one of spectro, found 'nobody'" in faults_of(
        {**MINIMAL, "training": {"sample": "nobody"}}
    )


@pytest.mark.parametrize("dsn", ["host=db password=hunter2", "postgresql://me:hunter2@db/sky"])
def test_a_password_in_the_run_file_is_refused_and_not_repeated(dsn: str):
    message = faults_of({**MINIMAL, "database": {"dsn": dsn}})
    assert "password file" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    "url", ["https://me:hunter2@sky.org", "https://hunter2@sky.org/dr17", "me:hunter2@sky.org"]
)
def test_a_password_in_the_url_of_the_source_is_refused_and_not_repeated(url: str):
    for data in ({"source": {"url": url}}, {"source": url}, {"source": {"url": [url]}}):
        assert "hunter2" not in faults_of({**MINIMAL, **data})
    assert "no user or password" in faults_of({**MINIMAL, "source": {"url": url}})


@pytest.mark.parametrize("bands", [["i"], ["i", "r", "g", "u"], ["i", "r", "r"], ["i", "r", ""]])
def test_bands_that_are_not_the_three_of_a_jpeg_are_refused(bands: list[str]):
    assert "images.bands: expected three different bands" in faults_of(
        {**MINIMAL, "images": {"bands": bands}}
    )


@pytest.mark.parametrize("name", ["photoz_v2", "photoz_cone"])
def test_a_catalogue_that_would_be_named_as_a_relation_of_another_is_refused(name: str):
    message = faults_of({**MINIMAL, "catalogue": {"name": name}})
    assert "catalogue.name: expected a name that does not end in" in message and name in message
    assert check_run_file({**MINIMAL, "catalogue": {"name": "photoz_v2b"}}).catalogue.name == "photoz_v2b"


def test_blocks_that_are_not_whole_chunks_are_refused():
    assert "multiple" in faults_of({**MINIMAL, "cube": {"rows_per_chunk": 64, "rows_per_block": 100}})


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path):
    path = tmp_path / "run.toml"
    path.write_text(
        'schema = 1\nname = "a"\nseed = 1\n[training]\nepochs = 1\n[samples.spectro]\nsql = "SELECT id FROM T"'
    )
    environ = {"SKYMILL_TRAINING__EPOCHS": "2", "SKYMILL_SEED": "2", "SKYMILL_PG_BIN": "/x", "HOME": "/x"}
    run_file = load_run_file(path, words=["training.epochs=3", "name=b"], environ=environ)
    assert (run_file.training.epochs, run_file.seed, run_file.name) == (3, 2, "b")


def test_paths_expand_variables_and_name_those_that_are_not_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SCRATCH", "/fast")
    assert check_run_file({**MINIMAL, "output": "$SCRATCH/runs"}).output == "/fast/runs"
    monkeypatch.delenv("SCRATCH")
    assert "environment variable SCRATCH" in faults_of({**MINIMAL, "output": "$SCRATCH/runs"})


def test_a_file_that_is_missing_or_not_toml_is_said_plainly(tmp_path: Path):
    with pytest.raises(RunFileError, match="cannot read"):
        load_run_file(tmp_path / "none.toml", environ={})
    (tmp_path / "bad.toml").write_text("schema = = 1")
    with pytest.raises(RunFileError, match="is not TOML"):
        load_run_file(tmp_path / "bad.toml", environ={})
    (tmp_path / "wide.toml").write_text("schema = 1", encoding="utf-16")
    with pytest.raises(RunFileError, match="is not TOML") as caught:
        load_run_file(tmp_path / "wide.toml", environ={})
    assert "UTF-8" in caught.value.remedy


@pytest.mark.parametrize("path", sorted(SURVEYS.glob("*.toml")), ids=lambda path: path.name)
def test_every_survey_in_the_folder_is_a_good_run_file(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SKY", "somewhere")
    assert load_run_file(path, environ={}).samples


def test_the_default_file_shows_every_key():
    text = (SURVEYS / "default.toml").read_text()
    run_file = load_run_file(SURVEYS / "default.toml", environ={})
    for name in type(run_file).model_fields:
        section = getattr(run_file, name)
        if hasattr(type(section), "model_fields"):
            assert f"[{name}]" in text
            for key in type(section).model_fields:
                assert f"{key} = " in text or f"[{name}.{key}]" in text, f"{name}.{key}"


def test_shards_wait_where_the_cube_is_because_they_are_renamed_into_it():
    run_file = check_run_file({**MINIMAL, "cube": {"path": "/fast/cubes"}})
    assert (
        run_file.staging_folder("fetch").parent == run_file.cube_path("spectro").parent == Path("/fast/cubes")
    )
    assert run_file.staging_folder("infer").parent == run_file.folder
