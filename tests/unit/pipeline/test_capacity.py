"""Hours, node-hours, disk and requests of a plan, against sums done by hand."""

import argparse
import math
from pathlib import Path
from typing import Any

import pytest

from model.presets import load_preset
from pipeline.capacity import ASSUMED, lines, plan, shares
from pipeline.efficiency import Efficiency, efficiency_of, read_efficiency
from pipeline.forecast import Forecast, Step, epochs_of, span
from pipeline.rates import NOTHING, Rate, Seen, rate_of, train_rate
from pipeline.scale.measuring import Measurement, write_csv
from pipeline.site_fit import pool_faults
from schemas.config import RunFile
from schemas.errors import PlanError, RunFileError
from schemas.records import Receipt
from schemas.runfile import load_run_file
from schemas.site import Site

SQL = "SELECT specobjid, ra, dec, z FROM SpecObj"


def run_file(**changes: Any) -> RunFile:
    data = {
        "schema": 1,
        "name": "a",
        "samples": {"spectro": {"sql": SQL, "rows_per_partition": 10_000}},
        "politeness": {"requests_per_second": 20, "connections": 8, "queries_per_minute": 60},
        "split": {"train": 0.5, "validation": 0.25},
        "training": {"epochs": 10},
    }
    return RunFile.model_validate(data | changes)


def site(**pools: dict[str, Any]) -> Site:
    return Site.model_validate({"name": "lab", "kind": "slurm", "warn_s": 120, "pools": pools or {"cpu": {}}})


def own(**rates: float) -> Seen:
    return Seen({}, 0, {stage: Rate(rate, "its own receipts") for stage, rate in rates.items()})


def forecast(
    objects: int = 360_000, nodes: int = 1, seen: Seen = NOTHING, chosen: Site | None = None, **changes: Any
) -> Forecast:
    place = chosen or site()
    return Forecast(run_file(**changes), place, place.nodes_of(nodes), {"spectro": objects}, seen)


def step(plan: Forecast, stage: str) -> Step:
    return next(each for each in plan.steps if each.stage == stage)


def test_fetch_is_bounded_by_politeness_whatever_the_nodes():
    for nodes in (1, 100):
        found = step(forecast(nodes=nodes), "fetch")
        assert found.seconds == pytest.approx(5 * 3600)  # 360,000 at 20/s
        assert "politeness.requests_per_second" in found.bound
    assert any(
        "bounded by politeness, not by nodes" in line
        for line in lines(forecast(), Efficiency(), is_site=True)
    )


def test_fetch_is_bounded_by_connections_where_the_server_is_far():
    far = Seen({}, 0, {}, latency_s=2.0)  # 8 connections, 2 s each: 4/s
    found = step(forecast(seen=far), "fetch")
    assert found.seconds == pytest.approx(90_000)
    assert "politeness.connections" in found.bound


def test_fetch_is_bounded_by_threads_where_the_server_allows_more():
    many = {"politeness": {"requests_per_second": 1e6, "connections": 1000}}
    chosen = site(cpu={"threads": 4, "cores": 4})
    found = step(forecast(nodes=3, seen=own(fetch=50.0), chosen=chosen, **many), "fetch")
    assert found.seconds == pytest.approx(360_000 / (50 * 4 * 3))
    assert "12 threads" in found.bound


@pytest.mark.parametrize("source", ["none", "emri"])
def test_a_fetch_that_asks_no_server_is_bounded_by_threads_alone(source: str):
    asking = {"politeness": {"requests_per_second": 0.001}, "cube": {"rows_per_block": 64}}
    found = forecast(images={"source": source}, **asking)
    rows_per_s = step(found, "fetch").rate.per_s
    assert step(found, "fetch").bound == "1 threads of the workers"
    assert step(found, "fetch").seconds == pytest.approx(360_000 / rows_per_s)
    assert not pool_faults(run_file(images={"source": source}, **asking), site(), {"cpu": 1})
    assert (found.disk_bytes["cube"] == 0) == (source == "none")
    assert (rows_per_s < 1e5) and pool_faults(run_file(**asking), site(), {"cpu": 1})


