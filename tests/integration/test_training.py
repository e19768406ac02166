import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from model.bundles import load_bundle
from model.files import locked
from model.jobs import TrainingJob, write_job
from model.launch import run_trainer
from model.training import train
from schemas.errors import ModelError, StoreError

SMALL = {"network.hidden": [16], "network.members": 2, "network.rings": 6, "head.bins": 40}


def _toy(rows=300, pixels=24):
    """Round galaxies that are redder, smaller and fainter the higher their redshift: images and labels."""
    random = np.random.default_rng(0)
    z = random.uniform(0.02, 0.3, rows).astype("f4")
    y, x = np.mgrid[:pixels, :pixels] - (pixels - 1) / 2
    size = (1.5 + 0.6 / (z + 0.1))[:, None, None]
    light = np.exp(-(x * x + y * y) / (2 * size**2)) * (1 - 1.5 * z)[:, None, None]
    colour = np.stack([np.ones(rows), 1 - z, 1 - 2.5 * z], -1)
    image = light[..., None] * colour[:, None, None] * 220 + random.uniform(0, 8, (rows, pixels, pixels, 3))
    return image.astype("u1"), z


def _job(folder, cube, **changed):
    job = TrainingJob(
        cube=cube,
        checkpoint=str(folder / "checkpoint"),
        bundle=str(folder / "bundle"),
        preset="light",
        overrides=SMALL,
        seed=137,
        epochs=4,
        batch=32,
        learning_rate=None,
        patience=None,
        target="z",
        definition="skymill",
        threads=1,
        provenance={"run": "test", "inputs": "abc"},
    )
    return replace(job, **changed)


@pytest.fixture(scope="module")
def cube(tmp_path_factory, write_cube):
    image, z = _toy()
    return write_cube(tmp_path_factory.mktemp("toy") / "cube.zarr", image, label=z)


@pytest.fixture
def bad_cube(tmp_path, write_cube):
    """Function that writes a cube of 100 rows with other columns."""
    image, z = _toy(100)
    return lambda **columns: write_cube(tmp_path / "bad.zarr", image, **{"label": z, **columns})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cube):
    return run_trainer(_job(tmp_path_factory.mktemp("undisturbed"), cube, epochs=6))


def test_a_training_leaves_a_bundle_with_everything_in_it(undisturbed):
    bundle = load_bundle(undisturbed.bundle)
    assert bundle.digest == undisturbed.digest
    assert bundle.run == {"run": "test", "inputs": "abc"}
    assert bundle.inputs == "abc"
    assert undisturbed.rows == {"train": 180, "validation": 60, "test": 60, "left_out": 0}
    assert [entry["epoch"] for entry in bundle.history] == [1, 2, 3, 4, 5, 6]
    assert bundle.metrics["test"]["definition"] == "skymill"
    assert bundle.metrics["test"]["n"] == 60
    assert 0 < bundle.metrics["test"]["pdf"]["crps"] < 0.1
    assert bundle.history[-1]["loss"] < bundle.history[0]["loss"]


LAUNCH = (
    "import sys; from pathlib import Path; from model.jobs import read_job; "
    "from model.launch import run_trainer; run_trainer(read_job(Path(sys.argv[1])))"
)


def _wait_for_epochs(job, process, epochs):
    progress = Path(job.checkpoint) / "progress.jsonl"
    while not progress.exists() or progress.read_text().count('"epoch", ') < epochs:
        assert process.poll() is None, "the training ended before it could be killed"
        time.sleep(0.005)


def test_a_training_killed_twice_leaves_no_trainer_and_ends_with_the_same_bits(tmp_path, cube, undisturbed):
    job = _job(tmp_path, cube, epochs=6)
    write_job(job, tmp_path / "outer.json")
    for epochs in (1, 2):  # the second one is taken up where the first was killed
        launcher = subprocess.Popen([sys.executable, "-c", LAUNCH, str(tmp_path / "outer.json")])
        try:
            _wait_for_epochs(job, launcher, epochs)
            (trainer,) = psutil.Process(launcher.pid).children()
        finally:
            launcher.kill()
            launcher.wait()
        trainer.wait(timeout=10)
        assert not Path(job.checkpoint, "result.json").exists()
    events = []
    again = run_trainer(job, on_progress=events.append)
    assert 3 <= again.resumed_from < 6
    assert [e["event"] for e in events] == ["start"] + ["epoch"] * (6 - again.resumed_from) + ["end"]
    assert again.digest == undisturbed.digest
    assert again.history == undisturbed.history
    assert (
        Path(again.bundle, "weights.skt").read_bytes() == Path(undisturbed.bundle, "weights.skt").read_bytes()
    )


