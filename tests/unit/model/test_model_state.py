import math
import resource
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from model.cubes import Cube
from model.geometry import Geometry
from model.jobs import TrainingJob, read_task, write_task
from model.material import Data, job_digest
from model.networks import build_network
from model.optimizers import learning_rate, make_optimizer
from model.presets import load_preset
from model.state import Checkpoints, Progress, State, layout_of
from model.training import Training, finished
from schemas.errors import ModelError, StoreError
from schemas.records import Place

LAYOUT = [["kernel", [2, 2]], ["bias", [1]]]


def _state(step, value=7.0, **progress):
    return State(Progress(step=step, **progress), [np.full((2, 2), value, "f4"), np.array([value], "f4")])


def _checkpoints(folder, **changed):
    return Checkpoints(folder, **{"job": "this", "layout": LAYOUT, **changed})


def _names(folder):
    return sorted(path.name for path in folder.glob("*.skt"))


def test_a_checkpoint_brings_back_every_variable_the_place_and_the_best_weights(tmp_path):
    history = [{"epoch": 1.0, "val_sigma_nmad": math.nan}]
    saved = _state(
        40, epoch=3, batch=4, loss_sum=0.1 + 0.2, best_epoch=2, best_loss=0.5, best=[np.ones(3, "f4")]
    )
    saved.progress.history = history
    _checkpoints(tmp_path).save(saved)
    found, ignored = _checkpoints(tmp_path).load()
    assert not ignored
    place = found.progress
    assert (place.step, place.epoch, place.batch, place.best_epoch, place.best_loss) == (40, 3, 4, 2, 0.5)
    assert place.loss_sum == 0.1 + 0.2
    assert np.array_equal(place.best[0], np.ones(3))
    assert math.isnan(place.history[0]["val_sigma_nmad"])
    assert [array.tolist() for array in found.variables] == [[[7, 7], [7, 7]], [7]]


def test_without_a_checkpoint_there_is_no_state_and_nothing_to_say(tmp_path):
    assert _checkpoints(tmp_path / "nowhere").load() == (None, "")


def test_the_two_newest_checkpoints_are_kept(tmp_path):
    checkpoints = _checkpoints(tmp_path)
    for step in (5, 10, 15, 20):
        checkpoints.save(_state(step))
    assert _names(tmp_path) == ["checkpoint-0000-00000015.skt", "checkpoint-0000-00000020.skt"]


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path):
    checkpoints = _checkpoints(tmp_path)
    for step in (5, 10):
        checkpoints.save(_state(step, step))
    path = tmp_path / "checkpoint-0000-00000010.skt"
    path.write_bytes(path.read_bytes()[:-5])
    later = _checkpoints(tmp_path, generation=1)
    found, ignored = later.load()
    assert found.progress.step == 5 and found.variables[1] == 5
    assert "00000010.skt is damaged" in ignored
    later.save(_state(11))
    assert _names(tmp_path) == ["checkpoint-0000-00000005.skt", "checkpoint-0001-00000011.skt"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"job": "other"}, "another training"),
        ({"layout": LAYOUT[:1]}, "does not hold the variables"),
        ({"layout": [["kernel", [2, 2]], ["bias", [2]]]}, "does not hold the variables"),
        ({"layout": [["kernel", [2, 2]], ["momentum", [1]]]}, "does not hold the variables"),
    ],
    ids=["another job", "more variables", "another shape", "another name"],
)
def test_a_checkpoint_of_another_training_is_not_used_and_does_not_outlive_its_own(tmp_path, changed, words):
    _checkpoints(tmp_path, **changed).save(_state(99))
    checkpoints = _checkpoints(tmp_path)
    found, ignored = checkpoints.load()
    assert found is None and words in ignored
    for step in (1, 2, 3):
        checkpoints.save(_state(step))
    assert _names(tmp_path) == ["checkpoint-0000-00000002.skt", "checkpoint-0000-00000003.skt"]


