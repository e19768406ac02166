"""Exports: OpenVINO's answers are Keras's, and nobody gets other digits than the others without being told."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model.bundles import EXPORTS, load_bundle, write_bundle
from model.estimates import combine
from model.export import export_bundle
from model.geometry import Geometry
from model.networks import build_network
from model.predictor import Predictor
from model.presets import load_preset
from schemas.errors import ModelError

needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs openvino")
GEOMETRY = Geometry((48, 48), ("i", "r", "g"), 0.4)
IMAGES = np.random.default_rng(0).integers(0, 255, (40, 48, 48, 3)).astype("u1")
SMALL = {"network.hidden": [16], "network.members": 2, "network.rings": 6, "head.bins": 40}


def _bundle(folder, preset="light", **overrides):
    """Write a bundle whose weights, moving statistics too, are not those that networks begin with."""
    chosen = load_preset(preset, overrides)
    random = np.random.default_rng(7)
    weights = [
        (weight + 0.1 * np.abs(weight).mean() * random.random(weight.shape)).astype("f4")
        for weight in build_network(chosen, GEOMETRY, seed=3).get_weights()
    ]
    write_bundle(folder, weights, chosen, GEOMETRY, {"target": "z", "metrics": {}, "history": [], "run": {}})
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = _bundle(tmp_path_factory.mktemp("exported") / "bundle", **SMALL)
    assert export_bundle(folder) == (importlib.util.find_spec("openvino") is not None)
    return folder


@needs_openvino
@pytest.mark.parametrize("preset", ["light", "menko"])
def test_openvino_says_what_keras_says(tmp_path, preset):
    folder = _bundle(tmp_path / preset, preset)
    assert export_bundle(folder)
    bundle = load_bundle(folder)
    fast, slow = (Predictor([bundle], engine=engine, batch=16) for engine in ("auto", "tensorflow"))
    assert (fast.engines, slow.engines) == (["openvino"], ["tensorflow"])
    ours, keras = fast(IMAGES), slow(IMAGES)
    assert ours.shape == keras.shape == (1, 40, 180 if preset == "light" else 1)
    assert ours == pytest.approx(keras, abs=1e-6, rel=2e-6)
    assert combine(ours, fast.head).z == pytest.approx(combine(keras, slow.head).z, abs=1e-6, rel=2e-6)


@needs_openvino
def test_dropout_in_inference_drops_the_same_in_openvino_as_in_keras(exported):
    bundle, rows = load_bundle(exported), np.arange(40) + 5000
    ours, keras = (
        Predictor([bundle], passes=3, engine=engine, batch=16)(IMAGES, rows)
        for engine in ("openvino", "tensorflow")
    )
    assert np.abs(ours - keras).max() < 1e-6
    assert np.abs(ours[0] - ours[1]).max() > 1e-3


@needs_openvino
def test_an_image_s_answer_does_not_depend_on_the_others_in_its_batch(exported):
    predictor = Predictor([load_bundle(exported)], batch=16)
    whole = predictor(IMAGES)
    for start in (0, 3, 39):
        assert np.array_equal(predictor(IMAGES[start : start + 1]), whole[:, start : start + 1])


@needs_openvino
def test_an_export_is_the_same_bytes_again_and_the_digest_does_not_know_it(tmp_path, exported):
    again = _bundle(tmp_path / "again", **SMALL)
    bare = load_bundle(again)
    assert bare.export == "" and bare.digest == load_bundle(exported).digest
    export_bundle(again)
    for name in (*EXPORTS, "manifest.json"):
        assert (again / name).read_bytes() == (exported / name).read_bytes()
    _bundle(again, **SMALL)
    assert not [name for name in EXPORTS if (again / name).exists()]


@needs_openvino
def test_a_worker_without_the_openvino_of_an_export_says_so_and_what_to_do(tmp_path, exported):
    folder = tmp_path / "newer"
    folder.mkdir()
    for path in exported.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"export": "9999.1.0"}))
    bundle = load_bundle(folder)
    for engine in ("auto", "openvino"):
        with pytest.raises(ModelError, match=r"is for openvino 9999\.1\.0") as caught:
            Predictor([bundle], engine=engine)
        assert "pip install 'openvino>=9999.1.0'" in caught.value.remedy
    assert Predictor([bundle], engine="tensorflow", batch=8)(IMAGES[:2]).shape == (1, 2, 40)


def test_without_an_export_auto_takes_tensorflow(tmp_path):
    bundle = load_bundle(_bundle(tmp_path / "b", **SMALL))
    assert Predictor([bundle], batch=8).engines == ["tensorflow"]


@needs_openvino
def test_who_predicts_with_an_export_imports_no_tensorflow_and_calls_nobody(exported, tmp_path):
    code = (
        "import sys\nimport numpy as np\nfrom model.predictor import predictor_for\n"
        f"answers = predictor_for(({str(exported)!r},), batch=8)(np.zeros((3, 48, 48, 3), 'u1'))\n"
        "assert answers.shape == (1, 3, 40)\n"
        "print([name for name in ('tensorflow', 'keras', 'openvino_telemetry') if sys.modules.get(name)])\n"
    )
    environ = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
    assert list(tmp_path.iterdir()) == []


@needs_openvino
def test_a_damaged_export_is_found(tmp_path, exported):
    folder = tmp_path / "damaged"
    folder.mkdir()
    for path in exported.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    data = bytearray((folder / "network.bin").read_bytes())
    data[100] ^= 1
    (folder / "network.bin").write_bytes(data)
    with pytest.raises(ModelError, match=r"network\.bin is damaged"):
        load_bundle(folder)
