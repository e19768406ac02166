"""How far a training is, in words and curves, from what trainers write."""

import json
import math
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.progress import (
    CURVE_CHARS,
    Progress,
    curve_line,
    read_progress,
    sparkline,
    trainings_under_way,
)

START = {
    "event": "start",
    "generation": 2,
    "members": 3,
    "epochs": 24,
    "batches": 40,
    "resumed_from": 1,
    "resumed_batch": 5,
    "history": [{"epoch": 1, "loss": 0.5, "val_loss": 0.4}],
}
STEP = {"event": "step", "epoch": 2, "batch": 12, "batches": 40, "loss": 0.25, "images_per_s": 1234.5}
EPOCH = {"event": "epoch", "epoch": 2, "loss": 0.2, "val_loss": 0.3, "seconds": 3.0}
SAVED = {"event": "checkpoint", "step": 52, "seconds": 0.1}


def write(folder: Path, *events: dict[str, Any], generation: int = 1, unit: str = "train model") -> Path:
    place = folder / f"generation-{generation:04d}"
    place.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"time": 1000.0 + i, **event}) for i, event in enumerate(events)]
    (place / "progress-0.jsonl").write_text("\n".join(lines) + "\n")
    (place / "job-0.json").write_text(json.dumps({"job": {"provenance": {"unit": unit}}}))
    return folder


def follow(*events: dict[str, Any]) -> Progress:
    found = Progress(name="train model")
    for number, event in enumerate(events):
        found = found.follow({"time": 1000.0 + number, **event})
    return found


def test_the_line_says_all_of_the_newest_word():
    line = follow(START, STEP, SAVED).line(now=1012.0)
    for words in (
        "train model: ",
        "epoch 2/24",
        "batch 12/40",
        "loss 0.25",
        "val_loss 0.4",
        "1,234 images/s",
        "3 trainers, generation 2",
        "checkpoint 10 s old",
    ):
        assert words in line
    assert "last word" not in line
    assert "last word 998 s ago" in follow(START, STEP, SAVED).line(now=2000.0)


def test_a_training_that_has_not_said_a_word_is_starting():
    assert Progress(name="train model/01").words() == "model/01: starting"
    assert "no checkpoint yet" in Progress(name="x").line(now=0.0)


def test_a_resumed_training_goes_on_with_the_curve_it_had():
    found = follow(START, STEP, EPOCH)
    assert found.curve == [0.4, 0.3]
    assert "0.4 to 0.3, lowest 0.3 in epoch 2" in curve_line(found)
    assert curve_line(follow(STEP)) == ""
    assert not follow(START, EPOCH).ended and follow(START, {"event": "end"}).ended


@pytest.mark.parametrize(("values", "curve"), [([], ""), ([1.0, 1.0], "▁▁"), ([math.nan, 1, 8], "·▁█")])
def test_a_curve_bears_any_values(values: list[float], curve: str):
    assert sparkline(values) == curve


def test_a_long_curve_is_thinned_and_keeps_its_ends():
    curve = sparkline([float(1000 - i) for i in range(1000)])
    assert len(curve) == CURVE_CHARS
    assert (curve[0], curve[-1]) == ("█", "▁")


def test_the_newest_generation_counts_and_half_a_line_is_left_out(tmp_path: Path):
    write(tmp_path, {**START, "generation": 1}, {**STEP, "epoch": 9}, generation=9)
    write(tmp_path, START, STEP, generation=10)
    with (tmp_path / "generation-0010" / "progress-0.jsonl").open("a") as file:
        file.write('{"event": "ste')
    (tmp_path / "generation-0010" / "progress-1.jsonl").write_text('{"event": "end"}\n')
    (tmp_path / "checkpoint-0010-00000052.skt").touch()
    found = read_progress(tmp_path)
    assert found is not None
    assert (found.epoch, found.generation, found.ended, found.name) == (2, 10, False, "train model")
    assert math.isfinite(found.durable)
    assert read_progress(tmp_path / "elsewhere") is None


def test_only_trainings_that_have_not_ended_are_under_way(tmp_path: Path):
    write(tmp_path / "training" / "aa", START, unit="train model/01")
    write(tmp_path / "training" / "bb", START, {"event": "end"})
    write(tmp_path / "search" / "cc", START, STEP, unit="search trial/003")
    names = [progress.name for progress in trainings_under_way(tmp_path)]
    assert names == ["search trial/003", "train model/01"]


def test_what_vanishes_while_it_is_looked_at_is_no_fault(tmp_path: Path):
    """The driver of the run, and rank 0 of a training, remove what they need no more."""
    training, ended = tmp_path / "training" / "a", threading.Event()

    def keep_changing() -> None:
        while not ended.is_set():
            write(training, START, STEP)
            (training / "checkpoint-0001-00000052.skt").touch()
            shutil.rmtree(training if time.time_ns() % 2 else tmp_path / "training")

    thread = threading.Thread(target=keep_changing)
    thread.start()
    try:
        deadline = time.monotonic() + 1.0
        seen = {len(trainings_under_way(tmp_path)) for _ in iter(lambda: time.monotonic() < deadline, False)}
    finally:
        ended.set()
        thread.join()
    assert seen == {0, 1}


def test_bytes_that_are_no_text_do_not_hide_the_rest(tmp_path: Path):
    folder = write(tmp_path / "training" / "a", START, STEP)
    (folder / "generation-0001" / "job-0.json").write_bytes(b"\xff\xfe{")
    with (folder / "generation-0001" / "progress-0.jsonl").open("ab") as file:
        file.write(b"\xff\xfe\n")
    (found,) = trainings_under_way(tmp_path)
    assert (found.name, found.batch) == ("a", 12)
