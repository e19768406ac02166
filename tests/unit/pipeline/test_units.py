import itertools

from hypothesis import given
from hypothesis import strategies as st

from pipeline.provenance import of_rows
from pipeline.units import (
    calibrate_unit,
    ensemble_digest,
    fetch_units,
    infer_units,
    plan_unit,
    report_unit,
    rows_unit,
    search_units,
    train_units,
)
from schemas.config import RunFile
from schemas.digests import digest_of
from schemas.records import Receipt, Unit, blocks_of

DATA = {
    "schema": 1,
    "name": "a",
    "samples": {"spectro": {"sql": "SELECT specobjid, ra, dec, z FROM SpecObj"}},
}


def run_file(**changes: object) -> RunFile:
    return RunFile.model_validate({**DATA, **changes})


def receipt(digest: str, rows: int = 10) -> Receipt:
    return Receipt(rows=rows, bytes=0, seconds=0.0, digest=digest, facts={"objects": f"of {digest}"})


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


def test_scales_of_their_own_and_the_mock_survey_are_inputs_where_they_are_asked_for():
    plain = run_file()
    off = run_file(images={"asked_pixels": None, "scale_column": ""}, sandbox={"csst_galaxies": 6000})
    rows = receipt("rows", 10)
    assert fetch_units(off, "spectro", rows)[0].inputs == fetch_units(plain, "spectro", rows)[0].inputs
    assert plan_unit(off, "spectro").inputs == plan_unit(plain, "spectro").inputs
    for images in ({"asked_pixels": 128}, {"scale_column": "petroR50_r"}):
        asked = run_file(images=images)
        assert fetch_units(asked, "spectro", rows)[0].inputs != fetch_units(plain, "spectro", rows)[0].inputs
        assert plan_unit(asked, "spectro").inputs == plan_unit(plain, "spectro").inputs
    for sandbox in ({"csst_galaxies": 7}, {"stamps": "/stamps"}):
        assert plan_unit(run_file(sandbox=sandbox), "spectro").inputs != plan_unit(plain, "spectro").inputs


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


ROWS = {"spectro": receipt("rows", rows=200)}
BLOCKS = fetch_units(run_file(cube={"rows_per_block": 64}), "spectro", ROWS["spectro"])
FETCHED = {unit.key: receipt(f"content {unit.key}") for unit in BLOCKS}


def inferred(model: dict[str, object] | None = None, **changes: dict[str, Receipt]) -> dict[str, str]:
    given = {"rows": ROWS, "fetched": FETCHED, "trained": {"model": receipt("model")}, **changes}
    return {unit.key: unit.inputs for unit in infer_units(run_file(model=model or {}), BLOCKS, **given)}


def trained(preset: dict[str, object] = {"name": "light"}, **changes: object) -> list[Unit]:  # noqa: B006
    return train_units(run_file(**changes), ROWS["spectro"], FETCHED, preset=preset)


def test_only_the_block_that_changed_is_predicted_again():
    after = inferred(fetched={**FETCHED, BLOCKS[1].key: receipt("other content")})
    assert [key for key, inputs in inferred().items() if after[key] != inputs] == [BLOCKS[1].key]


def test_other_labels_or_another_split_of_the_same_pixels_are_learnt_from_and_published_anew():
    rows = {"spectro": receipt("other labels", rows=200)}
    assert not set(inferred(rows=rows).values()) & set(inferred().values())
    (other,) = train_units(run_file(), rows["spectro"], FETCHED, preset={"name": "light"})
    assert other.inputs != trained()[0].inputs


def test_another_source_sky_or_geometry_is_fetched_anew_and_another_limit_of_size_is_not():
    def inputs(**changes: object) -> list[str]:
        return [unit.inputs for unit in fetch_units(run_file(**changes), "spectro", receipt("rows"))]

    for change in ({"source": {"release": 16}}, {"sandbox": {"sky": "/sky"}}, {"images": {"pixels": 32}}):
        assert inputs(**change) != inputs()
    assert inputs(images={"max_bytes": 1000}, politeness={"connections": 2}) == inputs()


