import keras
import numpy as np
import pytest

from model.cubes import Geometry
from model.jobs import TrainingJob, read_job, write_job
from model.networks import build_network
from model.optimizers import learning_rate, make_optimizer
from model.presets import load_preset
from model.state import Progress, load_checkpoint, save_checkpoint
from model.training import finished
from schemas.errors import ModelError


def _variables(value):
    return [keras.Variable(np.full((2, 2), value, "f4")), keras.Variable(np.array([value], "f4"))]


def test_a_checkpoint_brings_back_every_variable_and_the_best_weights(tmp_path):
    progress = Progress(3, 2, 0.5, [np.ones(3, "f4")], [{"epoch": 1.0}])
    save_checkpoint(tmp_path, "job", progress, _variables(7))
    fresh = _variables(0)
    found, ignored = load_checkpoint(tmp_path, "job", fresh)
    assert not ignored
    assert (found.epoch, found.best_epoch, found.best_loss, found.history) == (3, 2, 0.5, [{"epoch": 1.0}])
    assert np.array_equal(found.best[0], np.ones(3))
    assert all((np.asarray(v) == 7).all() for v in fresh)


def test_a_checkpoint_of_another_training_is_not_loaded(tmp_path):
    save_checkpoint(tmp_path, "job", Progress(3, 1, 0.5), _variables(7))
    fresh = _variables(0)
    found, ignored = load_checkpoint(tmp_path, "other job", fresh)
    assert found.epoch == 0 and "another training" in ignored
    assert all((np.asarray(v) == 0).all() for v in fresh)


def test_a_damaged_checkpoint_is_not_loaded(tmp_path):
    save_checkpoint(tmp_path, "job", Progress(3, 1, 0.5), _variables(7))
    path = tmp_path / "checkpoint.skt"
    path.write_bytes(path.read_bytes()[:-5])
    found, ignored = load_checkpoint(tmp_path, "job", _variables(0))
    assert found.epoch == 0 and "damaged" in ignored


def test_a_training_ends_after_its_epochs_or_when_it_no_longer_gets_better():
    preset = load_preset("light", {"training.epochs": 10, "training.patience": 3})
    states = [(0, 0), (2, 2), (5, 3), (6, 3), (10, 10)]
    assert [finished(Progress(e, b), preset) for e, b in states] == [False, False, False, True, True]


def test_a_cosine_ends_at_zero_and_a_constant_stays():
    settings = {"schedule": "cosine", "learning_rate": 2e-3}
    assert learning_rate(settings, 0, 10) == 2e-3
    assert learning_rate(settings, 10, 10) == 0
    assert learning_rate({**settings, "schedule": "constant"}, 7, 10) == 2e-3


def test_an_optimizer_that_does_not_exist_is_named():
    with pytest.raises(ModelError, match=r"optimizer\.kind 'lion'"):
        make_optimizer(load_preset("light", {"optimizer.kind": "lion"})["optimizer"])


def test_a_job_survives_json_and_its_own_numbers_win(tmp_path):
    job = TrainingJob("c", "k", "b", overrides={"head.bins": 9, "training.epochs": 3}, epochs=7)
    write_job(job, tmp_path / "job.json")
    assert read_job(tmp_path / "job.json") == job
    assert job.resolved_overrides() == {"head.bins": 9, "training.epochs": 7}


def test_the_state_to_be_saved_includes_the_generators_of_dropout():
    network = build_network(load_preset("light"), Geometry(32, ("i", "r", "g"), 0.4), seed=1)
    kept = {variable.path for variable in network.variables}
    assert sum("seed_generator" in path for path in kept) == 8
