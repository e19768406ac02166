"""A run of signals: what its file may say, what its units are made from, and what it needs."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.checks import check
from pipeline.estimate import Needs, bytes_per_row, memory_needed_gib, needs_of, price_list
from pipeline.pulling import waveform_shares
from pipeline.sources.sample_sql import read_sample_sql
from pipeline.stores.cube import CubeSpec, objects_digest
from pipeline.stores.rows import RowsSpec
from pipeline.units import plan_unit, rows_unit
from schemas.config import RunFile
from schemas.errors import PlanError, RunFileError, SkymillError
from schemas.imaging import EMRI_COLUMNS
from schemas.records import Receipt
from schemas.runfile import check_run_file

COLUMNS = ", ".join(f"e.{name}" for name in EMRI_COLUMNS)
SQL = f"SELECT e.id, e.ra, e.dec, e.signal, {COLUMNS} FROM dbo.fEmri(%d, 10) AS e"
SAMPLES = {
    "training": {"sql": SQL % 0, "key": "id"},
    "group4": {"sql": SQL % 4, "key": "id", "holdout": True},
}
DATA = {
    "schema": 1,
    "name": "a",
    "samples": SAMPLES,
    "images": {"source": "emri"},
    "cube": {"rows_per_chunk": 1, "rows_per_block": 8},
    "model": {"preset": "emri"},
    "target": {"column": "signal", "definition": "detection"},
    "training": {"sample": "training"},
}


def a_run(**changes: object) -> RunFile:
    return check_run_file({**DATA, **changes})


def test_signals_have_the_presets_length_channels_and_unit_where_nothing_is_said():
    run = a_run()
    check(run)
    assert (run.images.shape, run.images.bands, run.images.unit) == ((262_144,), ("I", "II"), "sigma")
    assert (run.images.dtype, run.cube.dtype, run.images.scale_arcsec) == ("float32", "float32", 0.0)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ({"pixels": 100_000}, "expected a power of two from 4,096 to 262,144"),
        ({"pixels": 2**19}, "expected a power of two"),
        ({"bands": ["II", "I"]}, "expected the channels ['I', 'II'], found ['II', 'I']"),
        ({"url": "http://here"}, "no server is asked"),
    ],
)
def test_other_signals_than_the_source_computes_are_refused(images, words):
    with pytest.raises(RunFileError) as caught:
        a_run(images={"source": "emri", **images})
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": {"source": "emri", "pixels": 4096}}, "pixels: expected 262144, found 4096"),
        ({"target": {"column": "signal", "definition": "skymill"}}, "target.definition"),
        (
            {"target": {"column": "snr", "definition": "detection"}},
            "'snr' is what images.source = 'emri' needs",
        ),
        (
            {"samples": {"training": {"sql": (SQL % 0).replace(", e.spin", ""), "key": "id"}}},
            "the SELECT lacks spin",
        ),
    ],
)
def test_what_does_not_suit_the_preset_or_the_waveforms_is_told_when_a_run_is_planned(changes, words):
    with pytest.raises(SkymillError) as caught:
        check(a_run(**changes))
    assert words in caught.value.message


def test_the_columns_a_sample_lacks_are_told_with_where_they_are():
    with pytest.raises(PlanError) as caught:
        check(
            a_run(
                samples={"training": {"sql": "SELECT id, ra, dec, signal FROM dbo.fEmri(0, 5)", "key": "id"}}
            )
        )
    assert "images.source = 'emri' needs the columns mass_solar" in caught.value.message
    assert "dbo.fEmri" in caught.value.remedy


def test_a_row_takes_two_mebibytes_and_no_request():
    run = a_run()
    assert bytes_per_row(run) == 2 * 2**20
    assert memory_needed_gib(run) == pytest.approx(1.2 + 3 * 8 * 2 / 1024)
    plan = Receipt(20, 0, 0, "x", facts={"wanted": 20, "partitions": [{}]})
    needs = needs_of(run, {"training": plan, "group4": plan})
    assert needs.requests == 4 and needs.disk_gib == pytest.approx(40 * 2 / 1024, rel=0.01)


def test_signals_take_time_by_waveform_and_samples_and_noise_takes_none():
    run = a_run(cluster={"workers": 4})

    def needs(run: RunFile, **waveforms: float) -> Needs:
        plan = Receipt(1000, 0, 0, "x", facts={"wanted": 1000, "partitions": [{}], "waveforms": waveforms})
        return needs_of(run, {"training": plan, "group4": plan})

    mixed = needs(run, AK=0.25, AAK=0.5)
    assert mixed.computing_h == pytest.approx(2000 * (0.25 * 0.24 + 0.5 * 5.5) / 3600)
    assert "1.6 CPU hours to compute, 0.39 h on 4 threads" in price_list(run, mixed)
    assert needs(run).computing_h == 0 and "signals" not in price_list(run, needs(run))
    short = run.model_copy(update={"images": run.images.model_copy(update={"pixels": 4096})})
    assert needs(short, AAK=1.0).computing_h == pytest.approx(needs(run, AAK=1.0).computing_h / 64)
    uncounted = Receipt(1000, 0, 0, "x", facts={"wanted": 1000, "partitions": [{}]})
    assert needs_of(run, {"training": uncounted}).computing_h == pytest.approx(1000 * 0.24 / 3600)


def test_rows_are_counted_by_the_waveform_of_their_signal():
    class Server:
        row_cap = 10

        def query(self, sql: str, columns: Sequence[str]) -> pa.Table:
            self.sql = sql
            return pa.table({"waveform": [None, 0.0, 1.0], "n": [5, 3, 2]}).rename_columns(list(columns))

    server = Server()
    sample = read_sample_sql((SQL % 3).replace("e.waveform", "1 - e.kind AS waveform"), key="id")
    assert waveform_shares(server, sample) == {"AK": 0.3, "AAK": 0.2}
    assert server.sql == (
        "SELECT 1 - e.kind AS waveform, COUNT(*) AS n FROM dbo.FEMRI(3, 10) AS e GROUP BY 1 - e.kind"
    )


def test_a_holdout_is_all_test_and_makes_other_rows_but_no_other_plan():
    run, plain = a_run(), a_run(samples={**SAMPLES, "group4": {**SAMPLES["group4"], "holdout": False}})
    spec = RowsSpec.of(run, "group4", limit=None)
    assert (spec.train, spec.validation, spec.calibration) == (0, 0, 0)
    assert RowsSpec.of(run, "training", limit=None).train == 0.7
    assert plan_unit(run, "group4") == plan_unit(plain, "group4")
    assert rows_unit(run, "group4", {}) != rows_unit(plain, "group4", {})
    with pytest.raises(RunFileError, match="cannot be a holdout"):
        a_run(samples={"training": {**SAMPLES["training"], "holdout": True}})


def test_a_cube_is_known_by_the_parameters_of_its_signals(tmp_path: Path):
    spec = CubeSpec.of(a_run(), "training")
    names = ("id", "ra", "dec", *(f"feature_{name}" for name in EMRI_COLUMNS), "feature_extra")
    rows = {name: pa.array([1.0, None]) if name.startswith("f") else pa.array([1, 2]) for name in names}

    def digest(spec: CubeSpec, **changes: pa.Array) -> str:
        pq.write_table(pa.table({**rows, **changes}), tmp_path / "rows.parquet")
        return objects_digest(tmp_path / "rows.parquet", spec)

    other = pa.array([1.5, None])
    jpegs = CubeSpec("a", 8, 0.4, ("i", "r", "g"), 64, 16, 17, "u", "z")
    assert digest(spec, feature_spin=other) != digest(spec) == digest(spec, feature_extra=other)
    assert digest(jpegs, feature_spin=other) == digest(jpegs) != digest(spec)
