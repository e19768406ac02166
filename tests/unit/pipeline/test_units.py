import itertools

from hypothesis import given
from hypothesis import strategies as st

from pipeline.units import fetch_units, infer_units, plan_unit, rows_unit, train_unit
from schemas.config import RunFile
from schemas.records import Receipt, blocks_of

DATA = {
    "schema": 1,
    "name": "a",
    "samples": {"spectro": {"sql": "SELECT specobjid, ra, dec, z FROM SpecObj"}},
}


def run_file(**changes: object) -> RunFile:
    return RunFile.model_validate({**DATA, **changes})


def receipt(digest: str, rows: int = 10) -> Receipt:
    return Receipt(rows=rows, bytes=0, seconds=0.0, digest=digest)


@given(rows=st.integers(1, 20_000), rows_per_block=st.integers(10, 5_000))
def test_blocks_cover_every_row_once_and_in_order(rows: int, rows_per_block: int):
    blocks = blocks_of("s", rows, rows_per_block=rows_per_block)
    assert [block.start for block in blocks] == list(range(0, rows, rows_per_block))
    assert sum(block.rows for block in blocks) == rows
    assert all(a.stop == b.start for a, b in itertools.pairwise(blocks))


def test_politeness_cluster_and_paths_are_no_inputs():
    plain = plan_unit(run_file(), "spectro")
    for change in ({"politeness": {"connections": 2}}, {"cluster": {"workers": 9}}, {"output": "elsewhere"}):
        assert plan_unit(run_file(**change), "spectro").inputs == plain.inputs
    assert plan_unit(run_file(source={"release": 16}), "spectro").inputs != plain.inputs


def test_another_geometry_seed_or_split_makes_another_cube():
    plain = rows_unit(run_file(), "spectro", {"spectro/0": receipt("x")})
    for change in (
        {"images": {"pixels": 32}},
        {"seed": 3},
        {"split": {"train": 0.5}},
        {"cube": {"rows_per_block": 64}},
    ):
        assert rows_unit(run_file(**change), "spectro", {"spectro/0": receipt("x")}).inputs != plain.inputs
    assert rows_unit(run_file(), "spectro", {"spectro/0": receipt("y")}).inputs != plain.inputs


def test_only_the_block_that_changed_is_predicted_again():
    units = fetch_units(run_file(cube={"rows_per_block": 64}), "spectro", receipt("rows", rows=200))
    before = {unit.key: receipt(f"content {unit.key}") for unit in units}
    after = {**before, units[1].key: receipt("other content")}
    model = receipt("model")
    changed = [
        a.key
        for a, b in zip(
            infer_units(units, before, trained=model), infer_units(units, after, trained=model), strict=True
        )
        if a.inputs != b.inputs
    ]
    assert changed == [units[1].key]


def test_training_depends_on_its_own_sample_only():
    fetched = {"spectro/00000": receipt("a"), "targets/00000": receipt("b")}
    plain = train_unit(run_file(), fetched, preset={"name": "light"})
    assert (
        train_unit(run_file(), {**fetched, "targets/00000": receipt("c")}, preset={"name": "light"}) == plain
    )
    assert (
        train_unit(run_file(), {**fetched, "spectro/00000": receipt("c")}, preset={"name": "light"}) != plain
    )
    assert train_unit(run_file(), fetched, preset={"name": "menko"}) != plain
