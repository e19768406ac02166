"""What is wrong with a run is told before anything is asked of a server: all of it, and what to do."""

import pytest

from model import heads, losses, networks, optimizers
from model.kinds import KINDS, LOSSES
from model.presets import load_preset, preset_names
from pipeline.checks import check
from schemas.config import RunFile
from schemas.errors import ModelError, PlanError

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


@pytest.mark.parametrize("preset", preset_names())
def test_the_presets_that_are_shipped_pass(preset: str):
    check(run_file(model={"preset": preset}, images={"pixels": load_preset(preset).minimum_pixels}))


@pytest.mark.parametrize(
    ("preset", "overrides", "words"),
    [
        ("light", {"head.kind": "gauss"}, "no head.kind 'gauss'"),
        ("light", {"optimizer.kind": "sgd"}, "no optimizer.kind 'sgd'"),
        ("light", {"optimizer.schedule": "steps"}, "no optimizer.schedule 'steps'"),
        ("light", {"head.estimate": "mode"}, "no head.estimate 'mode'"),
        ("light", {"input.maps": "color"}, "no input.maps 'color'"),
        ("light", {"network.kind": "convolutional"}, "it has no network.stages"),
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
    assert set(KINDS["network.kind"]) == set(networks._BODIES)
    assert set(KINDS["optimizer.schedule"]) == set(optimizers._SCHEDULES)
    settings = {"weight_decay": 0.1, "learning_rate": 0.1, "schedule": "constant"}
    for kind in KINDS["optimizer.kind"]:
        assert optimizers.make_optimizer({**settings, "kind": kind})
    head = {"z_min": 0.0, "z_max": 1.0, "bins": 4}
    for kind in KINDS["head.kind"]:
        for loss in LOSSES[kind]:
            assert losses.make_loss({"kind": loss, "label_width": 0.1}, {**head, "kind": kind})
    assert set(KINDS["loss.kind"]) == {loss for fits in LOSSES.values() for loss in fits}
    with pytest.raises(ModelError, match=", ".join(KINDS["head.kind"])):
        try:
            heads.attach_head([], {"kind": "?"}, seeds=None)
        except ModelError as error:
            raise ModelError(error.remedy) from None
