"""Looking at a run while another driver trains: the status's lines, the page so far, and what begins anew."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import training
from pipeline.cli import main
from pipeline.ledger import Ledger
from pipeline.mill import Mill
from pipeline.view import Lines
from schemas.records import Receipt, Unit
from schemas.runfile import load_run_file

RUN_FILE = """
schema = 1
name = "demo"
output = "{output}"
samples.spectro.sql = "SELECT specobjid, ra, dec, z FROM SpecObj"
database.dsn = "{dsn}"
"""
START = {"event": "start", "members": 2, "generation": 1, "epochs": 9, "batches": 40, "history": []}
EPOCHS = [{"event": "epoch", "epoch": e, "loss": 1.0 / e, "val_loss": 2.0 / e} for e in (1, 2, 4)]
STEP = {"event": "step", "epoch": 5, "batch": 7, "batches": 40, "loss": 0.125, "images_per_s": 99.0}


@pytest.fixture
def run_file(database_dsn: str, tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(RUN_FILE.format(output=tmp_path, dsn=database_dsn))
    return path


@pytest.fixture
def mill(database_dsn: str, run_file: Path) -> Iterator[Mill]:
    """A driver that has the run, and is at its training."""
    with Ledger.open(database_dsn) as ledger:
        ledger.open_run("demo", {}, provenance={}, seed=1)
        facts = {"duplicates": 0, "ok": 5}
        keep(ledger, Unit("rows", "spectro", "i"), Receipt(5, 0, 0.0, "r", facts=facts))
        tried = {"trial": {"head.bins": 90}, "val_loss": 0.5, "best_epoch": 1, "epochs": 1}
        keep(ledger, Unit("search", "trial/000", "i"), Receipt(5, 0, 0.0, "t", facts=tried))
        ledger.todo([Unit("train", "model", "i")])
        yield Mill(load_run_file(run_file, environ={}), dsn=database_dsn, ledger=ledger, view=Lines())


def keep(ledger: Ledger, unit: Unit, receipt: Receipt) -> None:
    ledger.todo([unit])
    ledger.accept(unit, ledger.begin(unit), receipt)


def say(folder: Path, *events: dict[str, Any], age_s: float = 0.0) -> Path:
    """Write what a trainer says below a checkpoint's folder, as one does it."""
    place = folder / "generation-0001"
    place.mkdir(parents=True)
    job = {"job": {"provenance": {"unit": "train model"}}}
    (place / "job-0.json").write_text(json.dumps(job))
    lines = [json.dumps({"time": 0.0, **event}) + "\n" for event in events]
    (place / "progress-0.jsonl").write_text("".join(lines))
    os.utime(folder, (1e9 - age_s, 1e9 - age_s))
    return folder


def test_status_shows_the_training_and_the_trials_while_another_driver_is_at_work(
    mill: Mill, run_file: Path, capsys: pytest.CaptureFixture[str]
):
    say(mill.folder / "training" / "abc", START, *EPOCHS, STEP)
    assert main(["status", str(run_file)]) == 0
    out = capsys.readouterr().out
    assert "search    1/1 units" in out and "trial     000: head.bins 90: val_loss 0.5 in epoch 1 of 1" in out
    assert "train model: epoch 5/9, batch 7/40, loss 0.125, val_loss 0.5, 99 images/s, 2 trainers" in out
    assert "val_loss █▃▁ 2 to 0.5, lowest 0.5 in epoch 4" in out


def test_a_stage_that_a_run_does_without_is_not_listed(
    mill: Mill, run_file: Path, capsys: pytest.CaptureFixture[str]
):
    mill.ledger.drop_missing("search", [])
    assert main(["status", str(run_file)]) == 0
    assert "search" not in capsys.readouterr().out


def test_the_report_of_a_run_under_way_is_a_page_of_what_there_is(
    mill: Mill, run_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pipeline.ledger.LOCK_PATIENCE_S", 0.0)
    say(mill.folder / "training" / "abc", START, *EPOCHS, STEP)
    assert main(["report", str(run_file)]) == 0
    assert "another driver works on the run demo" in (out := capsys.readouterr().out)
    page = (mill.folder / "report-so-far.html").read_text(encoding="utf-8")
    assert str(mill.folder / "report-so-far.html") in out
    assert "This run is not finished" in page and "train model: epoch 5/9" in page
    assert 'id="training-figure_1"' in page and "3 epochs." in page
    assert "trial/000 (chosen)" in page


def wanted(*digests: str) -> list[Unit]:
    return [Unit("train", f"model/{i}", d, {"weights": d}) for i, d in enumerate(digests)]


def test_a_training_that_begins_anew_is_told_once_and_what_is_older_makes_room(
    mill: Mill, capsys: pytest.CaptureFixture[str]
):
    home = mill.folder / "training"
    for name, age_s in (("older", 50.0), ("newer", 5.0)):
        say(home / name, START, STEP, age_s=age_s)
    training._look_at_others(mill, home, wanted("now"))
    out = capsys.readouterr().out
    assert "begins anew" in out and str(home / "newer") in out
    assert [path.name for path in home.iterdir()] == ["newer"]
    say(home / "now", START)
    training._look_at_others(mill, home, wanted("now"))
    assert "begins anew" not in capsys.readouterr().out, "it was told when it began"


def test_a_training_that_had_ended_is_not_told_to_begin_anew(mill: Mill, capsys: pytest.CaptureFixture[str]):
    home = mill.folder / "training"
    say(home / "before", START, {"event": "end"})
    training._look_at_others(mill, home, wanted("now"))
    assert "begins anew" not in capsys.readouterr().out
    assert (home / "before").exists(), "it stays until the new one has ended"