def test_a_finished_training_is_not_done_again(tmp_path, cube):
    job = _job(tmp_path, cube, epochs=2)
    first, second = (train(job, report=lambda _: None) for _ in range(2))
    assert second.resumed_from == 2
    assert first.digest == second.digest


def test_what_is_kept_is_the_best_epoch_and_not_the_last(tmp_path, cube):
    result = train(_job(tmp_path, cube, epochs=8, learning_rate=0.3), report=lambda _: None)
    losses = [entry["val_loss"] for entry in result.history]
    assert result.best_epoch == 1 + int(np.argmin(losses))
    again = train(
        _job(tmp_path / "again", cube, epochs=8, learning_rate=0.3, patience=1), report=lambda _: None
    )
    assert again.epochs == 1 + next(i for i in range(1, 8) if losses[i] >= min(losses[:i]) or i == 7)


def test_another_seed_is_another_training_and_does_not_load_the_checkpoint(tmp_path, cube):
    events = []
    first = train(_job(tmp_path, cube, epochs=1), report=events.append)
    second = train(_job(tmp_path, cube, epochs=1, seed=2), report=events.append)
    assert first.digest != second.digest
    assert second.resumed_from == 0
    starts = [e["checkpoint_ignored"] for e in events if e["event"] == "start"]
    assert starts[0] == "" and "another training" in starts[1]


def test_a_trainer_is_killed_when_its_caller_is_interrupted(tmp_path, cube):
    def interrupt(event):
        if event["event"] == "epoch":
            raise KeyboardInterrupt

    job = _job(tmp_path, cube, epochs=10_000, patience=10_000)
    with pytest.raises(KeyboardInterrupt):
        run_trainer(job, on_progress=interrupt)
    commands = [child.as_dict(["cmdline"], ad_value=[])["cmdline"] for child in psutil.Process().children()]
    assert not [command for command in commands if "model.trainer" in command]


def test_the_trainer_s_error_is_raised_with_its_kind_and_remedy(tmp_path):
    with pytest.raises(StoreError, match="is not a cube") as caught:
        run_trainer(_job(tmp_path, str(tmp_path / "nowhere")))
    assert "fetch stage" in caught.value.remedy
    problem = json.loads((tmp_path / "checkpoint" / "error.json").read_text())
    assert problem["kind"] == "StoreError"


def test_a_trainer_waits_its_turn_and_then_says_that_another_one_works(tmp_path, cube):
    job = _job(tmp_path, cube)
    folder = Path(job.checkpoint)
    folder.mkdir()
    with locked(folder, wait_s=0):
        (folder / "result.json").write_text("that of the other")
        with pytest.raises(ModelError, match="another trainer works in"):
            run_trainer(job, lock_wait_s=0.2)
    assert (folder / "result.json").read_text() == "that of the other"


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
        run_trainer(_job(small_disk, cube))
    assert "free some space" in caught.value.remedy


def test_a_disk_that_fills_up_during_a_training_is_told(small_disk, cube):
    def fill(event):
        if event["event"] == "start":
            _fill(small_disk)

    with pytest.raises(StoreError, match=r"could not write .*, not even why") as caught:
        run_trainer(_job(small_disk, cube), on_progress=fill)
    assert "free some space" in caught.value.remedy


def _fails(tmp_path, cube, match, **changed):
    with pytest.raises(ModelError, match=match) as caught:
        train(_job(tmp_path, cube, **changed), report=lambda _: None)
    return caught.value.remedy


def test_labels_far_outside_the_bins_are_refused_with_the_range_to_set(tmp_path, bad_cube):
    z = np.linspace(0.1, 0.92, 100, dtype="f4")
    remedy = _fails(tmp_path, bad_cube(label=z), r"\d+ of 100 labels .* outside the PDF's range of 0 to 0\.4")
    assert "model.overrides.head.z_max to 1" in remedy


def test_a_single_label_outside_the_bins_is_left_out_and_a_batch_may_be_larger_than_the_part(
    tmp_path, bad_cube
):
    z = np.full(100, 0.1, "f4")
    z[5] = 0.7
    result = train(_job(tmp_path, bad_cube(label=z), epochs=1, batch=100_000), report=lambda _: None)
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
    remedy = _fails(tmp_path, bad_cube(), r"epoch 1, batch \d", learning_rate=1e38)
    assert "learning_rate" in remedy


def test_images_below_the_preset_s_size_and_unknown_definitions_are_refused(tmp_path, cube):
    _fails(tmp_path, cube, "at least 32 pixels", preset="menko", overrides={})
    _fails(tmp_path, cube, "no definition of metrics 'mine'", definition="mine")
