import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.sample_sql import read_sample_sql
from schemas.errors import PlanError

SEED = (
    "SELECT specobjid, ra, dec, z, zErr, velDisp, velDispErr FROM SpecObj WHERE class='Galaxy' "
    "AND specobjid < 9223372036854775807 AND zOffset=0 AND zWarning=0 AND zErr>0 AND z>zErr*10000 "
    "AND velDispErr>0 AND velDisp>velDispErr*10"
)
JOINED = (
    "SELECT s.specobjid, p.ra, p.dec FROM SpecObj AS s JOIN PhotoObj AS p ON s.bestObjID = p.objID "
    "WHERE s.z > 0 OR p.r < 17"
)


@pytest.mark.parametrize("sql", [SEED, SEED.replace("AND specobjid < 9223372036854775807 ", "")])
def test_the_seed_query_goes_through_as_written(sql):
    sample = read_sample_sql(sql, key="specobjid")
    assert sample.columns == ("specobjid", "ra", "dec", "z", "zErr", "velDisp", "velDispErr")
    assert sample.partition_sql("").replace(" ", "") == sql.replace(" ", "")


def test_names_are_qualified_where_tables_are_joined():
    sample = read_sample_sql(JOINED, key="SPECOBJID")
    assert sample.count_sql("plate").startswith("SELECT s.plate, COUNT(*) AS n FROM SpecObj AS s JOIN")
    assert sample.count_sql("plate").endswith("GROUP BY s.plate")
    assert sample.count_sql("p.run").endswith("GROUP BY p.run")
    assert sample.range_sql().startswith(
        "SELECT COUNT(*) AS n, MIN(s.specobjid) AS low, MAX(s.specobjid) AS high"
    )


def test_an_or_in_the_where_is_bracketed_when_it_is_narrowed():
    sample = read_sample_sql(JOINED, key="specobjid")
    narrowed = sample.partition_sql(sample.range_predicate(1, 2))
    assert narrowed.endswith("WHERE (s.z > 0 OR p.r < 17) AND (s.specobjid BETWEEN 1 AND 2)")


@pytest.fixture(scope="module")
def seed_sample():
    return read_sample_sql(SEED, key="specobjid")


@given(low=st.integers(0, 2**64 - 1), high=st.integers(0, 2**64 - 1))
def test_keys_past_2_to_the_63_stay_exact(seed_sample, low, high):
    narrowed = seed_sample.partition_sql(seed_sample.range_predicate(low, high))
    assert f"BETWEEN {low} AND {high}" in narrowed


def test_top_is_a_limit_and_is_not_sent():
    sample = read_sample_sql("SELECT TOP 7 objid, ra, dec FROM PhotoObj -- bright", key="objid")
    assert sample.limit == 7
    assert sample.partition_sql("") == "SELECT objid, ra, dec FROM PhotoObj"


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT specobjid, ra, dec FROM SpecObj ORDER BY z", "ORDER BY"),
        ("SELECT DISTINCT specobjid, ra, dec FROM SpecObj", "DISTINCT"),
        ("SELECT specobjid, ra, dec FROM SpecObj GROUP BY specobjid", "GROUP BY"),
        ("SELECT specobjid, ra, dec FROM a UNION SELECT specobjid, ra, dec FROM b", "UNION"),
        ("WITH t AS (SELECT 1 AS a) SELECT specobjid, ra, dec FROM t", "WITH"),
        ("SELECT specobjid, ra, dec INTO mydb.x FROM SpecObj", "INTO"),
        ("SELECT TOP 5 PERCENT specobjid, ra, dec FROM SpecObj", "TOP"),
        ("SELECT * FROM SpecObj", r"\*"),
        ("SELECT specobjid, ra FROM SpecObj", "'dec'"),
        ("SELECT ra, dec, z FROM SpecObj", "'specobjid'"),
        ("SELECT specobjid, ra, dec, z * 2 FROM SpecObj", "no name"),
        ("SELECT specobjid, ra, dec, z, Z FROM SpecObj", "twice"),
        ("SELECT COUNT(*) AS specobjid, ra, dec FROM SpecObj", "aggregates|one row an object"),
        ("DROP TABLE SpecObj", "DROP"),
        ("SELECT specobjid, ra, dec FROM a; SELECT 1 AS b", "one SELECT"),
        ("SELECT specobjid, ra, dec FROM (", "cannot be read"),
    ],
)
def test_what_could_not_be_repeated_is_refused_with_a_remedy(sql, words):
    with pytest.raises(PlanError, match=words) as caught:
        read_sample_sql(sql, key="specobjid")
    assert caught.value.remedy


def test_a_query_too_long_for_the_server_is_seen_at_plan_time():
    ids = ", ".join(str(10**18 + k) for k in range(400))
    with pytest.raises(PlanError, match="characters"):
        read_sample_sql(f"SELECT specobjid, ra, dec FROM SpecObj WHERE specobjid IN ({ids})", key="specobjid")
