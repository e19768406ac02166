"""What is wrong with a run is told before anything is asked of a server: all of it, and what to do."""

from pathlib import Path

import pytest

from model import heads, losses, networks, optimizers
from model.intake import intake_of
from model.kinds import KINDS, LOSSES, check_kinds
from model.presets import load_preset, preset_names
from pipeline import checks
from pipeline.checks import check, check_labelled
from schemas.config import RunFile
from schemas.errors import ModelError, PlanError, SkymillError
from schemas.records import Receipt

DATA = {
    "schema": 1,
    "name": "a",
    "samples": {"spectro": {"sql": "SELECT specobjid, ra, dec, z FROM SpecObj"}},
}


def run_file(**changes: object) -> RunFile:
    return RunFile.model_validate({**DATA, **changes})


def test_the_faults_of_all_samples_and_of_the_model_are_told_together():
    bad = {
        "spectro": {"sql": "SELECT specobjid, ra, dec FROM SpecObj"},
        "one": {"sql": "SELECT objid, ra, dec FROM Galaxy", "key": "objid", "limit": 5},
        "two": {"sql": "SELECT specobjid, ra FROM SpecObj"},
        "three": {"sql": "SELECT specobjid, ra, dec FROM SpecObj ORDER BY ra"},
    }
    with pytest.raises(PlanError) as caught:
        check(run_file(samples=bad, images={"pixels": 8}, target={"definition": "x"}))
    for words in ("5 faults", "samples.spectro: ", "samples.two: ", "samples.three: ", "'x'", "16 pixels"):
        assert words in caught.value.message
    assert "samples.one" not in caught.value.message


SOURCES = {"level": {}, "nanomaggy": {"source": "legacy-fits", "arcsec_per_pixel": 0.262}}


@pytest.mark.parametrize("name", preset_names())
def test_the_presets_that_are_shipped_pass(name: str):
    preset = load_preset(name)
    check_kinds(preset)
    wanted = preset["input"]
    if wanted["unit"] not in SOURCES or name == "pasquet":  # ugriz frames
        return
    images = {"pixels": wanted["pixels"] or max(8, preset.minimum_pixels), **SOURCES[wanted["unit"]]}
    vector = intake_of(preset).vector
    columns = ", ".join(["specobjid, ra, dec, z", *(vector.columns if vector else ())])
    samples = {"spectro": {"sql": f"SELECT {columns} FROM SpecObj"}}
    bands = {"bands": wanted["bands"]} if wanted["bands"] else {}
    check(run_file(model={"preset": name}, images=images | bands, samples=samples))


def test_without_images_a_run_is_for_presets_that_take_none_and_for_no_other():
    refused = {}
    for name in preset_names():
        preset = load_preset(name)
        vector, head = intake_of(preset).vector, preset["head"]["kind"]
        columns = ", ".join(["specobjid, ra, dec, z", *(vector.columns if vector else ())])
        definition = {"binary": "detection", "sigmoid": "regression", "pixel": "pixels"}.get(head, "skymill")
        try:
            check(
                run_file(
                    model={"preset": name, "passes": 2 if preset.is_bayesian else 0},
                    images={"source": "none"},
                    samples={"spectro": {"sql": f"SELECT {columns} FROM SpecObj"}},
                    target={"definition": definition},
                )
            )
        except SkymillError as error:
            refused[name] = f"{error.message}; {error.remedy}"
    taken = {"csst-mlp", "csst-mlp-bayesian", "elg-catalogue", "photometry"}
    assert set(preset_names()) - set(refused) == taken
    for name, words in refused.items():
        assert f"preset {name!r} takes images, and images.source is 'none'" in words
        assert "set images.source" in words