def test_only_pools_with_the_stage_work_on_it():
    chosen = site(
        dtn={"stages": ["pull", "fetch"], "nodes": 1, "threads": 2, "cores": 2},
        cpu={"stages": ["train", "infer"], "threads": 3, "cores": 3},
    )
    found = forecast(nodes=5, chosen=chosen, seen=own(train=100.0, infer=200.0))
    assert found.threads("fetch") == 2
    assert found.threads("infer") == 15
    assert step(found, "infer").seconds == pytest.approx(360_000 / (200 * 15))
    assert step(found, "train").seconds == pytest.approx(180_000 * 10 / (100 * 15))


def test_a_half_efficient_cluster_takes_twice_as_long():
    place = site()
    half = Forecast(
        run_file(), place, {"cpu": 4}, {"spectro": 1000}, own(infer=10.0), lambda stage, nodes: 0.5
    )
    assert step(half, "infer").seconds == pytest.approx(1000 / (10 * 4 * 0.5))


def test_every_epoch_of_every_network_and_trial_is_learnt_from():
    search = {"trials": 3, "epochs": 4, "fields": {"training.batch": [8, 16]}}
    found = forecast(1000, training={"epochs": 10, "ensemble": 2}, search=search)
    assert found.images_to_learn == 500 * (10 * 2 + 3 * 4)
    own, preset = run_file(training={"epochs": 7}), run_file(training={})
    assert epochs_of(own) == 7 and epochs_of(preset) == load_preset("light")["training"]["epochs"]


def test_the_networks_that_another_begins_with_are_learnt_too():
    alone, whole = (forecast(model={"preset": name}) for name in ("csst-hybrid", "csst-hybrid-transfer"))
    assert whole.images_to_learn == 3 * alone.images_to_learn > 0


def test_predictions_of_an_ensemble_cost_as_many_passes_unless_they_were_measured_so():
    ensemble = {"training": {"epochs": 1, "ensemble": 3}}
    alone, three = step(forecast(), "infer").seconds, step(forecast(**ensemble), "infer").seconds
    assert three == pytest.approx(3 * alone)
    assert forecast(**ensemble).block_s("infer") == pytest.approx(3 * forecast().block_s("infer"))
    measured = own(infer=10.0)
    assert step(forecast(seen=measured, **ensemble), "infer").seconds == pytest.approx(360_000 / 10)
    assert forecast(seen=measured, **ensemble).block_s("infer") == pytest.approx(1024 / 10)


def test_signals_are_computed_by_the_threads_of_the_workers_as_fast_as_their_waveforms_allow():
    emri, chosen = (
        {"images": {"source": "emri"}, "model": {"preset": "emri"}},
        site(cpu={"threads": 2, "cores": 2}),
    )
    told = Seen({}, 0, {}, computing_s={"spectro": 2.75})
    found = step(forecast(1000, nodes=5, chosen=chosen, seen=told, **emri), "fetch")
    assert found.seconds == pytest.approx(1000 * 2.75 / 10, rel=1e-3)
    assert "10 threads" in found.bound and "0020-emri" in found.rate.source
    assert step(forecast(1000, chosen=chosen, **emri), "fetch").seconds == pytest.approx(
        120, rel=0.01
    )  # all AK
    noise = Seen({}, 0, {}, computing_s={"spectro": 0.0})
    assert step(forecast(1000, chosen=chosen, seen=noise, **emri), "fetch").seconds < 1
    measured = Seen({}, 0, {"fetch": Rate(5.0, "its own receipts")}, computing_s={"spectro": 2.75})
    assert step(forecast(1000, chosen=chosen, seen=measured, **emri), "fetch").seconds == pytest.approx(100)
    faults = forecast(4096, seen=told, **emri, cube={"rows_per_block": 2048}).faults()
    assert any("walltime leaves 58 min, fetch of one block takes 94 min" in fault for fault in faults)


