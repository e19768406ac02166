"""What computes a bundle."""

from types import SimpleNamespace

import pytest

from model.geometry import Geometry
from model.runtimes import engine_of, openvino_version
from schemas.errors import ModelError

IMAGES, SIGNALS = Geometry((32, 32), ("i", "r", "g"), 0.4), Geometry((4096,), ("I", "II"), 0.0, "float32")


def _bundle(geometry: Geometry, *, kind: str = "chains", export: str = "1.0.0"):
    return SimpleNamespace(
        preset={"network": {"kind": kind}}, geometry=geometry, export=export, path="a bundle"
    )


@pytest.mark.parametrize(
    ("bundle", "engine", "computes"),
    [
        (_bundle(IMAGES), "tensorflow", "tensorflow"),
        (_bundle(IMAGES, export=""), "auto", "tensorflow"),
        (_bundle(SIGNALS), "auto", "tensorflow"),
        (_bundle(IMAGES, kind="forest"), "auto", "numpy"),
    ],
)
def test_what_computes_hangs_on_the_bundle_alone(bundle, engine, computes):
    assert engine_of(bundle, engine) == computes


@pytest.mark.skipif(not openvino_version(), reason="openvino is not installed")
def test_images_that_have_an_export_are_computed_by_openvino_and_signals_where_that_is_said():
    assert engine_of(_bundle(IMAGES), "auto") == engine_of(_bundle(SIGNALS), "openvino") == "openvino"


@pytest.mark.parametrize(
    ("export", "engine", "words"),
    [
        ("", "openvino", "no export for OpenVINO"),
        ("1.0.0", "onnx", "no engine"),
    ],
)
def test_an_engine_that_cannot_be_is_refused(export, engine, words):
    with pytest.raises(ModelError, match=words):
        engine_of(_bundle(IMAGES, export=export), engine)