@pytest.mark.parametrize("passes", [0, 1])
def test_a_bayesian_network_is_refused_with_one_pass(passes: int):
    columns = ", ".join(intake_of(load_preset("csst-mlp-bayesian")).vector.columns)
    with pytest.raises(ModelError, match=rf"model\.passes is {passes}, and preset 'csst-mlp-bayesian'"):
        check(
            run_file(
                model={"preset": "csst-mlp-bayesian", "passes": passes},
                images={"source": "none"},
                samples={"spectro": {"sql": f"SELECT specobjid, ra, dec, z, {columns} FROM SpecObj"}},
            )
        )


def test_columns_that_the_vector_needs_and_a_sample_does_not_select_are_named():
    preset, images = load_preset("elg"), {"source": "legacy-fits", "pixels": 64, "arcsec_per_pixel": 0.262}
    sample = {"sql": "SELECT specobjid, ra, dec, z, mag_g, ebv FROM SpecObj"}
    with pytest.raises(ModelError, match=r"samples\.spectro has no column mag_r, mag_w2"):
        check(
            run_file(
                model={"preset": "elg"},
                images=images | {"bands": preset["input"]["bands"]},
                samples={"spectro": sample},
            )
        )


def test_images_in_another_order_of_bands_are_refused_before_anything_is_asked_of_a_server():
    with pytest.raises(ModelError, match=r"bands: expected .* found"):
        check(run_file(model={"preset": "spin"}, images={"pixels": 80, "bands": ["g", "r", "i"]}))


@pytest.mark.parametrize(
    ("preset", "overrides", "words"),
    [
        ("light", {"head.kind": "gauss"}, "no head.kind 'gauss'"),
        ("light", {"optimizer.kind": "lion"}, "no optimizer.kind 'lion'"),
        ("light", {"optimizer.schedule": "steps"}, "no optimizer.schedule 'steps'"),
        ("light", {"head.estimate": "modal"}, "no head.estimate 'modal'"),
        ("light", {"input.maps": "color"}, "no input.maps 'color'"),
        ("light", {"network.kind": "chains"}, "it has no network.branches"),
        ("light", {"loss.kind": "squared"}, "head 'bins' has no loss 'squared'"),
        ("menko", {"head.kind": "bins"}, "it has no head.z_min"),
    ],
)
def test_what_the_trainer_would_refuse_after_the_fetch_is_refused_at_once(
    preset: str, overrides: dict[str, str], words: str
):
    with pytest.raises(ModelError, match=words) as caught:
        check(run_file(model={"preset": preset, "overrides": overrides}, images={"pixels": 128}))
    assert caught.value.remedy


def test_what_is_allowed_is_what_the_model_makes():
    assert set(KINDS["network.kind"]) == {*networks._BODIES, "forest"}
    assert set(KINDS["optimizer.schedule"]) == set(optimizers._SCHEDULES)
    settings = {"weight_decay": 0.1, **load_preset("light")["optimizer"]}
    for kind in KINDS["optimizer.kind"]:
        assert optimizers.make_optimizer({**settings, "kind": kind})
    head = {"z_min": 0.0, "z_max": 1.0, "bins": 4, "floor": 1e-3, "slope": 0.01}
    head |= {"classes": ["source", "sky"], "background": "sky"}
    for kind in KINDS["head.kind"]:
        for loss in LOSSES[kind]:
            assert losses.make_loss(
                {"kind": loss, "label_width": 0.1, "masses": [0.2, 0.8]}, {**head, "kind": kind}
            )
    assert set(KINDS["loss.kind"]) == {loss for fits in LOSSES.values() for loss in fits}
    with pytest.raises(ModelError, match=", ".join(KINDS["head.kind"])):
        try:
            heads.attach_head([], {"kind": "?"}, dense=None)
        except ModelError as error:
            raise ModelError(error.remedy) from None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training": {"weight_column": "w"}}, "expected the weight column 'w' in the SELECT"),
        ({"search": {"fields": {"training.epochs": [1, 2]}}}, "training.epochs cannot be searched for"),
        ({"search": {"fields": {"optimizer.rate": [1.0]}}}, "no key 'optimizer.rate'"),
        ({"search": {"fields": {"head.bins": ["many"]}}}, "expected int"),
        ({"search": {"fields": {"head.kind": ["gauss"]}}}, "no head.kind 'gauss'"),
        ({"search": {"kind": "grid", "fields": {"head.bins": {"low": 1, "high": 9}}}}, "grid"),
        (
            {
                "training": {"learning_rate": 0.1},
                "search": {"fields": {"optimizer.learning_rate": [0.1, 0.2]}},
            },
            "training.learning_rate fixes it",
        ),
    ],
)
def test_weights_and_searches_that_cannot_be_are_refused_at_once(changes: dict[str, object], words: str):
    with pytest.raises(SkymillError, match=words) as caught:
        check(run_file(**changes))
    assert caught.value.remedy