def test_one_worker_predicts_the_calibration_part_whatever_the_nodes():
    part = {
        "split": {"train": 0.5, "validation": 0.25, "calibration": 0.1},
        "recalibration": {"kind": "auto"},
    }
    chosen = site(cpu={"threads": 3, "cores": 3})
    for nodes in (1, 40):
        found = forecast(1000, nodes=nodes, chosen=chosen, seen=own(infer=2.0), **part)
        stages = [each.stage for each in found.steps]
        assert stages == ["pull", "fetch", "train", "calibrate", "infer", "publish"]
        assert step(found, "calibrate").seconds == pytest.approx(100 / (3 * 2.0))
    assert "calibrate  17 s      100 rows" in "\n".join(lines(found, Efficiency(), is_site=True))
    assert found.busy_s("cpu") == pytest.approx(found.seconds - step(found, "publish").seconds)
    assert "calibrate" not in [each.stage for each in forecast().steps]


def test_requests_are_a_cutout_each_a_partition_each_and_a_count():
    assert forecast(25_001).requests == 25_001 + 3 + 1
    assert step(forecast(600_000), "pull").seconds == pytest.approx(61)  # 61 queries at 60 a minute


def test_disk_and_database_go_with_the_rows():
    seen = Seen({}, 0, {}, prediction_bytes=500.0, bundle_bytes=2e6)
    disk = forecast(1000, seen=seen, images={"pixels": 100}).disk_bytes
    assert disk["cube"] == 1000 * 100 * 100 * 3
    assert disk["predictions"] == 500_000
    assert disk["networks"] == 6e6 and "fields" not in disk
    scenes = {"source": "scenes", "bands": ["H"], "pixels": 16, "arcsec_per_pixel": 0.06}
    drawn = {
        "images": scenes,
        "model": {"preset": "morpheus"},
        "fields": {"a": {"scene": "noise", "shape": [20, 30]}},
    }
    assert forecast(1000, **drawn).disk_bytes["fields"] == 20 * 30 * 4 * (1 + 2 * (1 + 5) + 1)
    assert forecast(2000).database_bytes == 2 * forecast(1000).database_bytes > 1e6


def test_node_hours_are_those_of_all_jobs_from_begin_to_end():
    seen = own(pull=1e9, train=1e9, infer=1e9, publish=1e9)
    found = forecast(720_000, nodes=4, seen=seen)  # ten hours of fetch, little else
    assert found.seconds == pytest.approx(36_000, rel=0.01)
    text = "\n".join(lines(found, Efficiency(), is_site=True))
    assert "cpu        40.1 node-hours: 4 jobs, busy 100% of it; 11 lives of 01:00:00 each" in text
    assert "driver     10 node-hours: 1 job; 11 lives" in text


def test_a_job_lives_as_often_as_its_usable_walltime_fits_into_the_run():
    found = forecast(seen=own(pull=1e9, train=1e9, infer=1e9, publish=1e9))
    usable = 3600 - 120
    assert found.lives(3600) == math.ceil(found.seconds / usable) == 6  # five hours in pieces of 58 minutes
    assert found.lives(10**6) == 1


def test_a_block_takes_longer_the_more_of_them_share_the_polite_rate():
    assert forecast(nodes=1).block_s("fetch") == pytest.approx(1024 / 20)
    assert forecast(nodes=10).block_s("fetch") == pytest.approx(1024 / 20 * 10)
    assert forecast(2000, nodes=10).block_s("fetch") == pytest.approx(
        1024 / 20 * 2
    )  # there are two blocks only


