"""The sandbox's function of inspirals: rows that grow with what is asked for, and words as numbers."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline.sandbox.inspirals import inspirals
from pipeline.sandbox.tsql import SqlRejectedError, translate
from pipeline.sources.sample_sql import read_sample_sql
from schemas.imaging import EMRI_COLUMNS


@pytest.fixture(scope="module")
def training() -> Iterator[pa.Table]:
    yield inspirals(0, 3, seed=5)


def test_a_size_is_so_many_signals_and_as_much_noise(training: pa.Table):
    assert training.num_rows == 6 and pc.sum(training["signal"]).as_py() == 3
    assert set(EMRI_COLUMNS) | {"id", "ra", "dec", "population", "signal"} == set(training.column_names)
    assert not any(pa.types.is_string(field.type) for field in training.schema)
    signals = training.filter(pc.equal(training["signal"], 1))
    assert set(signals["waveform"].to_pylist()) == {0.0} and set(signals["cutoff"].to_pylist()) == {0.0}
    assert pc.min(signals["snr"]).as_py() >= 50


def test_noise_has_no_parameters_and_a_position(training: pa.Table):
    noise = training.filter(pc.equal(training["signal"], 0))
    assert set(noise["snr"].to_pylist()) == {0.0} and set(noise["waveform"].to_pylist()) == {None}
    assert noise["mass_solar"].null_count == len(noise) and noise["ra"].null_count == 0


def test_a_larger_size_begins_with_the_rows_of_a_smaller_one(training: pa.Table):
    assert inspirals(0, 2, seed=5).equals(training.slice(0, 4))
    assert inspirals(8, 3, seed=5).equals(inspirals(8, 250, seed=5).slice(0, 3))
    assert not inspirals(0, 2, seed=6).equals(training.slice(0, 4))


def test_populations_have_ids_of_their_own():
    group, noise = inspirals(3, 1, seed=5), inspirals(8, 2, seed=5)
    assert group["id"].to_pylist() == [3 * 10**9, 3 * 10**9 + 1]
    assert noise["id"].to_pylist() == [8 * 10**9, 8 * 10**9 + 1]
    assert 1.0 in group["waveform"].to_pylist()


@pytest.mark.parametrize("numbers", [(), (1,), (9, 1), (-1, 1), (0, 0), (0, 10**9), (0, 1, 2)])
def test_what_there_is_not_is_refused(numbers):
    with pytest.raises(SqlRejectedError, match="expected a population from 0 to 8 and a size from 1"):
        inspirals(*numbers, seed=5)


def test_a_call_is_read_from_the_table_of_its_answer():
    said = translate(
        "SELECT e.id FROM BestDR17.dbo.FEMRI(4, 20) AS e WHERE e.snr > 3", ["SpecObj"], functions=["fEmri"]
    )
    assert "FROM fEmri_4_20 AS e" in said
    with pytest.raises(SqlRejectedError, match=r"expected whole numbers in FEMRI\(0, x\)"):
        translate("SELECT id FROM fEmri(0, x)", [], functions=["fEmri"])
    with pytest.raises(SqlRejectedError, match="Invalid object name 'fOther_4'"):
        translate("SELECT id FROM fOther_4", ["SpecObj"], functions=["fEmri"])


def test_a_sample_of_a_call_can_be_counted_and_cut():
    sample = read_sample_sql("SELECT e.id, e.ra, e.dec FROM dbo.fEmri(0, 5) AS e", key="id")
    assert translate(sample.range_sql(), [], functions=["fEmri"]).endswith("FROM fEmri_0_5 AS e")
    narrowed = translate(sample.partition_sql("e.id BETWEEN 1 AND 2"), [], functions=["fEmri"])
    assert "FROM fEmri_0_5 AS e WHERE" in narrowed
