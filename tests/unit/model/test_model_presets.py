import pytest

from model.presets import OPTIONAL, load_preset, preset_from_dict, preset_names
from schemas.errors import ModelError


def test_nested_and_dotted_overrides_are_the_same():
    assert load_preset("light", {"head": {"bins": 90}}) == load_preset("light", {"head.bins": 90})


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(ModelError, match="no preset 'lite'") as caught:
        load_preset("lite")
    assert "light, menko" in caught.value.remedy


def test_an_unknown_override_names_the_nearest_key():
    with pytest.raises(ModelError, match=r"training\.epoch'") as caught:
        load_preset("light", {"training": {"epoch": 3}})
    assert "did you mean 'training.epochs'?" in caught.value.remedy


def test_an_override_of_the_wrong_type_is_refused():
    with pytest.raises(ModelError, match="expected int such as 30, found 'many'"):
        load_preset("light", {"training.epochs": "many"})


def test_an_integer_does_for_a_float_but_true_does_not():
    assert load_preset("light", {"head.z_max": 1})["head"]["z_max"] == 1.0
    with pytest.raises(ModelError):
        load_preset("light", {"head.z_max": True})


def test_overrides_do_not_leak_into_the_next_load():
    load_preset("light", {"head.bins": 90})
    assert load_preset("light")["head"]["bins"] == 180


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_survives_its_own_dictionary_and_keeps_its_digest(name):
    preset = load_preset(name)
    again = preset_from_dict(preset.as_dict())
    assert again == preset
    assert again.digest == preset.digest != load_preset(name, {"training.epochs": 3}).digest


def test_a_key_that_few_presets_have_can_be_said_in_all_and_is_in_no_other_s_digest():
    assert not {key for key in OPTIONAL if key.split(".")[1] in load_preset("light")[key.split(".")[0]]}
    changed = load_preset("light", {"loss.crps_share": 1, "training.keep": "last"})
    assert (changed["loss"]["crps_share"], changed["training"]["keep"]) == (1.0, "last")
    with pytest.raises(ModelError, match="expected float such as"):
        load_preset("light", {"loss.crps_share": "all"})


def test_menko_trains_as_published():
    preset = load_preset("menko")
    optimizer = preset["optimizer"]
    assert (optimizer["kind"], optimizer["learning_rate"], optimizer["schedule"]) == (
        "adam",
        5e-5,
        "constant",
    )
    assert (optimizer["clip_norm"], optimizer["warmup"], preset["training"]["accumulate"]) == (0, 0, 1)
    assert (preset["training"]["batch"], preset["training"]["epochs"]) == (128, 50)
    assert preset["network"]["l2"] == 5e-5
    assert preset["loss"]["kind"] == "squared"


def test_elg_trains_as_published():
    preset = load_preset("elg")
    turned = {"rotation_deg": 90.0, "zoom": [1.0, 1.0], "shift": 0.0, "flips": True, "fill": "zero"}
    assert preset["augment"] == turned == load_preset("elg-image")["augment"]
    assert not load_preset("elg-catalogue")["augment"]["flips"]  # it takes no images
    assert (preset["optimizer"]["kind"], preset["optimizer"]["weight_decay"]) == ("adam", 0)
    assert (preset["network"]["l2"], preset["network"]["l2_of"]) == (5e-6, "all")


def test_pasquet_has_slopes_learnt_in_every_convolution():
    (branch,) = load_preset("pasquet")["network"]["branches"]
    convolutions = [layer for layer in branch["layers"] if layer["kind"] in ("conv", "inception")]
    assert [layer["activation"] for layer in convolutions] == ["prelu"] * 5


def test_only_layers_that_never_rest_make_a_network_draw_in_evaluation():
    assert not load_preset("elg").always_draws and not load_preset("light").always_draws
    assert load_preset("elg", {"network.faithful": True}).always_draws
    layers = [{"kind": "flatten"}, {"kind": "dropout", "always": True}]
    branches = {"network.branches": [{"name": "cnn", "input": "image", "layers": layers}]}
    assert not load_preset("menko", branches).always_draws
    assert load_preset("menko", branches | {"network.dropout": 0.1}).always_draws
    layers[1] = {"kind": "dense", "units": 2, "variational": True}
    own = load_preset("menko", branches)
    assert own.always_draws and own.is_bayesian and own.drops


def test_a_preset_of_an_earlier_version_has_the_digest_it_had_and_can_still_be_read():
    light = load_preset("light")
    assert light.digest == "29ec85bc9fc43ad6cf3a0b07af87d1e5095b6eaa048d2f4ae1d86f99dd20b93d"
    assert {"augment", "vector", "transfer"}.isdisjoint(light.as_dict()["sections"])
    assert preset_from_dict(light.as_dict()) == light
    assert load_preset("light", {"augment.flips": True}).digest != light.digest
    csst = load_preset("csst-hybrid-transfer")
    assert preset_from_dict(csst.as_dict()) == csst