def test_a_generation_that_wakes_up_late_removes_nothing_of_a_later_one(tmp_path):
    late = _checkpoints(tmp_path, generation=1)
    for step in (5, 10):
        late.save(_state(step))
    new = _checkpoints(tmp_path, generation=2)
    assert new.load()[0].progress.step == 10
    for step in (15, 20):
        new.save(_state(step))
    late.save(_state(11))
    assert _checkpoints(tmp_path, generation=3).load()[0].progress.step == 20
    assert "checkpoint-0002-00000015.skt" in _names(tmp_path)


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path):
    checkpoints = _checkpoints(tmp_path)
    checkpoints.save(_state(5))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(StoreError, match="cannot write"):
            checkpoints.save(_state(10))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    found, ignored = _checkpoints(tmp_path).load()
    assert found.progress.step == 5 and not ignored
    assert _names(tmp_path) == ["checkpoint-0000-00000005.skt"]


def test_the_variables_of_a_network_have_the_same_names_each_time_it_is_built():
    preset = load_preset("light", {"network.members": 2, "network.hidden": [4]})
    layouts = []
    for _ in range(2):
        network = build_network(preset, Geometry((16, 16), ("i", "r", "g"), 0.4), seed=1)
        optimizer = make_optimizer(preset["optimizer"])
        optimizer.build(network.trainable_variables)
        variables = [*network.variables, *optimizer.variables]
        layouts.append(layout_of([variable.path for variable in variables], variables))
    assert layouts[0] == layouts[1]
    assert len(layouts[0]) > 10


def test_a_training_ends_after_its_epochs_or_when_it_no_longer_gets_better():
    preset = load_preset("light", {"training.epochs": 10, "training.patience": 3})
    states = [(0, 0), (2, 2), (5, 3), (6, 3), (10, 10)]
    assert [finished(Progress(e, best_epoch=b), preset) for e, b in states] == [
        False,
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(("keep", "kept"), [("best", 2), ("last", 3)])
def test_the_last_epoch_is_kept_if_the_preset_says_so_and_its_loss_is_a_number(keep, kept):
    preset, network = load_preset("light", {"training.keep": keep}), SimpleNamespace(get_weights=list)
    course: Any = SimpleNamespace(
        progress=Progress(), _preset=preset, _machine=SimpleNamespace(network=network)
    )
    for epoch, loss in enumerate((0.5, 0.3, 0.4, math.nan), 1):
        Training._remember(course, {"epoch": epoch, "val_loss": loss})
    assert (course.progress.epoch, course.progress.best_epoch) == (4, kept)


def test_a_cosine_ends_at_zero_and_a_constant_stays():
    settings = {"schedule": "cosine", "learning_rate": 2e-3}
    assert learning_rate(settings, 0, 10, steps_per_epoch=5) == 2e-3
    assert learning_rate(settings, 10, 10, steps_per_epoch=5) == 0
    assert learning_rate({**settings, "schedule": "constant"}, 7, 10, steps_per_epoch=5) == 2e-3


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


def test_a_job_and_its_place_survive_json_and_the_job_s_own_numbers_win(tmp_path):
    place = Place(1, ("a:1", "b:2"), 3, "0")
    write_task(JOB, place, tmp_path / "job.json")
    assert read_task(tmp_path / "job.json") == (JOB, place)
    assert JOB.resolved_overrides() == {"head.bins": 9, "training.epochs": 7}


def test_a_training_with_another_version_of_keras_is_another_training():
    cube = Cube("memory", {}, Geometry((16, 16), ("i", "r", "g"), 0.4), 0, 8, 1)
    digests = [
        job_digest(JOB, load_preset("light"), Data(cube, {}, 0), versions={"keras": version})
        for version in ("3.7", "3.7", "3.8")
    ]
    assert digests[0] == digests[1] != digests[2]


def test_no_generator_of_dropout_has_a_state_that_a_checkpoint_would_have_to_hold():
    network = build_network(load_preset("light"), Geometry((32, 32), ("i", "r", "g"), 0.4), seed=1)
    assert not [variable.path for variable in network.variables if "seed" in variable.path]
