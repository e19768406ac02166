import pytest

from model.geometry import Geometry
from model.intake import check_contract, learning_intake_of
from model.kinds import check_kinds
from model.presets import load_preset
from schemas.errors import ModelError


def test_the_preset_takes_any_bands_and_classes_of_one_s_own():
    preset = load_preset("morpheus", {"head.classes": ["star", "sky"], "head.background": "sky"})
    check_kinds(preset)
    for bands in (("r",), ("u", "g", "r", "i", "z")):
        check_contract(preset, Geometry((48, 48), bands, 0.4, "float32", "count"))
    assert learning_intake_of(preset).target and not learning_intake_of(load_preset("light")).target


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"network.operations": [4, 1]}, "expected three numbers"),
        ({"network.up": [8, 16]}, "as many levels up as down"),
        ({"input.average_symmetries": True}, "labels would not follow"),
        ({"augment.flips": True}, "labels would not follow"),
        ({"augment.zoom": [0.9, 1.1]}, "labels would not follow"),
        ({"head.classes": ["sky"], "head.background": "sky"}, "two or more different names"),
        ({"head.classes": ["a", "a", "sky"], "head.background": "sky"}, "two or more different names"),
        ({"head.classes": ["a", "b"]}, "'background' among them"),
        ({"head.classes": ["flux", "background"]}, "none that of a catalogue's column"),
        ({"head.classes": ["Spheroid", "background"]}, "small letters"),
        ({"loss.masses": [0.5, 0.5]}, "one a class"),
        ({"loss.masses": [0.5, 0.0, 0.1, 0.1, 0.1]}, "numbers above 0"),
        ({"head.kind": "scalar", "loss.kind": "squared"}, "tells classes of pixels"),
    ],
)
def test_words_that_cannot_be_are_refused(overrides, words):
    with pytest.raises(ModelError, match=words):
        preset = load_preset("morpheus", overrides)
        check_kinds(preset)
        check_contract(preset, Geometry((40, 40), ("H",), 0.06, "float32", "count"))


def test_a_window_that_cannot_be_halved_is_refused_when_the_images_are_known():
    with pytest.raises(ModelError, match="multiples of 8"):
        check_contract(load_preset("morpheus"), Geometry((42, 42), ("H",), 0.06, "float32", "count"))