@pytest.mark.parametrize("model", [{"backend": "jax"}, {"backend": "torch"}, {"engine": "openvino"}])
def test_a_package_that_is_not_there_is_named_with_its_installation(
    model: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(checks, "find_spec", lambda name: name == "tensorflow" or None)
    (package,) = model.values()
    with pytest.raises(ModelError, match=f"{package} is not installed") as caught:
        check(run_file(model=model))
    assert f"pip install {package}" in caught.value.remedy


def test_a_driver_need_not_have_what_the_workers_of_a_cluster_have(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    check(run_file(model={"engine": "openvino"}, cluster={"address": "tcp://10.0.0.1:8786"}))
    with pytest.raises(ModelError, match="tensorflow is not installed"):
        check(run_file())


def test_an_unknown_site_and_two_places_for_workers_are_refused_at_once():
    with pytest.raises(SkymillError, match="unknown site 'nowhere'"):
        check(run_file(cluster={"site": "nowhere"}))
    with pytest.raises(SkymillError, match="exclude each other"):
        check(run_file(cluster={"site": "local", "address": "tcp://10.0.0.1:8786"}))


def test_openvino_does_not_read_what_other_backends_learn():
    with pytest.raises(ModelError, match="openvino reads what tensorflow exports") as caught:
        check(run_file(model={"engine": "openvino", "backend": "jax"}))
    assert "model.engine" in caught.value.remedy


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ({"preset": "menko", "passes": 8}, None),
        ({"passes": 8, "overrides": {"network.dropout": 0.0}}, None),
        ({"passes": 8}, {"network.dropout": [0.1, 0.0]}),
        ({"preset": "menko", "passes": 8}, {"training.batch": [16, 32]}),
    ],
)
def test_passes_that_would_all_be_the_same_are_refused(
    model: dict[str, object], fields: dict[str, object] | None
):
    search = {"kind": "grid", "fields": fields} if fields else None
    images = {"pixels": 64}
    with pytest.raises(ModelError, match="8 Monte-Carlo passes") as caught:
        check(run_file(model=model, search=search, images=images))
    assert "network.dropout" in caught.value.remedy
    check(run_file(model={**model, "passes": 0}, search=search, images=images))


def test_passes_may_have_their_dropout_from_every_trial():
    fields = {"network.dropout": [0.1, 0.2]}
    model = {"preset": "menko", "passes": 8}
    check(run_file(model=model, search={"kind": "grid", "fields": fields}, images={"pixels": 64}))