def test_training_depends_on_its_own_sample_only():
    fetched = {"spectro/00000": receipt("a"), "targets/00000": receipt("b")}

    def inputs(preset: str = "light", **changes: Receipt) -> str:
        blocks = {**fetched, **{key.replace("_", "/"): value for key, value in changes.items()}}
        (unit,) = train_units(run_file(), ROWS["spectro"], blocks, preset={"name": preset})
        return unit.inputs

    assert inputs(targets_00000=receipt("c")) == inputs()
    assert inputs(spectro_00000=receipt("c")) != inputs()
    assert inputs("menko") != inputs()


def test_more_workers_do_not_train_again_and_another_definition_measures_the_same_weights():
    (plain,) = trained()
    assert (plain.key, plain.arguments["seed"]) == ("model", 137)
    assert trained(cluster={"workers": 9, "threads": 3}) == [plain]
    (measured,) = trained(target={"definition": "menko"})
    assert measured.inputs != plain.inputs
    assert measured.arguments == plain.arguments
    assert trained(cube={"rows_per_block": 64})[0].arguments != plain.arguments


def test_how_a_training_is_watched_decides_no_weight_and_what_it_learns_with_does():
    (plain,) = trained()
    watched = {"checkpoint_s": 1, "deadline_s": 50, "tensorboard": True}
    assert trained(training=watched) == [plain]
    for change in (
        {"training": {"weight_column": "w"}},
        {"training": {"batch": 7}},
        {"model": {"backend": "jax"}},
        {"seed": 1},
    ):
        assert trained(**change)[0].arguments["weights"] != plain.arguments["weights"]


def test_the_members_of_an_ensemble_have_seeds_of_their_own_and_the_first_is_the_one_that_was_alone():
    several, (alone,) = trained(training={"ensemble": 3}), trained()
    assert [unit.key for unit in several] == ["model/00", "model/01", "model/02"]
    assert (several[0].inputs, several[0].arguments) == (alone.inputs, alone.arguments)
    assert len({unit.arguments["seed"] for unit in several}) == 3
    assert len({unit.inputs for unit in several}) == 3
    assert trained(training={"ensemble": 2}) == several[:2]
    assert trained(training={"ensemble": 2}, seed=9)[1].arguments["seed"] != several[1].arguments["seed"]


def test_predictions_depend_on_every_network_on_the_passes_and_on_the_engine():
    one = {"model": receipt("model")}
    two = {"model/00": receipt("model"), "model/01": receipt("other")}
    assert ensemble_digest(one) == "model"
    assert ensemble_digest(two) not in ("model", "other")
    digests = [inferred(), inferred(trained=two), inferred({"passes": 5}), inferred({"engine": "tensorflow"})]
    digests.append(inferred(trained={**two, "model/01": receipt("third")}))
    assert len({found["spectro/00000"] for found in digests}) == len(digests)


def test_a_trial_depends_on_its_values_and_epochs_and_not_on_the_trials_after_it():
    def tried(*names: str, epochs: int = 5, **changes: object) -> list[Unit]:
        presets = [{"name": name} for name in names]
        return search_units(run_file(**changes), ROWS["spectro"], FETCHED, presets=presets, epochs=epochs)

    assert [unit.key for unit in tried("a", "b")] == ["trial/000", "trial/001"]
    assert tried("a", "b", "c")[:2] == tried("a", "b")
    (plain,) = tried("a")
    for other in (tried("b"), tried("a", epochs=6), tried("a", training={"batch": 7})):
        assert (other[0].inputs, other[0].arguments) != (plain.inputs, plain.arguments)
        assert other[0].inputs != plain.inputs
    assert tried("a", training={"epochs": 70, "ensemble": 4}) == [plain]


EARLIER = {
    "plan": "b9a97e766560796e18ff8378ded65123",
    "rows": "0e63306fbe3f14cbd897d73315bf126f",
    "fetch": "39432ad5bb14830768026dc74885f0df",
    "train": "483755afa7b5aacd4762ffb87c1f78a1",
    "infer": "de9f34e303c26dc3f3b54969c9f53f7d",
    "report": "3466be9bd1fea4766b3c3d15378e5d01",
    "provenance": "50ecea18a1b090760eb0bb81df336f47",
}
"""What version 0.1.0 made of the same run file."""