def test_a_walltime_below_a_blocks_time_and_too_little_memory_are_faults():
    short = site(cpu={"walltime": "00:10:00", "memory_gib": 1.0})
    memory, walltime = forecast(nodes=10, chosen=short).faults()
    assert "pools.cpu.memory_gib: a worker needs 1.2" in memory
    assert "652 s are needed (512 s for one block" in walltime, "and 20 s to start, 120 s to leave"
    assert forecast(nodes=8, chosen=site(cpu={"walltime": "00:10:00"})).faults() == []  # 410 s a block
    (slow,) = forecast(chosen=site(cpu={"walltime": "00:10:00"}), seen=own(infer=2.0)).faults()
    assert "pools.cpu.walltime leaves 8 min, infer of one block takes 8.5 min" in slow


def test_unknown_rates_are_left_out_of_the_sum_and_named():
    seen = Seen({}, 0, {"train": Rate()})
    found = forecast(seen=seen)
    assert found.seconds == pytest.approx(sum(each.seconds for each in found.steps if each.stage != "train"))
    text = "\n".join(lines(found, Efficiency(), is_site=True))
    assert "train      not known" in text
    assert "and train, not known" in text
    assert "train never measured" in text


def test_larger_images_are_counted_in_proportion_to_their_bytes():
    small, large = forecast(), forecast(images={"pixels": 128})
    assert large.rate("infer").per_s == pytest.approx(small.rate("infer").per_s / 4)
    assert "scaled from 64 to 128 pixels" in large.rate("infer").source


def test_rates_of_receipts_are_rows_a_second_of_one_task():
    receipts = [Receipt(100, 0, 4.0, "a"), Receipt(50, 0, 1.0, "b")]
    assert rate_of(receipts).per_s == pytest.approx(30)
    assert not rate_of([]).is_known
    assert not rate_of([Receipt(0, 0, 1.0, "a")]).is_known
    learnt = Receipt(300, 0, 20.0, "c", facts={"rows": {"train": 200, "validation": 100}, "epochs": 5})
    assert train_rate([learnt], 2, threads=5).per_s == pytest.approx(200 * 5 / 20 / 10)


@pytest.mark.parametrize(
    ("counted", "limit", "found"),
    [
        ({}, None, {"spectro": 33, "b": 33, "c": 34}),
        ({}, 10, {"spectro": 10, "b": 45, "c": 45}),
        ({"spectro": 20, "b": 1, "c": 3}, 10, {"spectro": 20, "b": 20, "c": 60}),
        ({"spectro": 500, "b": 1, "c": 3}, None, {"spectro": 100, "b": 0, "c": 0}),
    ],
)
def test_the_training_sample_keeps_its_number_and_the_others_share_the_rest(
    counted: dict[str, int], limit: int | None, found: dict[str, int]
):
    samples = {"spectro": {"sql": SQL, "limit": limit}, "b": {"sql": SQL}, "c": {"sql": SQL}}
    assert shares(run_file(samples=samples), 100, counted) == found


@pytest.mark.parametrize("objects", [0, -5, math.nan, math.inf, 0.4])
def test_a_number_of_objects_that_is_none_is_refused(objects: float):
    with pytest.raises(PlanError, match="--objects: expected a number of at least 1") as error:
        plan(asked(objects=objects))
    assert "5e6" in error.value.remedy


def asked(**given: Any) -> argparse.Namespace:
    return argparse.Namespace(
        **{"run_file": None, "words": [], "objects": None, "site": "", "nodes": 1, **given}
    )


