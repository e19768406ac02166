import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from trainers import SMALL, children_with, small_job, toy

from model.bundles import load_bundle
from model.jobs import write_task
from model.launch import ask_to_regroup, run_trainer
from model.runtimes import openvino_version
from model.training import train
from schemas.errors import Diverged, ModelError, StoreError, WorkerError
from schemas.records import Place


@pytest.fixture(scope="module")
def cube(tmp_path_factory, write_cube):
    image, z = toy()
    return write_cube(tmp_path_factory.mktemp("toy") / "cube.zarr", image, label=z)


@pytest.fixture
def bad_cube(tmp_path, write_cube):
    """Function that writes a cube of 100 rows with other columns."""
    image, z = toy(100)
    return lambda **columns: write_cube(tmp_path / "bad.zarr", image, **{"label": z, **columns})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cube):
    """A training of one process, and all it said. Of its 180 rows each batch has 4, so that it takes a while."""
    events = []
    folder = tmp_path_factory.mktemp("undisturbed")
    job = small_job(folder, cube, epochs=4, batch=4, tensorboard=True, checkpoint_s=0, export=True)
    result = run_trainer(job, on_progress=events.append)
    return result, events, Path(job.checkpoint)


def test_a_training_leaves_a_bundle_with_everything_in_it(undisturbed):
    result, _, _ = undisturbed
    bundle = load_bundle(result.bundle)
    assert bundle.digest == result.digest
    assert bundle.export == openvino_version()
    assert bundle.run == {"run": "test", "inputs": "abc"}
    assert bundle.inputs == "abc"
    assert result.rows == {"train": 180, "validation": 60, "test": 60, "left_out": 0}
    assert [entry["epoch"] for entry in bundle.history] == [1, 2, 3, 4]
    assert bundle.metrics["test"]["definition"] == "skymill"
    assert bundle.metrics["test"]["n"] == 60
    assert 0 < bundle.metrics["test"]["pdf"]["crps"] < 0.1
    assert bundle.history[-1]["loss"] < bundle.history[0]["loss"]


def test_a_trainer_says_where_it_is(undisturbed):
    result, events, _ = undisturbed
    start, *others, end = events
    assert start["event"] == "start" and end["event"] == "end" and end["digest"] == result.digest
    assert (start["members"], start["generation"], start["resumed_from"], start["resumed_batch"]) == (
        1,
        0,
        0,
        0,
    )
    assert (start["epochs"], start["batches"], start["rows"]["train"]) == (4, 45, 180)
    epochs = [event for event in others if event["event"] == "epoch"]
    assert [{key: e[key] for key in result.history[0]} for e in epochs] == result.history
    saved = [event["step"] for event in others if event["event"] == "checkpoint"]
    assert saved == sorted(set(saved)) and set(range(45, 181, 45)) <= set(saved)
    assert [step for step in saved if step % 45], "no checkpoint within an epoch"
    steps = [event for event in others if event["event"] == "step"]
    seconds = steps[-1]["time"] - steps[0]["time"]
    assert len(steps) - 1 <= 1.1 * seconds + 0.5, "at most one a second, but for a first one told late"
    assert all(1 <= event["batch"] <= 45 and 1 <= event["epoch"] <= 4 for event in steps)
    assert steps[-1]["loss"] > 0


def test_tensorboard_reads_the_scalars(undisturbed):
    import tensorflow as tf

    result, _, checkpoint = undisturbed
    (file,) = (checkpoint / "tensorboard").iterdir()
    records = tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    first, *rest = (tf.compat.v1.Event.FromString(record) for record in records)
    assert first.file_version == "brain.Event:2"
    found = {}
    for event in rest:
        assert abs(event.wall_time - time.time()) < 3600
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    for name in ("loss", "val_loss", "learning_rate"):
        assert [step for step, _ in found[f"epoch/{name}"]] == [45, 90, 135, 180]
        expected = [entry[name] for entry in result.history]
        assert [value for _, value in found[f"epoch/{name}"]] == pytest.approx(expected)
    assert all(value > 0 for _, value in found["step/loss"])


LAUNCH = (
    "import sys; from pathlib import Path; from model.jobs import read_task; "
    "from model.launch import run_trainer; run_trainer(*read_task(Path(sys.argv[1])))"
)


def _wait_within_an_epoch(job, process):
    """Wait for a checkpoint within an epoch, and return its steps.

    A trainer writes one after its first step, as none has taken any time yet.
    """
    progress = Path(job.checkpoint) / "generation-0000" / "progress-0.jsonl"
    while True:
        lines = progress.read_text().splitlines() if progress.exists() else []
        events = [json.loads(line) for line in lines[-9:] if line.endswith("}")]
        saved = [event["step"] for event in events if event["event"] == "checkpoint"]
        if saved and saved[-1] % 45:
            return saved[-1]
        assert process.poll() is None, "the training ended before it could be killed"
        time.sleep(0.005)


