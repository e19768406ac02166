import pytest

from model.presets import load_preset, preset_from_dict, preset_names
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
