"""The same training with TensorFlow and with JAX: a row meets the same dropout, so the curves are the same.

The two round differently, and an initializer draws other weights from the same seed; so JAX begins with
TensorFlow's weights. Each framework is a process of its own: Keras speaks one in its life.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(1, str(Path(__file__).parents[1]))

from small_networks import menko_branches
from trainers import small_job, toy

from model.batches import Batch
from model.bundles import load_bundle
from model.geometry import Geometry
from model.launch import run_trainer
from model.presets import load_preset
from model.threads import engine, import_with_tensorflow
from schemas.errors import ModelError
from schemas.records import Place

OUTPUT, LOSS = 2e-4, 5e-4
"""Largest difference of an output relative to the largest, and of a loss relative to itself.

Rounding grows from step to step: plain gradient descent, where it grows least, and few steps.
"""
STEPS, ROWS = 6, 20
FAST_COMPILER = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
"""Most of JAX's time is compilation here; it halves."""

SMALL = {"network.hidden": [16], "network.members": 1, "network.rings": 6, "head.bins": 40}
DESCENT = {"optimizer.kind": "sgd", "optimizer.learning_rate": 0.02}
IN_PIECES = {**SMALL, **DESCENT, "training.accumulate": 5, "optimizer.clip_norm": 0.2}
CONVOLUTIONAL = {
    **DESCENT,
    **menko_branches(pointwise=True),
    "network.dropout": 0.3,
    "network.l2": 0.1,
}
CASES = {
    "in pieces, clipped": ("light", IN_PIECES),
    "half precision": ("light", {**SMALL, "training.precision": "mixed_float16"}),
    "other draws": ("light", IN_PIECES),
    "not clipped": ("light", {**IN_PIECES, "optimizer.clip_norm": 0.0}),
    "convolutional": ("menko", CONVOLUTIONAL),
    "no penalties": ("menko", {**CONVOLUTIONAL, "network.l2": 0.0}),
}
COMPARED = ["in pieces, clipped", "convolutional"]
ON_JAX = [*COMPARED, "half precision"]


def batches(seed, last=ROWS):
    """Batches of toy galaxies; of those in pieces the last has 3 rows, fewer than there are pieces."""
    images, z = toy(STEPS * ROWS)
    random = np.random.default_rng(1)
    weights = random.uniform(0.5, 2, len(z)).astype("f4")
    draws = np.random.default_rng(seed).integers(-(2**31), 2**31, len(z), dtype=np.int32)
    for index in range(STEPS):
        size = last if index == STEPS - 1 else ROWS
        rows = np.arange(index * ROWS, index * ROWS + size)
        content = images[rows], np.empty((len(rows), 0), np.float32)
        yield Batch(index, size, rows, content, z[rows], weights[rows], draws[rows])


def learn(name, weights):
    """Train a case with this process's framework; return the curve, outputs before and after, and the weights."""
    from model.losses import make_loss
    from model.networks import build_network
    from model.optimizers import learning_rate, make_optimizer

    preset = load_preset(*CASES[name])
    group, precision = engine().join(Place()), preset["training"]["precision"]
    pieces = preset["training"]["accumulate"]
    loss = make_loss(preset["loss"], preset["head"])
    geometry = Geometry(2 * (24 if preset.name == "light" else 32,), ("i", "r", "g"), 0.4)
    network = build_network(preset, geometry, seed=1, precision=precision)
    optimizer = make_optimizer(preset["optimizer"], precision=precision)
    if weights is not None:
        network.set_weights(weights)
    before = network.get_weights()
    step = engine().training_step(network, optimizer, loss, group, accumulate=pieces)
    evaluate = engine().evaluation_step(network, loss, preset["head"])
    seen = list(batches(5 if name == "other draws" else 2, last=3 if pieces > 1 else ROWS))
    if preset.name == "menko":
        seen = [_padded(batch) for batch in seen]
    output = [evaluate(seen[0])[1]]
    curve = []
    for batch in seen:
        optimizer.learning_rate.assign(
            learning_rate(preset["optimizer"], batch.index, STEPS, steps_per_epoch=STEPS)
        )
        data_loss, bad = step(batch)
        assert not bad.any() and len(bad) == batch.size
        curve.append(data_loss)
    answer = engine().inference(network, preset["head"], ROWS)
    output.append(answer({"image": seen[0].images, "draw": np.zeros(ROWS, np.int32)}))
    bad = step(_with_bad_labels(seen[1]))[1]
    return before, {"curve": np.array(curve), "before": output[0], "after": output[1], "bad": bad}


def _with_bad_labels(batch):
    labels = batch.labels.copy()
    labels[[4, 17]] = np.nan
    return replace(batch, labels=labels)


def _padded(batch):
    return replace(batch, content=(np.pad(batch.images, ((0, 0), (4, 4), (4, 4), (0, 0))), batch.content[1]))


def answers_of(name, weights):
    """Return what a shipped preset answers to the same images with the same weights, dropout active."""
    from model.networks import build_network

    preset = load_preset(name)
    images, draws = np.random.default_rng(3).integers(0, 256, (4, 48, 48, 3), "u1"), np.arange(4, dtype="i4")
    network = build_network(preset, Geometry((48, 48), ("i", "r", "g"), 0.4), seed=1, monte_carlo=True)
    if weights is not None:
        network.set_weights(weights)
    one, other = (network.predict_on_batch([images, d]) for d in (draws, draws + 9))
    return network.get_weights(), {"one": one, "other": other}


