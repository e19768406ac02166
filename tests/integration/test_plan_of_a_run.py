"""A capacity plan of a run that has a ledger: its own rates and counts are taken."""

import argparse
from pathlib import Path

import pytest

from pipeline.capacity import plan
from pipeline.ledger import Ledger
from pipeline.rates import seen
from schemas.config import RunFile
from schemas.records import Receipt, Unit
from schemas.runfile import load_run_file

RUN = """
schema = 1
name = "seen"
[samples.spectro]
sql = "SELECT specobjid, ra, dec, z FROM SpecObj"
[samples.targets]
sql = "SELECT objid, ra, dec FROM PhotoObj"
[database]
dsn = "{dsn}"
"""
FETCHED = {"decode_s": 3.0, "write_s": 1.0, "requests": 100, "network_s": 20.0}
TRAINED = {"rows": {"train": 400, "validation": 100}, "epochs": 5}


def receipts() -> dict[tuple[str, str], Receipt]:
    def counted(rows: int) -> Receipt:
        return Receipt(rows, 0, 1.0, "p", facts={"wanted": rows, "partitions": [{}]})

    return {
        ("plan", "spectro"): counted(500),
        ("plan", "targets"): counted(1500),
        ("fetch", "spectro/00000"): Receipt(200, 9, 30.0, "f", facts=FETCHED),
        ("fetch", "spectro/00001"): Receipt(200, 9, 30.0, "g", facts=FETCHED),
        ("train", "network"): Receipt(500, 12_345, 100.0, "t", facts=TRAINED),
        ("infer", "spectro/00000"): Receipt(500, 100_000, 2.0, "i"),
    }


@pytest.fixture
def run_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_dsn: str) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "run.toml"
    path.write_text(RUN.format(dsn=database_dsn))
    return path


def keep(run_file: RunFile) -> None:
    (run_file.folder / "logs").mkdir(parents=True)
    with Ledger.open(run_file.database.dsn) as ledger:
        ledger.open_run(run_file.name, {}, provenance={}, seed=1)
        for (stage, key), receipt in receipts().items():
            unit = Unit(stage, key, "in")
            ledger.todo([unit])
            assert ledger.accept(unit, ledger.begin(unit), receipt)


def test_a_runs_own_rates_and_counts_are_taken(run_path: Path):
    run_file = load_run_file(run_path)
    keep(run_file)
    found = seen(run_file)
    assert found.counts == {"spectro": 500, "targets": 1500}
    assert found.rates["fetch"].per_s == pytest.approx(400 / 8)  # without the waiting for the server
    assert found.latency_s == pytest.approx(40 / 200)
    assert found.rates["train"].per_s == pytest.approx(400 * 5 / 100 / 2)  # two workers of one thread
    assert found.rates["infer"].per_s == pytest.approx(250)
    assert found.prediction_bytes == pytest.approx(200)
    assert found.bundle_bytes == 12_345
    assert "publish" not in found.rates


def test_a_plan_says_which_rates_are_whose(run_path: Path, capsys: pytest.CaptureFixture[str]):
    run_file = load_run_file(run_path)
    keep(run_file)
    words = argparse.Namespace(run_file=str(run_path), words=[], objects=100_500.0, site="local", nodes=2)
    assert plan(words) == 0
    text = capsys.readouterr().out
    assert "(500 spectro, 100,000 targets)" in text
    assert "fetch 50, train 10, infer 250 rows/s a thread (its own receipts)" in text
    assert "publish 162,000 rows/s a thread (docs/benchmarks.md)" in text


def test_a_run_that_never_began_has_shown_nothing_and_asks_no_database(run_path: Path):
    unborn = load_run_file(run_path, words=["database.dsn=host=127.0.0.1 port=1"])
    assert seen(unborn).counts == {}
    assert seen(unborn).words == ""


def test_a_database_that_does_not_answer_costs_a_plan_only_the_runs_own_rates(run_path: Path):
    lost = load_run_file(run_path, words=["database.dsn=host=127.0.0.1 port=1"])
    (lost.folder / "logs").mkdir(parents=True)
    assert "the run's own rates are not known" in seen(lost).words