def rows(train: int) -> dict[str, Receipt]:
    facts = {"splits": {"train": train, "validation": 9}, "labelled": train + 9, "features": ["feature_zErr"]}
    return {"spectro": Receipt(train + 9, 0, 0.0, "r", facts=facts)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training": {"batch": 101}}, "a batch is 101 rows, and there are 100 labelled"),
        ({"search": {"fields": {"training.batch": [50, 500]}, "trials": 20}}, "a batch is 500 rows"),
        ({"cluster": {"workers": 101}, "training": {"batch": 8}}, "101 workers would share 100"),
        ({"training": {"weight_column": "plate"}}, "'plate' is no column of numbers"),
    ],
)
def test_too_few_rows_for_the_batch_or_the_workers_are_told_before_the_fetch(
    changes: dict[str, object], words: str
):
    check_labelled(run_file(training={"batch": 100, "weight_column": "zerr", "ensemble": 50}), rows(100))
    with pytest.raises(PlanError, match=words) as caught:
        check_labelled(run_file(**changes), rows(100))
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("changes", "words", "remedy"),
    [
        ({"model": {"preset": "spin"}, "target": {"column": "lambda_r"}}, "is not said", '"regression"'),
        ({"target": {"definition": "detection"}}, "head 'bins' answers with another number", "'regression'"),
        (
            {"model": {"overrides": {"head.kind": "binary", "loss.kind": "cross_entropy"}}},
            "head 'binary' answers with the probability of yes",
            '"detection"',
        ),
        ({"target": {"against": ["Z", "snr"]}}, "target.against names snr", "select them"),
        ({"target": {"column": "v" * 60, "definition": "regression"}}, "longer than 63", "shorter name"),
    ],
)
def test_what_is_learnt_and_how_it_is_measured_must_fit(changes: dict, words: str, remedy: str):
    column = changes.get("target", {}).get("column", "z")
    sample = {"spectro": {"sql": f"SELECT specobjid, ra, dec, z AS {column} FROM SpecObj"}}
    images = {"pixels": 80} if "preset" in changes.get("model", {}) else {}
    with pytest.raises(PlanError) as caught:
        check(run_file(**changes, samples=sample, **({"images": images} if images else {})))
    assert words in caught.value.message and remedy in caught.value.remedy


def test_a_redshift_is_believed_where_the_run_file_says_so():
    sample = {"spectro": {"sql": "SELECT specobjid, ra, dec, z AS truth FROM SpecObj"}}
    check(run_file(samples=sample, target={"column": "truth", "definition": "skymill"}))


def test_the_presets_that_a_network_begins_with_are_checked_as_they_will_be_trained():
    columns = ", ".join(intake_of(load_preset("csst-mlp")).vector.columns)
    samples = {"spectro": {"sql": f"SELECT specobjid, ra, dec, z, {columns} FROM SpecObj"}}
    loose = {"input.bands": [], "input.pixels": 0, "input.unit": "", "input.arcsec_per_pixel": 0.0}
    model = {"preset": "csst-hybrid-transfer", "overrides": loose}
    check(run_file(samples=samples, model=model))
    with pytest.raises(ModelError, match="'csst-hybrid-transfer' is for other images"):
        check(run_file(samples=samples, model={"preset": "csst-hybrid-transfer"}))


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("reff", "samples.spectro: images.scale_column is 'reff', and the SELECT has specobjid, ra"),
        ("Z", "images.scale_column: 'Z' is the key, the label or a position"),
    ],
)
def test_the_column_that_the_scale_follows_must_be_a_plain_one_of_each_sample(column: str, words: str):
    samples = {"spectro": {"sql": "SELECT specobjid, ra, dec, z, petroR50_r FROM SpecObj"}}
    check(run_file(samples=samples, images={"scale_column": "PetroR50_r"}))
    with pytest.raises(PlanError) as caught:
        check(run_file(samples=samples, images={"scale_column": column}))
    assert words in caught.value.message


def test_a_scale_column_without_numbers_is_told_before_the_fetch():
    check_labelled(run_file(images={"scale_column": "zErr"}), rows(100))
    with pytest.raises(PlanError, match="'class' holds no numbers"):
        check_labelled(run_file(images={"scale_column": "class"}), rows(100))


def test_a_folder_of_stamps_that_is_not_there_is_told(tmp_path: Path):
    check(run_file(sandbox={"stamps": str(tmp_path)}))
    with pytest.raises(PlanError, match="expected a folder of HST stamps, found none at /nowhere"):
        check(run_file(sandbox={"stamps": "/nowhere"}))