def program(work):
    """Do everything with the framework KERAS_BACKEND names; JAX begins with the weights TensorFlow began with."""
    import_with_tensorflow("model.networks", threads=1)
    engine().prepare(1)
    backend = os.environ["KERAS_BACKEND"]
    given = _read(work / "tensorflow.npz") if backend == "jax" else {}

    def weights_of(case):
        names = sorted(key for key in given if key.startswith(f"{case}/weight/"))
        return [given[name] for name in names] or None

    cases = ON_JAX if given else CASES
    found = {case: learn(case, weights_of(case)) for case in cases}
    found |= {name: answers_of(name, weights_of(name)) for name in ("light", "menko")}
    arrays = {}
    for case, (weights, said) in found.items():
        arrays |= {f"{case}/weight/{i:03d}": weight for i, weight in enumerate(weights)}
        arrays |= {f"{case}/{name}": array for name, array in said.items()}
    np.savez(work / f"{backend}.npz", **arrays)
    told = {"versions": engine().versions(), "tensorflow": "tensorflow" in sys.modules}
    (work / f"{backend}.json").write_text(json.dumps(told))


def _read(path):
    with np.load(path) as arrays:
        return {key: arrays[key] for key in arrays}


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What each framework says: arrays and facts by its name."""
    work, found = tmp_path_factory.mktemp("backends"), {}
    for backend in ("tensorflow", "jax"):
        environment = {
            **os.environ,
            "KERAS_BACKEND": backend,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "XLA_FLAGS": FAST_COMPILER,
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        done = subprocess.run(
            [sys.executable, __file__, str(work)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        told = json.loads((work / f"{backend}.json").read_text())
        found[backend] = (_read(work / f"{backend}.npz"), told)
    return found


def _difference(said, key, other=None):
    """Return the largest difference between the frameworks, relative to the largest value."""
    expected, found = said["tensorflow"][0][other or key], said["jax"][0][key]
    return np.abs(found - expected).max() / np.abs(expected).max()


def test_jax_computes_without_tensorflow_and_names_its_version(said):
    import jax
    import keras

    told = said["jax"][1]
    assert told == {"versions": {"keras": keras.__version__, "jax": jax.__version__}, "tensorflow": False}


@pytest.mark.parametrize("name", ["light", "menko"])
def test_the_same_weights_and_draws_give_the_same_outputs(said, name):
    assert _difference(said, f"{name}/one") < OUTPUT
    assert _difference(said, f"{name}/other") < OUTPUT


def test_other_draws_give_other_outputs(said):
    assert _difference(said, "light/one", "light/other") > 100 * OUTPUT


@pytest.mark.parametrize("case", COMPARED)
def test_the_curve_is_tensorflow_s(said, case):
    expected, found = (said[backend][0][f"{case}/curve"] for backend in ("tensorflow", "jax"))
    assert found == pytest.approx(expected, rel=LOSS)
    assert _difference(said, f"{case}/before") < OUTPUT
    assert _difference(said, f"{case}/after") < 20 * OUTPUT


@pytest.mark.parametrize(
    ("case", "other"),
    [
        ("in pieces, clipped", "other draws"),
        ("in pieces, clipped", "not clipped"),
        ("convolutional", "no penalties"),
    ],
)
def test_the_comparison_would_notice_what_is_done_differently(said, case, other):
    expected, found = said["tensorflow"][0][f"{other}/curve"], said["jax"][0][f"{case}/curve"]
    assert np.abs(found / expected - 1).max() > 10 * LOSS


def test_half_precision_with_a_scaled_loss_learns_the_same_but_for_its_rounding(said):
    expected, found = (said[backend][0]["half precision/curve"] for backend in ("tensorflow", "jax"))
    assert found == pytest.approx(expected, rel=10 * LOSS)


@pytest.mark.parametrize("case", COMPARED)
def test_rows_whose_loss_is_not_finite_are_found_in_every_piece(said, case):
    for backend in ("tensorflow", "jax"):
        assert np.flatnonzero(said[backend][0][f"{case}/bad"]).tolist() == [4, 17]


def test_a_whole_training_with_jax_ends_with_a_bundle(tmp_path, write_cube, monkeypatch):
    image, z = toy()
    cube = write_cube(tmp_path / "cube.zarr", image, label=z)
    monkeypatch.setenv("XLA_FLAGS", FAST_COMPILER)
    job = small_job(tmp_path, cube, overrides=SMALL, epochs=3, batch=60, backend="jax")
    result = run_trainer(job)
    bundle = load_bundle(result.bundle)
    assert bundle.digest == result.digest
    assert [entry["epoch"] for entry in bundle.history] == [1, 2, 3]
    assert bundle.history[-1]["loss"] < bundle.history[0]["loss"]


def test_a_group_is_refused_where_only_one_process_can_train(tmp_path, write_cube):
    image, z = toy(100)
    cube = write_cube(tmp_path / "cube.zarr", image, label=z)
    with pytest.raises(ModelError, match="jax trains in one process, found a group of 2") as caught:
        run_trainer(small_job(tmp_path, cube, backend="jax"), Place(0, ("127.0.0.1:1", "127.0.0.1:2"), 1))
    assert 'model.backend to "tensorflow"' in caught.value.remedy


if __name__ == "__main__":
    program(Path(sys.argv[1]))
