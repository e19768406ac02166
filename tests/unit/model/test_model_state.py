import keras
import numpy as np
import pytest

from model.cubes import Cube, Geometry
from model.jobs import TrainingJob, read_job, write_job
from model.material import Data, job_digest
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


@pytest.mark.parametrize(
    "others",
    [
        [keras.Variable(np.zeros((2, 2), "f4"))],
        [keras.Variable(np.zeros((2, 2), "f4")), keras.Variable(np.zeros(2, "f4"))],
        [keras.Variable(np.zeros((2, 2), "f4")), keras.Variable(np.zeros(1, "f4"), name="momentum")],
        [keras.Variable(np.zeros(shape, "f4")) for shape in ((2, 2), (1,), (1,))],
    ],
    ids=["fewer", "another shape", "another name", "more"],
)
def test_a_checkpoint_with_other_variables_is_not_loaded(tmp_path, others):
    save_checkpoint(tmp_path, "job", Progress(3, 1, 0.5), _variables(7))
    found, ignored = load_checkpoint(tmp_path, "job", others)
    assert found.epoch == 0 and "does not hold the variables" in ignored
    assert all((np.asarray(v) == 0).all() for v in others)


def test_the_variables_of_a_network_have_the_same_names_each_time_it_is_built(tmp_path):
    preset = load_preset("light", {"network.members": 2, "network.hidden": [4]})
    variables = []
    for _ in range(2):
        network = build_network(preset, Geometry(16, ("i", "r", "g"), 0.4), seed=1)
        optimizer = make_optimizer(preset["optimizer"])
        optimizer.build(network.trainable_variables)
        variables.append([*network.variables, *optimizer.variables])
    save_checkpoint(tmp_path, "job", Progress(1, 1, 0.5), variables[0])
    assert not load_checkpoint(tmp_path, "job", variables[1])[1]


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


JOB = TrainingJob(
    cube="c",
    checkpoint="k",
    bundle="b",
    preset="light",
    overrides={"head.bins": 9, "training.epochs": 3},
    seed=1,
    epochs=7,
    batch=None,
    learning_rate=None,
    patience=None,
    target="z",
    definition="skymill",
    threads=1,
    provenance={},
)


def test_a_job_survives_json_and_its_own_numbers_win(tmp_path):
    write_job(JOB, tmp_path / "job.json")
    assert read_job(tmp_path / "job.json") == JOB
    assert JOB.resolved_overrides() == {"head.bins": 9, "training.epochs": 7}


def test_a_training_with_another_version_of_keras_is_another_training():
    cube = Cube("memory", {}, Geometry(16, ("i", "r", "g"), 0.4), 0, 8, 1)
    digests = [
        job_digest(JOB, load_preset("light"), Data(cube, {}, 0), versions={"keras": version})
        for version in ("3.7", "3.7", "3.8")
    ]
    assert digests[0] == digests[1] != digests[2]


def test_the_state_to_be_saved_includes_the_generators_of_dropout():
    network = build_network(load_preset("light"), Geometry(32, ("i", "r", "g"), 0.4), seed=1)
    kept = {variable.path for variable in network.variables}
    assert sum("seed_generator" in path for path in kept) == 8
