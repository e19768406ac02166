"""Every preset learns for a few steps, predicts, and is the same in both runtimes."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from trainers import small_job

from model.bundles import load_bundle
from model.chain_shapes import weights_of
from model.intake import intake_of
from model.prediction import predict_block
from model.presets import load_preset, preset_names
from model.runtimes import restored
from model.training import train
from model.vectors import vector_of
from schemas.errors import ModelError
from schemas.flags import PredictionFlag

ROWS = 15
CHANGED = {
    "photometry": {"network.trees": 5, "network.leaf": 2},
    "aperture": {"network.members": 1, "network.hidden": [16]},
}
AFTER = {
    "csst-hybrid-transfer": ("csst-cnn", "csst-mlp"),
    "csst-hybrid-transfer-bayesian": ("csst-cnn-bayesian", "csst-mlp-bayesian"),
    "elg": ("elg-image", "elg-catalogue"),
}
SAME = {
    *("csst-cnn-bayesian", "csst-hybrid-bayesian", "csst-hybrid-transfer", "csst-hybrid-transfer-bayesian"),
    *("elg", "emri", "pasquet", "photometry"),
}
"""Made of layers that others have too, or no network: what is exported of those is compared (of signals elsewhere)."""
NAMES = sorted(
    set(preset_names()) - {"emri-1d", "morpheus", "spin-baseline"}, key=lambda name: (name in AFTER, name)
)


def attributes_of(preset):
    """What a cube says of images that a preset takes."""
    wanted = preset["input"]
    return {
        "bands": wanted["bands"] or ["i", "r", "g"],
        "unit": wanted["unit"] or "electron",
        "arcsec_per_pixel": wanted["arcsec_per_pixel"] or 0.4,
    }


def columns_of(preset, random):
    """Columns the preset's vector is made of: a few galaxies as bright as the survey's limits."""
    vector = vector_of(preset["vector"])
    if vector is None:
        return {}
    scale = 1e-28 if preset["vector"]["kind"] == "fluxes" else 20.0
    return {f"feature_{name}": scale * random.uniform(0.9, 1.1, ROWS) for name in vector.columns}


@pytest.fixture(scope="module")
def cube_for(tmp_path_factory, write_cube):
    """Function that writes a cube as a preset wants it."""
    made = {}

    def cube(name):
        preset, random = load_preset(name), np.random.default_rng(1)
        wanted, head = preset["input"], preset["head"]
        bands, pixels = wanted["bands"] or ["i", "r", "g"], wanted["pixels"] or 32
        key = (*bands, pixels, head["kind"], preset["vector"]["kind"])
        if key not in made:
            shape = (
                (ROWS, pixels, len(bands)) if name.startswith("emri") else (ROWS, pixels, pixels, len(bands))
            )
            image = random.normal(0, 1, shape).astype("f4")
            if wanted["unit"] == "level":
                image = random.integers(0, 255, shape, dtype=np.uint8)
            label = random.uniform(0.05, 0.3, ROWS) if head["kind"] != "binary" else np.arange(ROWS) % 2
            path = tmp_path_factory.mktemp("cube") / "cube.zarr"
            columns = columns_of(preset, random)
            write_cube(path, image, attributes_of(preset), label=label.astype("f4"), **columns)
            made[key] = str(path)
        return made[key]

    return cube


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cube_for):
    """Function that trains a preset for two epochs of a few steps, once, and gives the result."""
    results = {}

    def training(name):
        if name not in results:
            donors = tuple(training(donor).bundle for donor in AFTER.get(name, ()))
            job = small_job(
                tmp_path_factory.mktemp(name),
                cube_for(name),
                preset=name,
                overrides=CHANGED.get(name, {}),
                epochs=1,
                batch=3,
                donors=donors,
                export=name not in SAME,
            )
            results[name] = train(job, report=lambda event: None)
        return results[name]

    return training


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_learns_for_a_few_steps_and_predicts_the_same_in_both_runtimes(
    name, trained, cube_for, tmp_path
):
    result = trained(name)
    assert [entry["epoch"] for entry in result.history] == [1]
    assert all(np.isfinite([entry["loss"], entry["val_loss"]]).all() for entry in result.history)
    said = {}
    for engine in ("auto", "tensorflow") if name not in SAME else ("auto",):
        out = str(tmp_path / f"{engine}.parquet")
        predict_block(
            cube=cube_for(name), bundles=[result.bundle], start=0, stop=ROWS, out=out, engine=engine, batch=4
        )
        said[engine] = pq.read_table(out)
    z = next(reversed(said.values()))["z_phot"].to_numpy()
    assert len(z) == ROWS and np.isfinite(z).all() and np.ptp(z) > 0
    for table in said.values():
        assert table["z_phot"].to_numpy() == pytest.approx(z, rel=2e-4, abs=2e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if load_preset(name)["network"]["kind"] == "chains"])
def test_the_weights_of_a_network_are_those_its_words_say(name, trained):
    bundle = load_bundle(trained(name).bundle)
    said = weights_of(bundle.preset, bundle.geometry.whole, intake_of(bundle.preset).features)
    assert sorted(w.shape for w in bundle.weights) == sorted(
        shape for shapes in said.values() for shape in shapes
    )


def test_what_is_frozen_is_bit_by_bit_what_it_was_before_training(trained):
    bundle = load_bundle(trained("csst-hybrid-transfer").bundle)
    donors = [restored(load_bundle(trained(name).bundle)) for name in AFTER["csst-hybrid-transfer"]]
    network, compared = restored(bundle), {True: 0, False: 0}
    for layer in network.layers:
        for donor in donors:
            if (
                not layer.weights
                or layer.name.startswith("head")
                or layer.name not in {x.name for x in donor.layers}
            ):
                continue
            before, after = donor.get_layer(layer.name).get_weights(), layer.get_weights()
            same = all(a.tobytes() == b.tobytes() for a, b in zip(before, after, strict=True))
            assert same is not layer.trainable, layer.name
            compared[same] += 1
    assert compared == {True: 43, False: 7}


def test_a_training_that_begins_with_other_layers_is_another_training(trained, cube_for, tmp_path):
    plain = trained("csst-mlp")
    job = small_job(tmp_path, cube_for("csst-mlp"), preset="csst-mlp", overrides={}, epochs=1, batch=3)
    again = train(replace(job, donors=(plain.bundle,)), report=lambda event: None)
    assert again.digest != plain.digest and again.history[0]["loss"] != plain.history[0]["loss"]


def test_a_row_without_a_feature_is_not_learnt_from_and_its_prediction_is_flagged(
    trained, cube_for, write_cube, tmp_path
):
    preset, random = load_preset("csst-mlp"), np.random.default_rng(2)
    columns = columns_of(preset, random)
    columns["feature_flux_g"][3] = 0.0
    columns["feature_err_y"][8] = np.nan
    image = np.zeros((ROWS, 32, 32, 7), "f4")
    attributes = attributes_of(preset)
    label = random.uniform(0.05, 0.3, ROWS).astype("f4")
    cube = write_cube(tmp_path / "cube.zarr", image, attributes, label=label, **columns)
    job = small_job(tmp_path / "job", cube, preset="csst-mlp", overrides={}, epochs=1, batch=4, export=True)
    result = train(job, report=lambda event: None)
    assert result.rows["left_out"] == 2
    for engine in ("openvino", "tensorflow"):
        assert _flagged(cube, result.bundle, engine, tmp_path / engine) == [3, 8]
    columns["feature_flux_g"][:] = np.nan
    cube = write_cube(tmp_path / "none.zarr", image, attributes, label=label, **columns)
    with pytest.raises(ModelError, match="flux_g"):
        train(small_job(tmp_path / "none", cube, preset="csst-mlp", overrides={}), report=lambda event: None)


def test_a_row_whose_image_is_not_finite_is_flagged(trained, write_cube, tmp_path):
    preset = load_preset("csst-cnn")
    image = np.random.default_rng(3).normal(0, 1, (ROWS, 32, 32, 7)).astype("f4")
    image[2, 5, 5, 3], image[9, 0, 0, 0] = np.nan, np.inf
    cube = write_cube(tmp_path / "cube.zarr", image, attributes_of(preset))
    for engine in ("openvino", "tensorflow"):
        assert _flagged(cube, trained("csst-cnn").bundle, engine, tmp_path / engine) == [2, 9]


def _flagged(cube, bundle, engine, out):
    """Rows that are said to have no number; they have none, and all others have one."""
    predict_block(cube=cube, bundles=[bundle], start=0, stop=ROWS, out=str(out), engine=engine)
    table = pq.read_table(out)
    found = np.flatnonzero(table["flags"].to_numpy() == PredictionFlag.NOT_FINITE).tolist()
    assert np.flatnonzero(np.isnan(table["z_phot"].to_numpy())).tolist() == found
    return found


def test_a_class_without_an_example_and_a_label_that_is_no_class_are_refused(cube_for, write_cube, tmp_path):
    image = np.zeros((ROWS, 8, 8, 3), "u1")
    binary = {"head.kind": "binary", "loss.kind": "cross_entropy"}
    for label, words in (
        (np.ones(ROWS, "f4"), "has no example"),
        (np.linspace(0, 1, ROWS), "are not 0 or 1"),
    ):
        cube = write_cube(tmp_path / f"{label[0]}.zarr", image, label=label.astype("f4"))
        job = small_job(tmp_path / "job", cube, overrides=binary)
        with pytest.raises(ModelError, match=words):
            train(job, report=lambda event: None)
