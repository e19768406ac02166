import json

import numpy as np
import pytest

from model.bundles import load_bundle, write_bundle
from model.geometry import Geometry
from model.presets import load_preset
from model.tensors import pack, unpack
from schemas.errors import ModelError

WEIGHTS = [np.arange(6, dtype="f4").reshape(2, 3), np.array([1.5], "f4"), np.zeros((0,), "f4")]
GEOMETRY = Geometry((64, 64), ("i", "r", "g"), 0.396)


def _write(folder, weights=WEIGHTS, run="first", preset="light"):
    facts = {
        "target": "z",
        "metrics": {"test": {"n": 3}},
        "history": [{"epoch": 1}],
        "run": {"name": run, "inputs": "abc"},
    }
    return write_bundle(folder, weights, load_preset(preset), GEOMETRY, facts)


def test_a_bundle_is_read_back_as_it_was_written(tmp_path):
    digest = _write(tmp_path / "b")
    bundle = load_bundle(tmp_path / "b")
    assert bundle.digest == digest
    assert all(np.array_equal(a, b) for a, b in zip(bundle.weights, WEIGHTS, strict=True))
    assert bundle.preset == load_preset("light") and bundle.geometry == GEOMETRY
    assert bundle.run == {"name": "first", "inputs": "abc"} and bundle.target == "z"
    assert bundle.inputs == json.loads((tmp_path / "b" / "manifest.json").read_text())["inputs"] == "abc"


def test_the_digest_names_weights_and_preset_but_not_time_or_place(tmp_path):
    digests = [
        _write(tmp_path / "a"),
        _write(tmp_path / "b", run="second"),
        _write(tmp_path / "c", weights=[w + 1 for w in WEIGHTS]),
        _write(tmp_path / "d", preset="menko"),
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


@pytest.mark.parametrize("name", ["weights.skt", "preset.json", "geometry.json", "metrics.json", "run.json"])
def test_a_bundle_with_a_changed_byte_is_refused(tmp_path, name):
    _write(tmp_path)
    data = bytearray((tmp_path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / name).write_bytes(bytes(data))
    with pytest.raises(ModelError, match=f"{name} is damaged"):
        load_bundle(tmp_path)


def test_a_bundle_whose_manifest_was_edited_is_refused(tmp_path):
    _write(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"digest": "0" * 64}))
    with pytest.raises(ModelError, match="digest is not that of the files"):
        load_bundle(tmp_path)


def test_a_bundle_that_lacks_a_file_is_refused(tmp_path):
    _write(tmp_path)
    (tmp_path / "weights.skt").unlink()
    with pytest.raises(ModelError, match="not a whole bundle"):
        load_bundle(tmp_path)
    with pytest.raises(ModelError, match="not a whole bundle"):
        load_bundle(tmp_path / "nowhere")


def test_the_same_arrays_are_the_same_bytes_in_any_order():
    arrays = {"b": np.arange(3), "a": np.zeros((2, 0, 3), "f4"), "c": np.float32(2.5)}
    data = pack(arrays, {"epoch": 1})
    assert data == pack(dict(reversed(arrays.items())), {"epoch": 1})
    found, values = unpack(data)
    assert values == {"epoch": 1}
    assert all(
        np.array_equal(found[k], v) and found[k].dtype == np.asarray(v).dtype for k, v in arrays.items()
    )


@pytest.mark.parametrize("keep", [0, 10, 100, -1])
def test_a_file_of_arrays_that_was_cut_off_is_refused(keep):
    with pytest.raises(ModelError, match="damaged"):
        unpack(pack({"a": np.arange(100)})[:keep], name="x")