def test_a_training_that_is_killed_leaves_no_trainer_and_ends_with_the_same_bits(tmp_path, cube, undisturbed):
    expected, _, _ = undisturbed
    job = small_job(tmp_path, cube, epochs=4, batch=4, checkpoint_s=0)
    write_task(job, Place(), tmp_path / "outer.json")
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCH, str(tmp_path / "outer.json")])
    try:
        saved = _wait_within_an_epoch(job, launcher)
        (trainer,) = psutil.Process(launcher.pid).children()
    finally:
        launcher.kill()
        launcher.wait()
    trainer.wait(timeout=10)
    assert not Path(job.checkpoint, "generation-0000", "result-0.json").exists()
    events = []
    again = run_trainer(job, on_progress=events.append)
    start = events[0]
    assert again.resumed_from == start["resumed_from"] < 4
    assert 45 * start["resumed_from"] + start["resumed_batch"] >= saved
    assert [entry["epoch"] for entry in start["history"]] == list(range(1, again.resumed_from + 1))
    assert again.digest == expected.digest
    assert again.history == expected.history
    assert Path(again.bundle, "weights.skt").read_bytes() == Path(expected.bundle, "weights.skt").read_bytes()


def test_a_finished_training_is_not_done_again(tmp_path, cube):
    job = small_job(tmp_path, cube, epochs=2)
    first, second = (train(job, report=lambda _: None) for _ in range(2))
    assert second.resumed_from == 2
    assert first.digest == second.digest


def test_what_is_kept_is_the_best_epoch_and_not_the_last(tmp_path, cube):
    result = train(small_job(tmp_path, cube, epochs=8, learning_rate=0.3), report=lambda _: None)
    losses = [entry["val_loss"] for entry in result.history]
    assert result.best_epoch == 1 + int(np.argmin(losses))
    again = train(
        small_job(tmp_path / "again", cube, epochs=8, learning_rate=0.3, patience=1), report=lambda _: None
    )
    assert again.epochs == 1 + next(i for i in range(1, 8) if losses[i] >= min(losses[:i]) or i == 7)


def test_features_that_are_remembered_teach_what_those_teach_that_are_measured_anew(
    tmp_path, cube, monkeypatch
):
    small = {"network.members": 1, "network.hidden": [16], "network.measures": ["rings", "apertures"]}
    curves = []
    for name in ("once", "anew"):
        job = small_job(tmp_path / name, cube, preset="aperture", overrides=small, epochs=2)
        result = train(job, report=lambda _: None)
        curves.append([[entry["loss"], entry["val_loss"]] for entry in result.history])
        monkeypatch.setattr("model.machine.is_remembered", lambda preset: False)
    assert curves[0] == [pytest.approx(losses, rel=1e-3) for losses in curves[1]]


def test_another_seed_is_another_training_and_does_not_load_the_checkpoint(tmp_path, cube):
    events = []
    first = train(small_job(tmp_path, cube, epochs=1), report=events.append)
    second = train(small_job(tmp_path, cube, epochs=1, seed=2), report=events.append)
    assert first.digest != second.digest
    assert second.resumed_from == 0
    starts = [e["checkpoint_ignored"] for e in events if e["event"] == "start"]
    assert starts[0] == "" and "another training" in starts[1]


def test_the_last_batch_of_an_epoch_is_saved_once(tmp_path, cube):
    events = []
    train(small_job(tmp_path, cube, epochs=2, batch=180, checkpoint_s=0), report=events.append)
    assert [event["step"] for event in events if event["event"] == "checkpoint"] == [1, 2]


def test_a_trainer_is_killed_when_its_caller_is_interrupted(tmp_path, cube):
    def interrupt(event):
        if event["event"] == "epoch":
            raise KeyboardInterrupt

    job = small_job(tmp_path, cube, epochs=10_000, patience=10_000)
    with pytest.raises(KeyboardInterrupt):
        run_trainer(job, on_progress=interrupt)
    assert not children_with("model.trainer")


def test_the_trainer_s_error_is_raised_with_its_kind_and_remedy(tmp_path):
    with pytest.raises(StoreError, match="is not a cube") as caught:
        run_trainer(small_job(tmp_path, str(tmp_path / "nowhere")))
    assert "fetch stage" in caught.value.remedy
    problem = json.loads((tmp_path / "checkpoint" / "generation-0000" / "error-0.json").read_text())
    assert problem["kind"] == "StoreError"


def test_a_trainer_that_is_killed_is_not_the_job_s_fault(tmp_path, cube):
    def kill(event):
        for trainer in children_with(
            "model.trainer"
        ):  # none, if this is the second of two events told at once
            trainer.kill()

    with pytest.raises(WorkerError, match="was killed by SIGKILL") as caught:
        run_trainer(small_job(tmp_path, cube), on_progress=kill)
    assert "last checkpoint" in caught.value.remedy


def test_a_trainer_whose_task_is_no_longer_wanted_is_ended(tmp_path, cube):
    with pytest.raises(WorkerError, match="was ended: its task is no longer wanted"):
        run_trainer(small_job(tmp_path, cube), stopped=lambda: True)