def test_other_bad_words_are_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlanError, match="--nodes: expected at least 1, found 0"):
        plan(asked(objects=5e6, nodes=0))
    with pytest.raises(PlanError, match="nothing to count"):
        plan(asked(site="local"))
    with pytest.raises(RunFileError, match="unknown site 'nowhere'"):
        plan(asked(objects=5e6, site="nowhere"))
    with pytest.raises(RunFileError, match="cannot read the run file"):
        plan(asked(objects=5e6, run_file="nosuch.toml"))
    there = 'schema = 1\nname = "there"\nkind = "address"\naddress = "tcp://192.0.2.1:8786"\n'
    idle = (
        'schema = 1\nname = "idle"\nkind = "slurm"\npools.a.stages = ["pull", "fetch"]\npools.b.nodes = 0\n'
    )
    for text, dry in ((there, "pull, fetch, train, infer"), (idle, "train, infer")):
        (tmp_path / "lab.toml").write_text(text)
        with pytest.raises(PlanError, match=f"no job does {dry}"):
            plan(asked(objects=5e6, site="lab.toml"))
    with pytest.raises(PlanError, match="a worker needs"):
        plan(asked(objects=5e6, site="local", run_file="cube.rows_per_block=131072"))


def test_a_plan_without_a_run_file_says_what_it_assumes_and_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert plan(asked(objects=1e12, site="local", nodes=3, run_file="images.pixels=32")) == 0
    text = capsys.readouterr().out
    assert "no run file: cutouts of 32 pixels, preset light" in text
    assert "(with images.pixels=32)" in text
    assert "1,000,000,000,000 objects" in text
    assert "jobs: 3 of workers" in text
    assert "578,704 days" in text  # 10^12 at 20 a second
    assert "that is too little" in text
    assert list(tmp_path.iterdir()) == []


def test_the_assumed_run_file_needs_nothing_of_its_user():
    assert load_run_file(ASSUMED, environ={}).training.sample == "spectro"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.43, "0.43 s"),
        (119, "119 s"),
        (121, "2 min"),
        (7100, "118 min"),
        (3 * 3600, "3 h"),
        (47 * 3600, "47 h"),
        (4.15 * 86400, "4.2 days"),
        (4000 * 86400, "4,000 days"),
        (math.nan, "not known"),
    ],
)
def test_times_are_told_as_people_do(seconds: float, words: str):
    assert span(seconds) == words


def test_a_scaling_test_says_how_much_more_nodes_help(tmp_path: Path):
    chosen = run_file(output=str(tmp_path))
    assert efficiency_of(chosen).at("fetch", 8) == 1.0
    folder = tmp_path / "a-scale"
    folder.mkdir()
    measured = [(1, 1.0), (4, 0.8), (4, 0.6)]
    made = [Measurement("fetch", nodes, 1, 1.0, 10, 1, nodes, efficiency=share) for nodes, share in measured]
    write_csv([*made, Measurement("train", 2, 1, 1.0, 10, 1, 2, efficiency=1.3)], folder / "scaling.csv")
    found = efficiency_of(chosen)
    assert found.at("fetch", 4) == pytest.approx(0.7)
    assert found.at("fetch", 2) == pytest.approx(0.9)
    assert found.at("train", 2) == found.at("infer", 2) == 1.0
    assert "measured up to 4 nodes" in found.words


def test_what_politeness_held_back_in_a_scaling_test_says_nothing_of_the_nodes(tmp_path: Path):
    bound = {1: "the work itself", 2: "the work itself", 4: "politeness: 20 requests/s for the whole run"}
    shares = {1: 1.0, 2: 0.9, 4: 0.3}
    made = [
        Measurement("fetch", nodes, 1, 1.0, 10, 1, nodes, efficiency=shares[nodes], bottleneck=words)
        for nodes, words in bound.items()
    ]
    write_csv(made, tmp_path / "t.csv")
    assert read_efficiency(tmp_path / "t.csv").at("fetch", 4) == 0.9


def test_a_damaged_table_of_a_scaling_test_counts_for_nothing(tmp_path: Path):
    for text in ("", "a,b\n1,2\n", "stage,nodes,efficiency\nfetch,x,1\nfetch,0,1\nfetch,2,nan\nfetch,2\n"):
        (tmp_path / "t.csv").write_text(text)
        assert not read_efficiency(tmp_path / "t.csv").points