def test_a_run_of_an_earlier_version_finds_its_units_again():
    run, made = run_file(), {"model": Receipt(10, 0, 0.0, "m", facts={"code": "1", "packages": {}})}
    rows = Receipt(10, 0, 0.0, "r", facts={"objects": "o"})
    blocks = fetch_units(run, "spectro", rows)
    fetched = {blocks[0].key: receipt("f")}
    found = {
        "plan": plan_unit(run, "spectro").inputs,
        "rows": rows_unit(run, "spectro", {"spectro/0": receipt("x")}).inputs,
        "fetch": blocks[0].inputs,
        "train": train_units(run, rows, fetched, preset={"name": "p"})[0].inputs,
        "infer": infer_units(run, blocks, {"spectro": rows}, fetched, trained=made)[0].inputs,
        "report": report_unit(receipt("p"), trained=made).inputs,
        "provenance": digest_of(of_rows(run, made)),
    }
    assert found == EARLIER


def calibration(**changes: object) -> str:
    made = {"trained": {"model": receipt("m")}, "fetched": {"spectro/00000": receipt("f")}, "kind": "pit"}
    run = {"split": {"calibration": 0.1}, "recalibration": {"kind": "auto"}}
    keywords = {key: changes.pop(key, value) for key, value in made.items()}
    return calibrate_unit(run_file(**run | changes), receipt("r"), **keywords).inputs


def test_a_recalibration_depends_on_networks_pixels_passes_and_kind_and_predictions_on_it():
    found = [
        calibration(),
        calibration(kind="alpha"),
        calibration(trained={"model": receipt("n")}),
        calibration(fetched={"spectro/00000": receipt("g")}),
        calibration(model={"passes": 3}),
        calibration(recalibration={"kind": "auto", "rows": 50}),
    ]
    assert len(set(found)) == len(found)
    assert calibration(fetched={"spectro/00000": receipt("f"), "other/00000": receipt("x")}) == found[0]
    plain, mended, other = (
        infer_units(
            run_file(),
            fetch_units(run_file(), "spectro", receipt("r")),
            {"spectro": receipt("r")},
            {"spectro/00000": receipt("f")},
            trained={"model": receipt("m")},
            calibrated=calibrated,
        )[0].inputs
        for calibrated in ({}, {"calibration": receipt("c")}, {"calibration": receipt("d")})
    )
    assert len({plain, mended, other}) == 3


def test_a_calibration_part_makes_another_split_and_is_in_the_provenance():
    parts = {"spectro/0": receipt("x")}
    split = run_file(split={"calibration": 0.1})
    assert rows_unit(split, "spectro", parts).inputs != rows_unit(run_file(), "spectro", parts).inputs
    made = {"model": Receipt(1, 0, 0.0, "model", facts={"code": "1", "packages": {}})}
    said = dict.fromkeys(("kind", "applied", "why", "fitted", "rows", "ks", "p"), 1)
    told = of_rows(split, made, {"calibration": Receipt(9, 0, 0.0, "c", facts={**said, "coverage": []})})
    assert told["calibration"] == {"digest": "c", **said}
    assert of_rows(split, made)["run_file"]["split"]["calibration"] == 0.1


def test_provenance_keeps_what_shapes_the_rows_and_drops_where_they_lie():
    made = {"model": Receipt(1, 0, 0.0, "model", facts={"code": "1", "packages": {}})}

    def rows(**changes: object) -> dict[str, object]:
        return of_rows(run_file(**changes), made)

    assert rows(cube={"rows_per_block": 64}) != rows()
    assert rows(cube={"path": "/elsewhere"}, name="b", output="/x", cluster={"workers": 9}) == rows()
    assert rows(training={"checkpoint_s": 1}) == rows()
    more = {"model/00": made["model"], "model/01": receipt("other")}
    found = of_rows(run_file(), more)
    assert found["models"] == {"model/00": "model", "model/01": "other"}
    assert found["model"] == ensemble_digest(more)
