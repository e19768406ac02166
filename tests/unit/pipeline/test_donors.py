"""Networks that the run's own begins with: trained by the run, or by another one before."""

import os
from pathlib import Path

import numpy as np
import pytest

from model.bundles import write_bundle
from model.geometry import Geometry
from model.presets import load_preset
from pipeline.donors import donors_of, shared_overrides, trained_before
from schemas.errors import ModelError, PlanError
from schemas.runfile import load_run_file

CSST = Path(__file__).parents[3] / "surveys" / "csst.toml"
FACTS = {"target": "z", "metrics": {}, "history": [], "run": {}}


def bundle(folder: Path, preset: str, *, value: float = 0.0, seconds: int = 0) -> str:
    weights = [np.full(3, value, np.float32)]
    digest = write_bundle(folder, weights, load_preset(preset), Geometry((32, 32), ("u",), 0.1), FACTS)
    os.utime(folder / "manifest.json", (seconds, seconds))
    return digest


def a_run(*folders: Path, **words: object):
    given = f"model.begin_with={[str(folder) for folder in folders]}"
    return load_run_file(CSST, words=[given, *(f"{key}={value}" for key, value in words.items())])


def test_of_a_run_its_newest_network_is_begun_with_and_only_the_others_are_trained(tmp_path):
    bundle(tmp_path / "run" / "model" / "a", "csst-mlp", value=1, seconds=100)
    newest = bundle(tmp_path / "run" / "model" / "b", "csst-mlp", value=2, seconds=200)
    run_file = a_run(tmp_path / "run")
    (there,) = trained_before(run_file).items()
    assert (there[0], there[1].digest) == ("csst-mlp", newest)
    assert there[1].products[0].final == str(tmp_path / "run" / "model" / "b" / "manifest.json")
    assert list(donors_of(run_file)) == ["csst-cnn"]
    assert sorted(donors_of(a_run())) == ["csst-cnn", "csst-mlp"]


def test_what_cannot_be_begun_with_is_refused_with_a_remedy(tmp_path):
    with pytest.raises(PlanError, match="holds no trained network\n  remedy: name the folder"):
        trained_before(a_run(tmp_path))
    one, other = tmp_path / "one", tmp_path / "other"
    bundle(one, "csst-mlp"), bundle(other, "csst-mlp")
    with pytest.raises(PlanError, match="two networks are of preset 'csst-mlp'"):
        trained_before(a_run(one, other))
    (one / "preset.json").unlink()
    with pytest.raises(ModelError, match="is not a whole bundle"):
        trained_before(a_run(one))


def test_how_much_the_prior_counts_is_said_of_the_donors_too():
    words = ["model.preset=csst-hybrid-transfer-bayesian", "model.overrides.network.divergence=0.5"]
    donors = donors_of(load_run_file(CSST, words=words))
    assert {name: preset["network"]["divergence"] for name, preset in donors.items()} == {
        "csst-cnn-bayesian": 0.5,
        "csst-mlp-bayesian": 0.5,
    }


def test_a_run_s_optimizer_is_its_donors_too_but_not_what_is_frozen():
    run_file = load_run_file(CSST, words=['model.overrides.network.frozen=["mlp_dense_1"]'])
    assert shared_overrides(run_file) == {"optimizer.schedule": "cosine"}
    assert all(preset["optimizer"]["schedule"] == "cosine" for preset in donors_of(run_file).values())