def test_a_training_that_is_asked_to_ends_at_the_epoch_s_end_and_goes_on_later(tmp_path, cube):
    job = small_job(tmp_path, cube, epochs=3)
    ask_to_regroup(Path(job.checkpoint), 4)
    asked = train(job, report=lambda _: None, place=Place(generation=4))
    assert asked.regroup and asked.epochs == 1 and not Path(job.bundle).exists()
    result = train(job, report=lambda _: None, place=Place(generation=5))
    assert not result.regroup and (result.resumed_from, result.epochs) == (1, 3)


def test_a_rate_that_was_lowered_on_a_plateau_is_so_after_a_restart_too(tmp_path, cube):
    lowered = {"optimizer.schedule": "plateau", "optimizer.plateau_epochs": 1, "optimizer.learning_rate": 0.5}
    found = []
    for stops in ((), (1,)):
        folder = tmp_path / f"{len(stops)}"
        job = small_job(folder, cube, epochs=4, overrides=SMALL | lowered, patience=4)
        for generation in stops:
            ask_to_regroup(Path(job.checkpoint), generation)
            assert train(job, report=lambda _: None, place=Place(generation=generation)).regroup
        found.append(train(job, report=lambda _: None, place=Place(generation=9)))
    rates = [entry["learning_rate"] for entry in found[0].history]
    assert len(set(rates)) > 1 and rates == sorted(rates, reverse=True)
    assert found[1].history == found[0].history and found[1].digest == found[0].digest


def test_the_papers_of_the_last_generations_are_kept(tmp_path, cube):
    for generation in (1, 2, 3, 4, 5, 6, 7, 9):
        (tmp_path / "checkpoint" / f"generation-{generation:04d}").mkdir(parents=True)
    with pytest.raises(WorkerError):
        run_trainer(small_job(tmp_path, cube), Place(generation=8), stopped=lambda: True)
    kept = sorted(path.name for path in (tmp_path / "checkpoint").iterdir())
    assert kept == [f"generation-{generation:04d}" for generation in (5, 6, 7, 8, 9)]


@pytest.fixture
def small_disk(tmp_path):
    """Folder on a disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True
    ).returncode:
        pytest.skip("this machine lets nobody mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


def _fill(folder):
    (folder / "ballast").write_bytes(bytes(shutil.disk_usage(folder).free))


def test_a_disk_that_is_full_before_a_training_is_told(small_disk, cube):
    _fill(small_disk)
    with pytest.raises(StoreError, match="the disk is full") as caught:
        run_trainer(small_job(small_disk, cube))
    assert "free some space" in caught.value.remedy


def test_a_disk_that_fills_up_during_a_training_is_told(small_disk, cube):
    def fill(event):
        if event["event"] == "start":
            _fill(small_disk)

    with pytest.raises(StoreError, match=r"could not write .*, not even why") as caught:
        run_trainer(small_job(small_disk, cube), on_progress=fill)
    assert "free some space" in caught.value.remedy


def _fails(tmp_path, cube, match, **changed):
    with pytest.raises(ModelError, match=match) as caught:
        train(small_job(tmp_path, cube, **changed), report=lambda _: None)
    return caught.value.remedy


def test_labels_far_outside_the_bins_are_refused_with_the_range_to_set(tmp_path, bad_cube):
    z = np.linspace(0.1, 0.92, 100, dtype="f4")
    remedy = _fails(tmp_path, bad_cube(label=z), r"\d+ of 100 labels .* outside the PDF's range of 0 to 0\.4")
    assert "model.overrides.head.z_max to 1" in remedy


def test_a_single_label_outside_the_bins_is_left_out(tmp_path, bad_cube):
    z = np.linspace(0.1, 0.3, 100, dtype="f4")
    z[5] = 0.7
    result = train(small_job(tmp_path, bad_cube(label=z), epochs=1, batch=59), report=lambda _: None)
    assert result.rows == {"train": 59, "validation": 20, "test": 20, "left_out": 1}


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"label": np.full(100, np.nan, "f4")}, "none of the 100 rows .* has a label"),
        ({"split": np.full(100, 2, "u1")}, "no usable train rows"),
        ({"split": np.zeros(100, "u1")}, "no usable validation rows"),
        ({"status": np.full(100, 33, "u1")}, "no usable train rows"),
    ],
)
def test_a_cube_with_nothing_to_learn_from_is_refused(tmp_path, bad_cube, columns, match):
    _fails(tmp_path, bad_cube(**columns), match)


def test_a_loss_that_is_not_finite_names_epoch_and_batch(tmp_path, bad_cube):
    with pytest.raises(Diverged, match=r"epoch 1, batch \d") as caught:
        train(small_job(tmp_path, bad_cube(), learning_rate=1e38), report=lambda _: None)
    assert "learning_rate" in caught.value.remedy


def test_images_below_the_preset_s_size_and_unknown_definitions_are_refused(tmp_path, cube):
    _fails(tmp_path, cube, "at least 32 pixels", preset="menko", overrides={})
    _fails(tmp_path, cube, "no definition of metrics 'mine'", definition="mine")
