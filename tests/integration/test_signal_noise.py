"""Noise on the fly: the same in whatever block, batch, engine or process a signal is predicted, another one a row."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from model.bundles import load_bundle, write_bundle
from model.export import export_bundle
from model.geometry import Geometry
from model.networks import build_network
from model.prediction import predict_block
from model.predictor import Predictor
from model.presets import load_preset

ROWS, SAMPLES = 40, 4096
GEOMETRY = Geometry((SAMPLES,), ("I", "II"), 0.0, "float32", "sigma")
WORDS = {"bands": ["I", "II"], "arcsec_per_pixel": 0.0, "unit": "sigma"}


@pytest.fixture(scope="module")
def cube(tmp_path_factory, write_cube) -> str:
    signals = np.zeros((ROWS, SAMPLES, 2), "f4")
    signals[1::2] = np.sin(np.arange(SAMPLES) / 7)[:, None]
    label = (np.arange(ROWS) % 2).astype("f4")
    return write_cube(tmp_path_factory.mktemp("signals") / "cube.zarr", signals, WORDS, label=label)


@pytest.fixture(scope="module", params=["emri", "emri-1d"])
def bundle(request, tmp_path_factory) -> str:
    preset = load_preset(request.param, {"input.pixels": SAMPLES})
    weights = build_network(preset, GEOMETRY, seed=3).get_weights()
    facts = {"target": "signal", "metrics": {}, "history": [], "run": {}}
    folder = tmp_path_factory.mktemp(request.param) / "bundle"
    write_bundle(Path(folder), weights, preset, GEOMETRY, facts)
    return str(folder)


def predicted(cube: str, bundle: str, out: Path, start: int, stop: int, **settings: object) -> np.ndarray:
    predict_block(cube=cube, bundles=[bundle], start=start, stop=stop, out=str(out), **settings)
    return pq.read_table(out)["z_phot"].to_numpy()


def test_a_signal_s_noise_is_its_own_however_blocks_and_batches_are_cut(
    tmp_path: Path, cube: str, bundle: str
):
    whole = predicted(cube, bundle, tmp_path / "whole", 0, ROWS)
    pieces = [predicted(cube, bundle, tmp_path / "part", start, start + 8) for start in range(0, ROWS, 8)]
    assert np.allclose(whole, np.concatenate(pieces), atol=1e-6)
    other = predicted(cube, bundle, tmp_path / "other", 0, ROWS, batch=7)
    assert np.allclose(whole, other, atol=1e-6)
    assert len(np.unique(whole[::2])) == ROWS // 2  # the silent ones differ by their noise alone


def test_the_export_hears_the_same_noise(tmp_path: Path, cube: str, bundle: str):
    pytest.importorskip("openvino")
    signals, rows = np.zeros((6, SAMPLES, 2), "f4"), np.array([0, 3, 17, 400, 7, 2**20])
    ours = Predictor([load_bundle(bundle)], engine="tensorflow")(signals, rows)
    export_bundle(Path(bundle))
    theirs = Predictor([load_bundle(bundle)], engine="openvino")(signals, rows)
    assert np.abs(ours - theirs).max() < 2e-5
    assert np.ptp(ours) > 1e-3
